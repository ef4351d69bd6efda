"""Chapter "CoreDNS", the servers: two apart, as the guide shows them, and names while either is gone."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import support_pods
from support_dns import in_services, listen
from support_pods import PodSet, insist

from lab.addons.coredns import DEPLOYMENT
from lab.cluster import Cluster
from lab.machine import on_each
from lab.topology import Profile, Role
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.e2e
SELECTOR = "k8s-app=kube-dns"
SYSTEM = "/api/v1/namespaces/kube-system"
LIMIT = 5.0  # seconds without an answer that a deleted pod may cost fresh sockets


# -- the servers themselves ------------------------------------------------------------------------


def test_coredns_has_a_replica_on_each_of_two_workers(lab_dns: Cluster) -> None:
    placed(lab_dns, replicas(lab_dns))


def test_coredns_may_lose_only_one_replica_at_will(lab_dns: Cluster) -> None:
    if replicas(lab_dns) < 2:
        pytest.skip("one replica alone has no budget, which would forbid to drain its worker")
    budget = lab_dns.api().get("/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets/coredns")
    status = budget["status"]
    assert budget["spec"].get("minAvailable") == 1, f"coredns' budget is {budget['spec']}"
    assert status.get("expectedPods") == replicas(lab_dns), f"coredns' budget guards the wrong pods: {status}"


def test_the_service_of_dns_has_the_planned_address_and_both_transports(lab_dns: Cluster) -> None:
    """The guide: `deploy.sh -i 10.0.0.2 > coredns.yaml`."""
    spec = lab_dns.api().get(f"{SYSTEM}/services/kube-dns")["spec"]
    planned = str(lab_dns.topology.networks.dns)
    assert spec["clusterIP"] == planned, f"Service kube-dns is {spec['clusterIP']}, not {planned}"
    ports = {(port["protocol"], port["port"]) for port in spec["ports"]}
    assert ports >= {("UDP", 53), ("TCP", 53)}, f"Service kube-dns has only {sorted(ports)}"


def test_the_servers_own_resolv_conf_is_no_loop(lab_dns: Cluster) -> None:
    """A CoreDNS that forwards to itself, or to a stub on loopback, dies of its own questions."""
    listing = "crictl ps -q --state Running --name '^coredns$'"
    pid = "crictl inspect -o go-template --template '{{.info.pid}}'"
    script = f"for id in $({listing}); do cat /proc/$({pid} $id)/root/etc/resolv.conf; done"
    heard = on_each(lab_dns.of(Role.WORKER), lambda machine: machine.check("sh", "-c", script))
    networks = lab_dns.topology.networks
    insist(
        [
            f"{worker}: CoreDNS has {line!r} in its resolv.conf, which leads back to itself"
            for worker, text in heard.items()
            for line in text.splitlines()
            if line.startswith(("nameserver 127.", "nameserver ::1", f"nameserver {networks.dns}"))
        ],
        "resolvConf in the kubelet's configuration must name a file without the stub",
    )
    assert any(heard.values()), "no CoreDNS runs on any worker"


def test_the_guides_look_at_coredns_shows_it_running(lab_dns: Cluster) -> None:
    """`kubectl get pods -n kube-system`; in the guide it ended at ContainerCreating."""
    lines = lab_dns.kubectl("get", "pods", "-n", "kube-system").splitlines()
    rows = [line.split() for line in lines if line.startswith("coredns-")]
    bad = [row for row in rows if row[1:3] != ["1/1", "Running"]]
    insist([f"`kubectl get pods -n kube-system`: {' '.join(row)}" for row in bad])
    assert rows, "`kubectl get pods -n kube-system` shows nothing of CoreDNS"


def test_cluster_info_names_coredns(lab_dns: Cluster) -> None:
    """The guide: `CoreDNS is running at https://192.168.100.100:6443/api/v1/…`."""
    said = lab_dns.kubectl("cluster-info")
    url = f"{lab_dns.topology.api_url}{SYSTEM}/services/kube-dns:dns/proxy"
    assert f"CoreDNS is running at {url}" in said, f"`kubectl cluster-info` said: {said}"


# -- with either server gone -----------------------------------------------------------------------


@pytest.mark.disruptive
def test_names_are_answered_while_each_coredns_pod_is_replaced_in_turn(
    lab_dns: Cluster, pods: PodSet, record_property: Callable[[str, object], None]
) -> None:
    """Case D3: fresh sockets never go without an answer for long; a kept port is measured and told."""
    count = replicas(lab_dns)
    if count < 2:
        pytest.skip("there is one CoreDNS, and without it nobody answers")
    here = support_pods.find(lab_dns, pods.namespace)
    stop = f"/run/thwlab-e2e-{uuid.uuid4().hex[:8]}"
    machines = [pod.machine for pod in here.clients.values()]
    name = in_services(lab_dns, here, "web")
    dns, right = str(lab_dns.topology.networks.dns), here.ip("web")
    with ThreadPoolExecutor(1) as pool:
        probers = pool.submit(here.from_clients, lambda pod: listen(pod, dns, name, right, stop))
        try:
            for pod in placed(lab_dns, count):
                replace(lab_dns, pod, count)
        finally:
            on_each(machines, lambda machine: machine.run("touch", stop))
            heard = probers.result()
            on_each(machines, lambda machine: machine.run("rm", "-f", stop))
    for worker, kinds in heard.items():
        for kind, each in kinds.items():
            record_property(f"dns-{kind}-{worker}", f"{each.share}, longest {each.longest_silence:.1f} s")
    insist(
        [
            f"a pod on {worker} got no right answer from {dns} for {fresh.longest_silence:.1f} s, "
            f"more than {LIMIT:.0f} s ({fresh.share} answered)"
            for worker, kinds in heard.items()
            if (fresh := kinds["fresh"]).longest_silence > LIMIT
        ],
        "readiness, lameduck and endpoints of CoreDNS: `kubectl -n kube-system get endpointslices -w`",
    )
    placed(lab_dns, count)


def replicas(cluster: Cluster) -> int:
    """How many CoreDNS pods the plan's workers can carry apart; the guide has one."""
    if cluster.topology.profile is Profile.GUIDE:
        return 1
    return min(2, len(cluster.topology.of(Role.WORKER)))


def placed(cluster: Cluster, count: int) -> list[dict[str, Any]]:
    """The CoreDNS pods, which must be ready, as many as planned, each on a worker of its own."""
    wanted = cluster.api().get(DEPLOYMENT)["spec"]["replicas"]
    found = cluster.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
    ready = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in found if is_ready(pod)}
    apart = len(set(ready.values()))
    assert wanted == count, f"Deployment coredns wants {wanted} replicas, the plan {count}"
    assert (len(found), len(ready), apart) == (count, count, count), (
        f"CoreDNS: {len(found)} pods, ready are {ready}; there must be {count}, each on a worker of its own. "
        + "; ".join(support_pods.state(pod) + last_words(cluster, pod) for pod in found if not is_ready(pod))
    )
    return found


def last_words(cluster: Cluster, pod: dict[str, Any]) -> str:
    """What a container of the pod said before it ended."""
    name = pod["metadata"]["name"]
    said = cluster.try_kubectl("-n", "kube-system", "logs", name, "--previous", "--tail=2")
    return f"; its last words: {' '.join(said.stdout.split())[-500:]}" if said.ok and said.stdout else ""


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether it serves and is not about to go."""
    conditions = pod["status"].get("conditions", ())
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def replace(cluster: Cluster, pod: dict[str, Any], count: int) -> None:
    """Delete the pod, and return when it is gone and as many as before are ready again."""
    name = pod["metadata"]["name"]
    cluster.api().delete(f"{SYSTEM}/pods/{name}")

    def check() -> None:
        found = cluster.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
        ready = [each["metadata"]["name"] for each in found if is_ready(each)]
        if len(found) != count or len(ready) != count or name in ready:
            raise NotYet(f"CoreDNS: {len(found)} pods, ready are {ready}")

    wait_until(f"a successor of {name}", check, timeout=60)
