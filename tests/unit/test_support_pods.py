"""What the network tests conclude from what was said to a pod or a machine."""

import pytest
from support_pods import ask_in_order, seen, state

from lab.machine import Result


@pytest.mark.parametrize("address", ["10.10.0.7", "192.168.100.11", "[fd00::7]"])
def test_an_address_with_a_port_is_the_address(address: str) -> None:
    assert seen(f"{address}:41234") == address


@pytest.mark.parametrize(
    "said",
    [
        "curl: (7) Failed to connect to 10.0.0.5 port 80 after 0 ms: Couldn't connect to server",
        "curl: (28) Connection timed out after 3001 milliseconds",
        "<urlopen error [Errno 111] Connection refused>",
        "no answer; the script ended with 1: ",
        "10.0.0.5:http",
        "",
    ],
)
def test_an_error_is_shown_as_an_error_and_never_as_an_address(said: str) -> None:
    assert seen(said) == f"nobody, but said {said!r}"


def test_a_url_whose_line_is_lacking_says_how_the_script_ended() -> None:
    ended = Result(2, b"http://a/x web-1\n", b"sh: gone")
    answers = ask_in_order(lambda _: ended, ["http://a/x", "http://a/y"])
    assert answers[0] == ("http://a/x", "web-1")
    assert answers[1] == ("http://a/y", "no answer; the script ended with 2: sh: gone")


def test_a_pod_that_ended_says_how_and_what_it_waits_for() -> None:
    container = {
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 20s"}},
        "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
    }
    status = {"phase": "Running", "conditions": [], "containerStatuses": [container]}
    told = state({"metadata": {"name": "dns-1"}, "spec": {"nodeName": "k8s-worker1"}, "status": status})
    assert (
        told == "dns-1 on k8s-worker1 is Running: CrashLoopBackOff back-off 20s, it ended last with 2: Error"
    )


def test_a_pod_without_a_place_says_why() -> None:
    waits = {"type": "PodScheduled", "status": "False", "message": "2 nodes were unschedulable"}
    told = state(
        {"metadata": {"name": "p"}, "spec": {}, "status": {"phase": "Pending", "conditions": [waits]}}
    )
    assert told == "p on no node is Pending: 2 nodes were unschedulable"
