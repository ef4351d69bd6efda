"""Growth is more machines and more roles, and nothing else."""

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from fake_lab import FakeProvider

from lab import opening
from lab.errors import LabError
from lab.growth import hindrances
from lab.plan import load_topology
from lab.topology import Cni, Node, Role, Topology, facts


def roles(plan: Topology, name: str, *wanted: Role) -> Topology:
    nodes = tuple(replace(n, roles=frozenset(wanted)) if n.name == name else n for n in plan.nodes)
    return replace(plan, nodes=nodes)


def without(plan: Topology, *names: str) -> Topology:
    return replace(plan, nodes=tuple(node for node in plan.nodes if node.name not in names))


def small() -> Topology:
    return without(roles(load_topology(), "k8s-master2", Role.ETCD), "k8s-worker2")


def told(before: Topology, after: Topology) -> list[str]:
    return hindrances(facts(before), facts(after))


def test_machines_and_roles_are_growth() -> None:
    assert told(small(), load_topology()) == []
    assert told(load_topology(), load_topology()) == []


def test_shrinking_is_told_by_machine_and_role() -> None:
    assert told(load_topology(), small()) == [
        "machines.k8s-worker2: is gone",
        "machines.k8s-master2.roles: control-plane is gone",
    ]


def test_what_a_running_cluster_cannot_take_is_told_with_its_reason() -> None:
    plan = without(load_topology(), "k8s-lb", "k8s-master2")
    more = roles(without(load_topology(), "k8s-master2"), "k8s-worker1", Role.WORKER, Role.ETCD)
    lines = told(plan, more)
    assert "machines.k8s-worker1.roles: etcd: a member is not added to an etcd cluster that runs" in lines
    assert any(line.startswith("machines.k8s-lb.roles: load-balancer: those who joined") for line in lines)
    assert "api-server: 192.168.100.11 -> 192.168.100.100" in lines


def test_every_other_change_is_told_with_both_values() -> None:
    new = Node("k8s-worker3", IPv4Address("192.168.100.23"), frozenset({Role.WORKER}))
    plan = load_topology()
    moved = replace(plan.nodes[0], address=IPv4Address("192.168.100.13"), memory_mib=2048)
    other = replace(plan, nodes=(moved, *plan.nodes[1:], new), cni=Cni.FLANNEL)
    assert told(plan, other) == [
        "machines.k8s-master1.address: 192.168.100.11 -> 192.168.100.13",
        "machines.k8s-master1.memory: 1024MiB -> 2048MiB",
        "cni: routed -> flannel",
    ]


def test_another_order_is_no_growth_for_it_numbers_the_members() -> None:
    plan = load_topology()
    assert told(plan, replace(plan, nodes=plan.nodes[::-1]))[0].startswith("machines: their order")
    front = Node("k8s-a", IPv4Address("192.168.100.23"), frozenset({Role.WORKER}))
    assert told(plan, replace(plan, nodes=(front, *plan.nodes))) == []


@pytest.fixture
def opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path))
    monkeypatch.setattr(opening, "provider_of", lambda *_: FakeProvider())


def opened(plan: Topology, *, grow: bool = False) -> Topology:
    return opening.open_lab(plan, "auto", lambda _: None, grow=grow).topology


@pytest.mark.usefixtures("opens")
def test_another_plan_is_refused_with_the_differences_and_the_way_to_grow() -> None:
    opened(small())
    with pytest.raises(LabError) as refusal:
        opened(load_topology())
    assert "machines.k8s-master2.roles: etcd -> control-plane, etcd" in str(refusal.value)
    assert "thwlab up --grow" in str(refusal.value)


@pytest.mark.usefixtures("opens")
def test_a_lab_grows_into_a_plan_that_only_adds_and_then_has_it() -> None:
    opened(small())
    assert opened(load_topology(), grow=True) == load_topology()
    assert opened(load_topology()) == load_topology()
    with pytest.raises(LabError, match=r"does not only add to it:[\s\S]*k8s-worker2: is gone"):
        opened(small(), grow=True)
    assert opened(load_topology()) == load_topology()


@pytest.mark.usefixtures("opens")
def test_a_lab_whose_plan_was_not_written_down_does_not_grow() -> None:
    opening.state_of("thw").intend("auto", "of an older version")
    with pytest.raises(LabError, match="its plan was not written down"):
        opened(load_topology(), grow=True)
