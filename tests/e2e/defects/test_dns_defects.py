"""The chapter on DNS turns red when one worker's pods lose one transport, or all of it for a while."""

import json
from collections.abc import Callable
from functools import partial

import pytest
from support_defects import green, packet_rule
from support_eventually import eventually
from test_coredns import SELECTOR, SYSTEM, is_ready

from lab.addons.coredns import DEPLOYMENT
from lab.cluster import Cluster
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.defects
PLACED = "test_coredns.py::test_coredns_has_a_replica_on_each_of_two_workers"
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
        turns_red(test, f"a pod on {worker.name} got no right answer", "the limit is 5 s")
    green(lab, test)


def test_a_coredns_that_ends_at_once(lab: Cluster, turns_red: TurnsRed) -> None:
    """Go refuses such a limit; bring-up applies its own fields and leaves a foreign one alone."""
    container = {"name": "coredns", "env": [{"name": "GOMEMLIMIT", "value": "none"}]}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}})
    back = '[{"op":"remove","path":"/spec/template/spec/containers/0/env"}]'
    kubectl = partial(lab.kubectl, "-n", "kube-system", "patch", "deployment", "coredns")
    try:
        kubectl("--patch", patch)
        eventually("a CoreDNS to end", partial(_check_ended, lab), timeout=90)
        turns_red(PLACED, "coredns-", "CrashLoopBackOff", "it ended last with 2", "its last words")
    finally:
        kubectl("--type=json", "--patch", back)
        eventually("CoreDNS to be whole", partial(_check_whole, lab), timeout=90)
    green(lab, PLACED)


def test_a_coredns_pod_that_finds_no_place(lab: Cluster, turns_red: TurnsRed) -> None:
    worker = lab.of(Role.WORKER)[-1].name
    if len(lab.of(Role.WORKER)) < 2:
        pytest.skip("one worker carries one CoreDNS")
    nodes = "test_nodes.py::test_kubectl_shows_every_worker_ready_by_its_version_and_address"
    here = lab.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR, fieldSelector=f"spec.nodeName={worker}")
    try:
        lab.kubectl("cordon", worker)
        lab.api().delete(f"{SYSTEM}/pods/{here[0]['metadata']['name']}")
        turns_red(PLACED, "no node", "unschedulable")
        turns_red(nodes, f"kubectl uncordon {worker}")
    finally:
        lab.kubectl("uncordon", worker)
        eventually("CoreDNS to be whole", partial(_check_whole, lab), timeout=90)
    green(lab, PLACED)


def _check_ended(lab: Cluster) -> None:
    states = [
        status["restartCount"]
        for pod in lab.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
        for status in pod["status"].get("containerStatuses", ())
    ]
    if max(states, default=0) < 1:
        raise NotYet(f"CoreDNS was restarted {states} times")


def _check_whole(lab: Cluster) -> None:
    pods = lab.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
    ready = [pod["metadata"]["name"] for pod in pods if is_ready(pod)]
    wanted = lab.api().get(DEPLOYMENT)["spec"]["replicas"]
    if not len(pods) == len(ready) == wanted:
        raise NotYet(f"{len(pods)} pods, ready are {ready}, wanted are {wanted}")
