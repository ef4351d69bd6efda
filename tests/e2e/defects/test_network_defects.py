"""The chapters on the network turn red when packets get lost, translated or cut, or a proxy is misnamed."""

from collections.abc import Callable
from ipaddress import IPv4Network

import pytest
from support_defects import green, packet_rule, proxy_named

from lab.cluster import Cluster
from lab.machine import Machine
from lab.topology import Role

pytestmark = pytest.mark.defects
FORWARD = "type filter hook forward priority -10"
POSTROUTING = "type nat hook postrouting priority 90"
TurnsRed = Callable[..., None]


@pytest.fixture
def two(lab: Cluster) -> tuple[Machine, Machine]:
    """The first and the last worker."""
    workers = lab.of(Role.WORKER)
    if len(workers) < 2:
        pytest.skip("one worker has no other to lose packets on the way to")
    return workers[0], workers[-1]


def pods_of(cluster: Cluster, machine: Machine) -> IPv4Network:
    """The range of the worker's pods."""
    return IPv4Network(cluster.api().get(f"/api/v1/nodes/{machine.name}")["spec"]["podCIDR"])


def test_lost_packets_between_two_workers(
    lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed
) -> None:
    first, last = two
    test = "test_network.py::test_pods_reach_pods_of_every_node"
    rule = f"ip saddr {pods_of(lab, first)} ip daddr {pods_of(lab, last)} tcp dport 8080 drop"
    with packet_rule(last, FORWARD, rule):
        turns_red(test, f"a pod on {first.name} asked", f"on {last.name}")
    green(lab, test)


def test_translated_addresses(lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed) -> None:
    first, _ = two
    test = "test_network.py::test_a_pod_is_seen_by_its_own_address"
    rule = f"ip saddr {pods_of(lab, first)} ip daddr {lab.topology.networks.pods} masquerade"
    with packet_rule(first, POSTROUTING, rule):
        turns_red(test, f"a pod on {first.name} is", f"saw {first.node.address}")
    green(lab, test)


def test_a_path_too_narrow_for_full_packets(
    lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed
) -> None:
    first, last = two
    test = "test_network.py::test_packets_as_large_as_the_pods_link_allows_arrive_unfragmented"
    with packet_rule(last, FORWARD, f"ip saddr {pods_of(lab, first)} ip length > 1400 drop"):
        turns_red(test, f"from a pod on {first.name} to a pod on {last.name}: lost with packets of")
    green(lab, test)


def test_a_proxy_whose_name_is_no_node(
    lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed
) -> None:
    """Case A6: ClusterIPs work as ever, so that only local traffic policy tells."""
    _, last = two
    test = "test_services.py::test_a_service_of_local_traffic_policy_answers_on_each_worker_by_its_own_pod"
    with proxy_named(last, "k8s-worker"):
        turns_red(test, f"on {last.name} said curl", f"{last.name}: kube-proxy calls itself", "no Node")
        green(lab, "test_services.py::test_pods_reach_every_replica_through_the_cluster_ip")
    green(lab, test)
