"""Seeded defects of workers: a stranger's kubelet, no kube-proxy, pods with addresses of nobody."""

import uuid
from collections.abc import Callable

import pytest
import support_pods
import test_network
from support_dropin import idle, insist_green, restart
from support_nodes import CURRENT

from lab.cluster import Cluster
from lab.components.base import await_ready
from lab.components.kube_proxy import KubeProxy
from lab.components.kubelet import Kubelet
from lab.errors import ClusterError
from lab.machine import File, Machine
from lab.pki import Usage, foreign_ca, issue
from lab.topology import Cni, ProxyMode, Role

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
KNOWN = "test_nodes.py::test_every_kubelet_is_a_node_by_its_certificate"
TRAFFIC = "test_services.py::test_every_kube_proxy_says_that_its_node_may_get_traffic"
REACHED = "test_services.py::test_a_pod_behind_a_cluster_ip_sees_the_pod_that_asks"
OURS = "test_network.py::test_every_machine_has_the_plans_routes_and_no_network_before_the_plans"
CONFLIST = "/etc/cni/net.d/10-thwlab.conflist"


@pytest.fixture
def worker(lab: Cluster) -> Machine:
    return lab.of(Role.WORKER)[-1]


def test_a_kubelet_with_a_certificate_of_another_ca(
    lab: Cluster, worker: Machine, turns_red: TurnsRed
) -> None:
    """Of the same name, so that only the signature tells; it is put back before the node is given up."""
    pair = issue(
        foreign_ca("kubernetes"), cn=f"system:node:{worker.name}", o="system:nodes", usages={Usage.CLIENT}
    )
    where = worker.check("readlink", "-f", CURRENT).strip()
    other = f"{CURRENT}.thwlab-defect"
    try:
        worker.apply([File(other, pair.cert + pair.key, 0o600)])
        worker.check("ln", "-sf", other, CURRENT)
        restart(worker, "kubelet.service")
        turns_red(
            KNOWN, f"{worker.name}: its kubelet shows", "by another CA than the cluster's", "restart kubelet"
        )
    finally:
        worker.check("sh", "-c", 'ln -sf "$0" "$1"; rm -f "$2"', where, CURRENT, other)
        restart(worker, "kubelet.service")
        await_ready(Kubelet(lab.topology, lab.lab.provider.platform), worker)
    insist_green(lab, KNOWN)


def test_a_worker_without_kube_proxy(lab: Cluster, worker: Machine, turns_red: TurnsRed) -> None:
    """What it has translated so far stays in the kernel; only what is new leads nowhere."""
    proxy = KubeProxy(lab.topology, lab.lab.provider.platform)
    try:
        with idle(worker, "kube-proxy.service"):
            turns_red(TRAFFIC, f"{worker.name}: http://127.0.0.1:", "kube-proxy.service", timeout=300)
    finally:
        await_ready(proxy, worker)
    insist_green(lab, TRAFFIC)


def test_a_pod_network_of_another_range(lab: Cluster, worker: Machine) -> None:
    """Judged here, for a session of its own would write the list anew before its pods start."""
    if lab.topology.cni is not Cni.ROUTED:
        pytest.skip("flannel writes its list by itself")
    name, right = f"e2e-pods-{uuid.uuid4().hex[:8]}", worker.check("cat", CONFLIST)
    own = lab.api().get(f"/api/v1/nodes/{worker.name}")["spec"]["podCIDR"]
    assert right.count(own) == 1, right
    try:
        worker.apply([File(CONFLIST, right.replace(own, "10.10.99.0/24").encode())])
        with pytest.raises(ClusterError) as said:
            test_network.test_every_pod_has_an_address_of_its_own_nodes_range(
                lab, support_pods.create(lab, name)
            )
        assert f"on {worker.name} has 10.10.99." in str(said.value), said.value
        assert f"outside the node's podCIDR {own}" in str(said.value)
    finally:
        worker.apply([File(CONFLIST, right.encode())])
        lab.api().delete(f"/api/v1/namespaces/{name}")
    insist_green(lab, "test_network.py")


def test_a_foreign_network_that_the_runtime_takes_first(
    lab: Cluster, worker: Machine, turns_red: TurnsRed
) -> None:
    """Pods that were there go on; new ones would get addresses that no route leads to."""
    if lab.topology.cni is not Cni.ROUTED:
        pytest.skip("flannel's pods go another way")
    foreign = "/etc/cni/net.d/00-other.conflist"
    try:
        worker.apply([File(foreign, worker.check("cat", CONFLIST).replace("10.10.", "10.99.").encode())])
        turns_red(OURS, "BROKEN  network", f"cni on {worker.name}", f"takes {foreign} before")
    finally:
        worker.check("rm", "-f", foreign)
    insist_green(lab, OURS)


def test_a_worker_whose_rules_for_services_are_gone(
    lab: Cluster, worker: Machine, turns_red: TurnsRed
) -> None:
    """Flushed by hand: kube-proxy runs, calls itself healthy, and puts nothing back."""
    if lab.topology.proxy_mode is not ProxyMode.IPTABLES:
        pytest.skip("the rules of another mode lie elsewhere")
    try:
        worker.check("iptables", "-t", "nat", "-F")
        turns_red(REACHED, worker.name, "BROKEN  proxy", "systemctl restart kube-proxy")
    finally:
        restart(worker, "kube-proxy.service")
        await_ready(KubeProxy(lab.topology, lab.lab.provider.platform), worker)
    insist_green(lab, REACHED)
