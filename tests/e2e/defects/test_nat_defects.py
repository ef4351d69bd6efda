"""Seeded defects in VirtualBox's situation: programs that are not told which of their addresses is meant.

Every machine's first interface has the default route and 10.0.2.15, the same on all.  Such a lab is made by

    THWLAB_NAT=1 thwlab --provider vagrant:libvirt:private up
"""

import shlex
from collections.abc import Callable
from typing import Any

import pytest
from support_dropin import FOLDER, apiserver_runs, drop_in, insist_green
from support_etcd import absent
from support_eventually import eventually
from support_interfaces import NAT_ADDRESS, ways

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT
from lab.components.rendering import CFG
from lab.machine import File, Machine, on_each
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
NODES = "test_nodes.py::test_kubectl_shows_every_worker_ready_by_its_version_and_address"
PROXIES = "test_services.py::test_every_kube_proxy_takes_the_planned_address_for_its_nodes"
LISTED = "test_control_plane.py::test_the_kubernetes_service_leads_to_every_master"
MEMBERS = "test_etcd.py::test_the_members_are_the_planned_ones_and_none_is_a_learner"
SLICE = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
ETCD_CONF = "/opt/etcd/cfg/etcd.conf"


@pytest.fixture(autouse=True)
def behind_nat(lab: Cluster) -> None:
    """Also says what a lab of these machines must be like, or the defects would be none."""
    seen = on_each([*lab.machines.values()], lambda machine: ways(machine, ["192.0.2.1"]))
    without = [name for name, each in seen.items() if NAT_ADDRESS not in each.addresses.values()]
    if without:
        pytest.skip(f"{', '.join(without)} have no {NAT_ADDRESS}: THWLAB_NAT=1 makes VMs that do")
    for name, each in seen.items():
        interface, _ = each.routes["192.0.2.1"]
        assert each.addresses[interface] == NAT_ADDRESS, f"{name}'s default route is by {interface}"


def without_line(machine: Machine, path: str, word: str) -> bytes:
    """The file less its one line with the word."""
    lines = machine.check("cat", path).splitlines()
    kept = [line for line in lines if word not in line]
    assert len(kept) == len(lines) - 1, f"{machine.name}: {path} has not one line with {word}"
    return "\n".join([*kept, ""]).encode()


def instead(path: str, content: bytes) -> tuple[tuple[str, str], File]:
    """Lines of a drop-in that have the unit read another file than this, and that file."""
    file = File(f"{FOLDER}/{path.rpartition('/')[2]}", content)
    return ("EnvironmentFile=", f"EnvironmentFile={file.path}"), file


def address_of(lab: Cluster, node: str) -> str:
    found: dict[str, Any] = lab.api().get(f"/api/v1/nodes/{node}")
    return next(str(each["address"]) for each in found["status"]["addresses"] if each["type"] == "InternalIP")


def await_address(lab: Cluster, node: str, wanted: str) -> None:
    """The kubelet says it with its status, every ten seconds."""

    def check() -> None:
        if (seen := address_of(lab, node)) != wanted:
            raise NotYet(f"{node} is at {seen}")

    eventually(f"{node} to be at {wanted}", check, timeout=60)


def test_a_kubelet_that_is_not_told_its_address(lab: Cluster, turns_red: TurnsRed) -> None:
    """Without --node-ip it asks for its own name, and only if /etc/hosts does not know that, the route.

    The lab's /etc/hosts does know it, so this kubelet, and nobody else, sees one that does not.  It gets a
    mount namespace by that; no pod is made on its node meanwhile.
    """
    worker, path = lab.of(Role.WORKER)[-1], f"{CFG}/kubelet.conf"
    settings, conf = instead(path, without_line(worker, path, "--node-ip="))
    hosts = File(f"{FOLDER}/hosts", without_line(worker, "/etc/hosts", worker.name))
    mount = f"BindReadOnlyPaths={hosts.path}:/etc/hosts"
    try:
        with drop_in(worker, "kubelet.service", *settings, mount, files=[conf, hosts]):
            await_address(lab, worker.name, NAT_ADDRESS)
            turns_red(NODES, worker.name, NAT_ADDRESS)
    finally:
        await_address(lab, worker.name, str(worker.node.address))
    insist_green(lab, NODES, PROXIES)


def test_an_apiserver_that_is_not_told_its_address(lab: Cluster, turns_red: TurnsRed) -> None:
    """It advertises that of the default route, and pods that are led to it talk to themselves."""
    masters = lab.of(Role.CONTROL_PLANE)
    if len(masters) < 2:
        pytest.skip("one master has no other to lead to")
    victim, unit = masters[-1], "kube-apiserver.service"
    planned = {str(master.node.address) for master in masters}
    path = f"{CFG}/kube-apiserver.conf"
    settings, conf = instead(path, without_line(victim, path, "--advertise-address="))

    def await_listed(wanted: set[str]) -> None:
        def check() -> None:
            listed = {a for each in lab.api().get(SLICE)["endpoints"] for a in each["addresses"]}
            if listed != wanted:
                raise NotYet(f"{sorted(listed)} are listed")

        eventually(f"{sorted(wanted)} to be listed", check, timeout=60)

    try:
        with drop_in(victim, unit, *settings, files=[conf]):
            apiserver_runs(lab, victim)
            await_listed(planned - {str(victim.node.address)} | {NAT_ADDRESS})
            turns_red(LISTED, "lacks", victim.name, NAT_ADDRESS)
    finally:
        apiserver_runs(lab, victim)
        await_listed(planned)
    insist_green(lab, LISTED)


def test_a_member_of_etcd_that_advertises_the_first_address(lab: Cluster, turns_red: TurnsRed) -> None:
    """Left out altogether, etcd does not start: it wants to be told what it advertises where it listens."""
    members = lab.of(Role.ETCD)
    if len(members) < 3:
        pytest.skip("without a quorum to spare, a broken member breaks the cluster")
    victim = members[1]
    changed = {"LISTEN_CLIENT_URLS": "0.0.0.0", "ADVERTISE_CLIENT_URLS": NAT_ADDRESS}
    text = victim.check("cat", ETCD_CONF)
    for name, address in changed.items():
        old = next(line for line in text.splitlines() if line.startswith(f"ETCD_{name}="))
        text = text.replace(old, f"ETCD_{name}={shlex.quote(f'https://{address}:{CLIENT_PORT}')}")
    settings, conf = instead(ETCD_CONF, text.encode())

    def await_members() -> None:
        def check() -> None:
            if report := absent(lab):
                raise NotYet("; ".join(report))

        eventually("every member to serve", check, timeout=60)

    try:
        with drop_in(victim, "etcd.service", *settings, files=[conf]):
            await_members()
            turns_red(MEMBERS, lab.topology.etcd_name(victim.node), f"https://{NAT_ADDRESS}:{CLIENT_PORT}")
    finally:
        await_members()
    insist_green(lab, MEMBERS)
