"""The graph's shape: every plan gets stages that can run, and no more machines than they need."""

from dataclasses import replace
from graphlib import TopologicalSorter
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_lab import FakeProvider
from fixed import guide_topology

from lab import stages as module
from lab.bringup import Bringup, Stage, ancestors, machines_for
from lab.cli import lifecycle
from lab.components.catalogue import components
from lab.errors import WaitExpired
from lab.kubeapi import Refused
from lab.laboratory import Laboratory
from lab.machine import Platform, Substrate
from lab.plan import load_topology
from lab.plugin import STAGES
from lab.stages import stages_for
from lab.state import StateFolder
from lab.topology import Node, Role, Topology
from lab.wait import NotYet, at_most

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


def test_machines_that_come_with_everything_are_not_even_asked() -> None:
    provider = SimpleNamespace(is_furnished=True)
    act = {stage.name: stage for stage in stages_for(load_topology())}["programs"].act
    assert act(SimpleNamespace(provider=provider)) == []  # type: ignore[arg-type]


def test_programs_go_to_the_machines_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is off is not of those that were asked for."""
    told: list[tuple[str, str]] = []
    provider = SimpleNamespace(is_furnished=False, states=lambda: {"a": "running", "b": "stopped"})
    lab: Any = SimpleNamespace(
        provider=provider,
        topology=load_topology(),
        machines={"a": "machine a", "b": "machine b"},
        tell=lambda *words: told.append(words),
    )

    def furnish(machines: list[str], _: Any, tell: Any) -> list[str]:
        tell("sending")
        return [each.removeprefix("machine ") for each in machines]

    monkeypatch.setattr(module, "furnish", furnish)
    act = {stage.name: stage for stage in stages_for(lab.topology)}["programs"].act
    assert act(lab) == ["programs on a"]
    assert told == [("programs", "sending")]


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


@pytest.mark.parametrize(("status", "kind"), [(500, NotYet), (503, NotYet), (403, Refused)])
def test_an_apiserver_that_starts_behind_the_balancer_is_waited_for(
    status: int, kind: type[Exception]
) -> None:
    """The balancer sees connections only, and gave some to the second master while it started."""

    class Api:
        def text(self, path: str) -> str:
            raise Refused(f"GET {path}", status, "[-]etcd failed")

    lab = SimpleNamespace(api=Api)
    with pytest.raises(kind, match="etcd failed"):
        module._check_api(lab)  # type: ignore[arg-type]


Call = tuple[str, set[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What stages did, in order: placed or awaited these components, or awaited leaders."""
    done: list[Call] = []

    def noting(word: str) -> Any:
        return lambda components, *_: done.append((word, {each.name for each in components})) or []

    monkeypatch.setattr(module, "place_all", noting("placed"))
    monkeypatch.setattr(module, "await_all", noting("awaited"))
    monkeypatch.setattr(module, "_await_leaders", lambda _: done.append(("leaders", set())))
    for check in ("_check_api", "_check_ready"):
        monkeypatch.setattr(module, check, lambda _: None)
    monkeypatch.setattr(module, "_pod_cidrs", lambda _: {})
    return done


def lab_of(*, slow: bool) -> Any:
    provider = SimpleNamespace(is_slow=slow, platform=Platform(Substrate.CONTAINER, 2))
    return SimpleNamespace(
        topology=load_topology(), provider=provider, machines={}, credentials=None, outside=None
    )


def acts() -> dict[str, Any]:
    return {stage.name: stage.act for stage in stages_for(load_topology())}


@pytest.mark.parametrize(("slow", "placed"), [(False, {"kubelet", "kube-proxy"}), (True, {"kubelet"})])
def test_where_machines_are_slow_kubelets_start_alone(
    calls: list[Call], slow: bool, placed: set[str]
) -> None:
    acts()["kubelet"](lab_of(slow=slow))
    assert calls == [("placed", placed)]


@pytest.mark.parametrize(("slow", "placed"), [(False, {"cni"}), (True, {"cni", "kube-proxy"})])
def test_where_machines_are_slow_kube_proxy_comes_with_the_pods_network(
    calls: list[Call], slow: bool, placed: set[str]
) -> None:
    for stage in ("network", "proxy"):
        acts()[stage](lab_of(slow=slow))
    assert calls == [("placed", placed), ("awaited", {"cni"}), ("awaited", {"kube-proxy"})]


def test_controllers_are_started_by_one_stage_and_asked_by_another_once_they_lead(calls: list[Call]) -> None:
    both = {"kube-controller-manager", "kube-scheduler"}
    for stage in ("controllers", "control-plane"):
        acts()[stage](lab_of(slow=True))
    assert calls == [("placed", both), ("leaders", set()), ("awaited", both)]


def test_controllers_of_whom_none_leads_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "last_words", lambda components, _: [f"k8s-master1: {components[1].unit} ended"]
    )
    lab = leading({"kube-controller-manager": "k8s-master1_1"})
    lab.provider, lab.machines = lab_of(slow=False).provider, {}
    with at_most(0), pytest.raises(WaitExpired, match=r"nobody leads kube-scheduler; k8s-master1: .* ended"):
        module._await_leaders(lab)


@pytest.mark.parametrize(("slow", "wanted"), [(False, []), (True, ["k8s-master2"])])
def test_no_master_is_installed_twice(monkeypatch: pytest.MonkeyPatch, slow: bool, wanted: list[str]) -> None:
    """Where machines are not slow all masters came at once, and the later stage has nothing to do."""
    plan = guide_topology()
    machines = {node.name: SimpleNamespace(name=node.name, node=node) for node in plan.nodes}
    provider = SimpleNamespace(is_slow=slow, platform=Platform(Substrate.CONTAINER, 2))
    lab = SimpleNamespace(topology=plan, machines=machines, provider=provider, credentials=None, outside=None)
    seen: list[str] = []
    monkeypatch.setattr(
        module, "install", lambda components, where, *_: seen.extend(machine.name for machine in where)
    )
    {stage.name: stage for stage in stages_for(plan)}["every-master"].act(lab)  # type: ignore[arg-type]
    assert seen == wanted


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        ("", "nobody leads kube-scheduler"),
        ("stranger", "stranger leads kube-scheduler"),
        ("k8s-worker1_0f1e", "k8s-worker1_0f1e leads kube-scheduler"),
    ],
)
def test_only_a_master_of_the_plan_leads(holder: str, said: str) -> None:
    leases = {"kube-controller-manager": "k8s-master2_0f1e", "kube-scheduler": holder}
    with pytest.raises(NotYet) as seen:
        module._check_leaders(leading(leases))
    assert str(seen.value).startswith(said)
    assert ("delete lease kube-scheduler" in str(seen.value)) is bool(holder)
    module._check_leaders(leading({**leases, "kube-scheduler": "k8s-master1_0f1e"}))


def leading(leases: dict[str, str]) -> Any:
    """A lab whose API knows these leases."""
    items = [
        {"metadata": {"name": name}, "spec": {"holderIdentity": holder}} for name, holder in leases.items()
    ]
    api = SimpleNamespace(items=lambda _: items)
    return SimpleNamespace(topology=load_topology(), api=lambda _: api)


def test_who_asks_for_dns_alone_gets_kubelets_that_can_be_asked_for_logs() -> None:
    """The certificates by which they serve are approved in `nodes`, which DNS itself does not need."""
    names = [stage.name for stage in lifecycle.chosen(stages_for(guide_topology()), "dns")]
    assert "nodes" in names
    assert "admin" not in names
