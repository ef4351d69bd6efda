from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from lab.plan import load_topology
from lab.topology import Cni, Node, Role, Topology, differences, facts, overlaps_nat


def guide() -> Topology:
    return load_topology()


def moved(topology: Topology, name: str, address: str) -> Topology:
    nodes = tuple(replace(n, address=IPv4Address(address)) if n.name == name else n for n in topology.nodes)
    return replace(topology, nodes=nodes)


def test_the_digest_is_of_the_plan_and_not_of_its_file() -> None:
    assert guide().digest() == replace(guide(), origin="elsewhere").digest()
    assert len(guide().digest()) == 64


def test_every_change_of_the_plan_changes_the_digest() -> None:
    plan = guide()
    others = [
        replace(plan, name="other"),
        replace(plan, cni=Cni.FLANNEL),
        replace(plan, nodes=plan.nodes[:-1]),
        replace(plan, nodes=plan.nodes[::-1]),
        replace(plan, networks=replace(plan.networks, node_ports=(30000, 30001))),
        replace(plan, versions=replace(plan.versions, skewed=(("kubelet", "1.36.3"),))),
        replace(plan, api_server=IPv4Address("192.168.100.11")),
        moved(plan, "k8s-lb", "192.168.100.101"),
        replace(plan, nodes=(replace(plan.nodes[0], place="host2"), *plan.nodes[1:])),
    ]
    assert len({plan.digest(), *(other.digest() for other in others)}) == len(others) + 1
    assert all(differences(plan, other) for other in others)


def test_equal_plans_have_no_differences() -> None:
    assert differences(guide(), guide()) == []


def test_differences_name_both_values() -> None:
    pods = replace(guide().networks, pods=IPv4Network("10.20.0.0/16"))
    changed = replace(moved(guide(), "k8s-lb", "192.168.100.101"), networks=pods)
    assert differences(guide(), changed) == [
        "network.pods: 10.10.0.0/16 -> 10.20.0.0/16",
        "machines.k8s-lb.address: 192.168.100.100 -> 192.168.100.101",
        "api-server: 192.168.100.100 -> 192.168.100.101",
    ]


def test_a_machine_that_comes_or_goes_is_one_difference() -> None:
    more = Node("address", IPv4Address("192.168.100.23"), frozenset({Role.WORKER}))
    added = moved(replace(guide(), nodes=(*guide().nodes, more)), "k8s-worker1", "192.168.100.29")
    names = "k8s-master1, k8s-master2, k8s-worker1, k8s-worker2, k8s-lb"
    assert differences(guide(), added) == [
        f"machines: {names} -> {names}, address",
        "machines.k8s-worker1.address: 192.168.100.21 -> 192.168.100.29",
    ]


def test_a_skewed_program_has_its_own_version() -> None:
    versions = replace(guide().versions, skewed=(("kubelet", "1.36.3"),))
    assert (versions.of("kubelet"), versions.of("kubectl")) == ("1.36.3", "1.37.2")
    assert facts(replace(guide(), versions=versions))["versions", "kubelet"] == "1.36.3"


def test_the_nat_of_virtualbox_is_seen() -> None:
    wide = replace(guide().networks, services=IPv4Network("10.0.0.0/16"))
    assert overlaps_nat(guide()) == []
    (warning,) = overlaps_nat(replace(guide(), networks=wide))
    assert warning.startswith("services 10.0.0.0/16 overlaps 10.0.2.0/24")


def test_etcd_members_are_numbered_as_in_the_guide() -> None:
    plan = guide()
    assert [plan.etcd_name(node) for node in plan.of(Role.ETCD)] == ["etcd-1", "etcd-2", "etcd-3"]
    assert plan.etcd_name(plan.node("k8s-lb")) == "etcd-3"
