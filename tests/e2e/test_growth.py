"""A running cluster takes one more worker and one more master, under write load.

The small cluster is a lab of its own, so the session's makes room.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import support_pods
import support_writes
from support_visits import Visit, fingerprint, visit
from support_writes import Writes

from lab import health
from lab.bringup import Bringup
from lab.cluster import Cluster
from lab.laboratory import Laboratory
from lab.machine import on_each
from lab.opening import open_lab, remove_lab
from lab.session import LabSession
from lab.stages import stages_for
from lab.topology import Role, Topology

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
TURNS = 40  # fresh connections through the balancer
FAIR = 0.25  # of them each apiserver gets at least
NEEDED = ("dns", "nodes", "every-master", "admin")


@dataclass
class Growth:
    """One lab, before and after."""

    small: Topology
    full: Topology
    cluster: Cluster
    writes: Writes
    began: float
    before: dict[str, dict[str, str]]
    after: dict[str, dict[str, str]]
    lost: list[str] = field(default_factory=list)


def small_of(plan: Topology) -> Topology | None:
    """The plan less its last worker, and less the control plane on its last master; None if it has none."""
    workers, masters = plan.of(Role.WORKER), plan.of(Role.CONTROL_PLANE)
    if len(workers) < 2 or len(masters) < 2 or not plan.balancer or Role.ETCD not in masters[-1].roles:
        return None
    less = replace(masters[-1], roles=masters[-1].roles - {Role.CONTROL_PLANE})
    nodes = (less if node == masters[-1] else node for node in plan.nodes if node != workers[-1])
    return replace(plan, nodes=tuple(nodes))


@pytest.fixture(scope="module")
def growth(lab_session: LabSession, room: None) -> Iterator[Growth]:
    """The small cluster grew to the full one while somebody wrote."""
    full = replace(lab_session.topology, name=f"{lab_session.topology.name[:14]}-grow")
    small = small_of(full)
    if small is None:
        pytest.skip("the plan has no second worker and second master with etcd to add")
    remove_lab(full.name)  # of a run that was killed
    try:
        seen = grown(lab_session, small, full)
        yield seen
        seen.cluster.lab.close()
    finally:
        remove_lab(full.name)


def grown(session: LabSession, small: Topology, full: Topology) -> Growth:
    provider, silent = session.settings["provider"].value, lambda _: None
    first = brought_up(open_lab(small, provider, silent))
    before = processes(first)
    with support_writes.api_writes(first, [small.api_address]) as writes:
        began = time.monotonic()
        now = brought_up(open_lab(full, provider, silent, grow=True))
        writes.stop()
        lost = support_writes.lost_of_api(now, writes)
    return Growth(small, full, now, writes, began, before, processes(now), lost)


def brought_up(lab: Laboratory) -> Cluster:
    stages = stages_for(lab.topology)
    names = {stage.name for stage in stages}
    with lab.state.locked():
        Bringup(lab, stages).require(*(name for name in NEEDED if name in names))
    return Cluster(lab)


def processes(cluster: Cluster) -> dict[str, dict[str, str]]:
    """By machine, the main process of each unit that keeps one."""

    def of(name: str) -> dict[str, str]:
        machine = cluster.machines[name]
        units = [component.unit for component in health.planned(cluster, machine) if component.unit]
        pids = machine.check("systemctl", "show", "-P", "MainPID", *units).split()
        return {unit: pid for unit, pid in zip(units, pids, strict=True) if pid != "0"}

    return on_each(list(cluster.machines.values()), lambda machine: of(machine.name))


def test_no_acknowledged_write_is_lost_by_growth(growth: Growth) -> None:
    promised = len(growth.writes.acknowledged())
    told = growth.writes.summary(growth.began)
    assert promised > 50, f"too few acknowledged writes to say anything: {told}"
    assert not growth.lost, (
        f"{len(growth.lost)} of {promised} acknowledged are gone: {growth.lost[:5]}; {told}"
    )


def test_writes_are_acknowledged_all_the_while(growth: Growth) -> None:
    writes = growth.writes.since(growth.began)
    bad = [write for write in writes if not write.ok]
    assert not bad, growth.writes.summary(growth.began)


def test_nothing_is_restarted_by_growth(growth: Growth) -> None:
    """Not even the balancer, which reads its new configuration; routes are no processes."""
    restarted = [
        f"{name}: {unit} was {pid}, is {growth.after[name].get(unit)}"
        for name, units in growth.before.items()
        for unit, pid in units.items()
        if growth.after[name].get(unit) != pid
    ]
    assert not restarted, "; ".join(restarted)
    members = [node.name for node in growth.full.of(Role.ETCD)]
    assert all("etcd.service" in growth.before[name] for name in members), f"etcd was not seen on {members}"


def test_every_unit_serves_after_growth(growth: Growth) -> None:
    health.await_whole(growth.cluster)


def test_the_balancer_gives_the_new_master_its_share(growth: Growth) -> None:
    cluster = growth.cluster
    credentials, networks = cluster.credentials, growth.full.networks
    masters = growth.full.of(Role.CONTROL_PLANE)
    shown = {fingerprint(credentials.pair("kubernetes", node).cert): node.name for node in masters}
    ca = credentials.ca("kubernetes").decode()
    asked = Visit(str(growth.full.api_address), networks.api_port, ca, "/livez")
    seen = [shown.get(each.server, str(each)) for each in visit(cluster, [asked] * TURNS)]
    counts = {name: seen.count(name) for name in sorted({*shown.values(), *seen})}
    fair = all(counts[node.name] >= FAIR * TURNS for node in masters)
    assert fair, f"{TURNS} connections to {growth.full.api_url} went to {counts}"


def test_the_new_worker_runs_pods_that_all_workers_reach(growth: Growth) -> None:
    namespace = "e2e-growth"
    pods = support_pods.create(growth.cluster, namespace)
    assert set(pods.servers) == {node.name for node in growth.full.of(Role.WORKER)}
    url = support_pods.http(pods.ip("web"), "hostname", 80)
    names = {pod.name for pod in pods.servers.values()}
    for client in pods.clients.values():
        said = dict.fromkeys(answer for _, answer in support_pods.ask_in_order(client.net, [url] * TURNS))
        assert set(said) == names, f"a pod on {client.machine.name} got {list(said)} from {url}, not {names}"
