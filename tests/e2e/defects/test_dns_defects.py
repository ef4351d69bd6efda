"""The chapter on DNS turns red when one worker's pods lose one transport, or all of it for a while."""

from collections.abc import Callable

import pytest
from support_defects import green, packet_rule

from lab.cluster import Cluster
from lab.topology import Role

pytestmark = pytest.mark.defects
FORWARD = "type filter hook forward priority -10"
TurnsRed = Callable[..., None]


def test_no_tcp_for_the_pods_of_one_worker(lab: Cluster, turns_red: TurnsRed) -> None:
    """The worker itself still asks by both, and so bring-up sees nothing."""
    worker = lab.of(Role.WORKER)[0]
    test = "test_dns.py::test_every_server_gives_pods_of_every_worker_the_right_answer"
    rule = f"ip saddr {lab.topology.networks.pods} tcp dport 53 reject with tcp reset"
    with packet_rule(worker, FORWARD, rule):
        turns_red(f"{test}[srv]", f"a pod on {worker.name} asked", "by tcp for _http._tcp.web", "no answer")
        turns_red("test_dns.py::test_an_answer_larger_than_a_packet_arrives", f"a pod on {worker.name}")
    green(lab, f"{test}[srv]")


def test_a_worker_whose_pods_get_no_answer(lab: Cluster, turns_red: TurnsRed) -> None:
    """While the CoreDNS pods are replaced, silence is measured and not only the pods' readiness seen."""
    worker = lab.of(Role.WORKER)[0]
    if len(lab.of(Role.WORKER)) < 2:
        pytest.skip("one worker carries one CoreDNS, and the test is skipped")
    test = "test_coredns.py::test_names_are_answered_while_each_coredns_pod_is_replaced_in_turn"
    with packet_rule(worker, FORWARD, f"ip saddr {lab.topology.networks.pods} udp dport 53 drop"):
        turns_red(test, f"a pod on {worker.name} got no right answer", "more than 5 s")
    green(lab, test)
