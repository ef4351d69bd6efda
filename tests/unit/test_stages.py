"""The graph's shape: every plan gets stages that can run, and no more machines than they need."""

from dataclasses import replace
from graphlib import TopologicalSorter
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from fake_lab import FakeProvider
from fixed import guide_topology

from lab.bringup import Bringup, Stage, ancestors, machines_for
from lab.cli import lifecycle
from lab.components.catalogue import components
from lab.laboratory import Laboratory
from lab.machine import Platform, Substrate
from lab.plan import load_topology
from lab.plugin import STAGES
from lab.stages import stages_for
from lab.state import StateFolder
from lab.topology import Node, Role, Topology

SMALL = """\
name: small
network: {cidr: 192.168.7.0/24, pods: 10.10.0.0/16, services: 10.0.0.0/24, dns: 10.0.0.2, domain: c.local}
machines:
  one: {address: 192.168.7.11, roles: [control-plane, etcd, worker]}
versions: "1.37"
addons: []
"""
WIDE_TAIL = 'versions: "1.37"\naddons: [coredns]\n'


def small(folder: Path) -> Topology:
    (folder / "small.yaml").write_text(SMALL)
    return load_topology(folder / "small.yaml")


def wide(folder: Path) -> Topology:
    """Three masters, three members of etcd apart, five workers, a balancer."""
    groups = {
        "control-plane": range(11, 14),
        "etcd": range(31, 34),
        "worker": range(51, 56),
        "load-balancer": [99],
    }
    lines = [
        f"  {role}{n}: {{address: 192.168.7.{n}, roles: [{role}]}}\n"
        for role, ns in groups.items()
        for n in ns
    ]
    head = SMALL.split("machines:")[0] + "machines:\n"
    (folder / "wide.yaml").write_text(head + "".join(lines) + WIDE_TAIL)
    return load_topology(folder / "wide.yaml")


@pytest.fixture(params=["default", "small", "wide"])
def topology(request: pytest.FixtureRequest, tmp_path: Path) -> Topology:
    return {"default": lambda _: load_topology(), "small": small, "wide": wide}[request.param](tmp_path)


@pytest.fixture
def stages(topology: Topology) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages_for(topology)}


def test_names_are_unique_and_every_need_is_a_stage(topology: Topology, stages: dict[str, Stage]) -> None:
    assert len(stages) == len(stages_for(topology))
    assert {need for stage in stages.values() for need in stage.needs} <= stages.keys()


def test_there_is_no_cycle_and_the_order_is_a_right_one(stages: dict[str, Stage]) -> None:
    list(TopologicalSorter({s.name: s.needs for s in stages.values()}).static_order())
    order = list(stages)
    assert all(order.index(need) < order.index(s.name) for s in stages.values() for need in s.needs)


def test_all_stages_together_use_all_machines(topology: Topology, stages: dict[str, Stage]) -> None:
    assert machines_for(topology, stages.values()) == [node.name for node in topology.nodes]


def test_every_stage_says_what_is_true_and_has_machines(topology: Topology, stages: dict[str, Stage]) -> None:
    for stage in stages.values():
        assert stage.truth
        assert not stage.roles or any(topology.of(role) for role in stage.roles), stage.name


def test_a_plan_without_balancer_has_no_stage_for_one(tmp_path: Path) -> None:
    names = [stage.name for stage in stages_for(small(tmp_path))]
    assert "load-balancer" not in names
    assert "control-plane" in names


def test_etcd_alone_needs_its_own_machines_only() -> None:
    stages = {stage.name: stage for stage in stages_for(load_topology())}
    wanted = [stages[name] for name in ancestors(stages, ["etcd"])]
    assert sorted(stage.name for stage in wanted) == ["etcd", "programs"]
    assert machines_for(load_topology(), wanted) == ["k8s-master1", "k8s-master2", "k8s-lb"]


def test_programs_alone_are_brought_to_every_machine() -> None:
    """To those of the stages that were asked for, where it is not alone."""
    stages = {stage.name: stage for stage in stages_for(load_topology())}
    wanted = [stages[name] for name in ancestors(stages, ["programs"])]
    assert machines_for(load_topology(), wanted) == [node.name for node in load_topology().nodes]


def test_programs_come_before_whatever_runs_one() -> None:
    stages = {stage.name: stage for stage in stages_for(load_topology())}
    assert [name for name in stages if "programs" not in ancestors(stages, [name])] == []


def test_dns_needs_everything_but_administrators_tools_later_masters_and_serving_certificates() -> None:
    """Of the latter two nobody who asks for a name knows; but whoever asks for all of it gets them."""
    stages = {stage.name: stage for stage in stages_for(load_topology())}
    rest = {"admin", "every-master", "nodes"}
    assert stages.keys() - ancestors(stages, ["dns"]) == rest
    assert ancestors(stages, STAGES["lab"]) == ancestors(stages, STAGES["lab_dns"]) == stages.keys()


def test_no_pod_starts_before_services_are_translated_for_it() -> None:
    """CoreDNS that cannot reach the API at first asks again late, by connections that nothing mends."""
    stages = {stage.name: stage for stage in stages_for(load_topology())}
    assert "proxy" in ancestors(stages, ["dns"])


def test_where_machines_are_slow_what_is_more_urgent_comes_first_and_nothing_waits_for_itself(
    stages: dict[str, Stage],
) -> None:
    for more in ("after", "fast_after"):
        graph = {name: {*s.needs, *(stages.keys() & {*getattr(s, more)})} for name, s in stages.items()}
        list(TopologicalSorter(graph).static_order())
    wide = {stage.name: stage for stage in stages_for(load_topology())}
    assert [name for name, stage in wide.items() if "etcd" in stage.after] == [
        "hosts",
        "load-balancer",
        "runtime",
    ]
    assert "dns" in wide["admin"].after
    assert {"dns", "nodes"} <= {*wide["every-master"].after}
    assert wide["kubelet"].fast_after == ("control-plane",)


def test_every_program_whose_files_are_known_beforehand_is_carried(topology: Topology) -> None:
    carried = [kind for stage in stages_for(topology) for kind in stage.carries]
    assert len(carried) == len({*carried})
    assert {*carried} == {type(component) for component in components(topology, Platform(Substrate.VM, 2))}


@pytest.mark.parametrize("slowness", [1.0, 15.0], ids=["fast", "slow"])
def test_the_whole_graph_comes_to_its_end_in_the_order_that_suits_the_machines(
    topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowness: float
) -> None:
    monkeypatch.setenv("FAKE_EVENTS", str(tmp_path / "events"))
    monkeypatch.setattr("lab.bringup.stretch", lambda _: None)
    monkeypatch.setattr(FakeProvider, "slowness", slowness)
    ended: list[str] = []

    def nothing(stage: Stage) -> Stage:
        return replace(stage, act=lambda _: ended.append(stage.name), carries=())

    lab = Laboratory(topology, FakeProvider(), StateFolder(tmp_path / "thw"))
    stages = [nothing(stage) for stage in stages_for(topology)]
    Bringup(lab, stages).require(*(stage.name for stage in stages))
    assert sorted(ended) == sorted(stage.name for stage in stages)
    for stage in stages:
        before = {*stage.needs, *(stage.after if slowness > 1 else stage.fast_after)} & {*ended}
        assert all(ended.index(name) < ended.index(stage.name) for name in before), stage.name


def test_who_leads_is_waited_for_by_those_only_who_need_one_that_leads() -> None:
    stages = {stage.name: stage for stage in stages_for(load_topology())}
    without = {name for name in stages if "control-plane" not in ancestors(stages, [name])}
    assert {"controllers", "kubelet", "access", "runtime", "load-balancer"} <= without
    assert not without & {"nodes", "network", "dns", "admin", "every-master"}


def test_a_role_without_machines_has_no_stages() -> None:
    plan = guide_topology()
    masters = tuple(node for node in plan.nodes if Role.WORKER not in node.roles)
    names = {
        stage.name
        for stage in stages_for(Topology(plan.name, plan.networks, masters, plan.versions, addons=()))
    }
    assert not names & {"runtime", "nodes", "network", "proxy"}


def test_machines_stand_in_the_order_of_the_plan() -> None:
    plan = guide_topology()
    late = Node("a", IPv4Address("192.168.100.5"), frozenset({Role.ETCD}))
    wider = Topology(plan.name, plan.networks, (*plan.nodes, late), plan.versions)
    stage = Stage("x", "", lambda _: None, (), frozenset({Role.ETCD}))
    assert machines_for(wider, [stage])[-1] == "a"


def test_who_asks_for_dns_alone_gets_kubelets_that_can_be_asked_for_logs() -> None:
    """The certificates by which they serve are approved in `nodes`, which DNS itself does not need."""
    names = [stage.name for stage in lifecycle.chosen(stages_for(guide_topology()), "dns")]
    assert "nodes" in names
    assert "admin" not in names
