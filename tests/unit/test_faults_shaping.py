"""Queues: what tc is told, what its counters prove, and a narrow pipe with real packets."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_network import PEER, VICTIM, can_make_namespaces, cluster_of, wired

from lab.faults.shaping import Bandwidth, Delay, Loss, ShapingFault
from lab.machine import Machine, Result
from lab.wait import NotYet

needs_namespaces = pytest.mark.skipif(not can_make_namespaces(), reason="needs root, ip and nft")
RATE = 100_000


class Told(Machine):
    """Says what a kernel would."""

    def __init__(self, name: str, result: Result) -> None:
        self.name, self.result, self.calls = name, result, []

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.calls.append(argv)
        return self.result

    def _never(self) -> None:
        raise NotImplementedError

    pull_plug = boot = reboot = pause = resume = _never


def listing(chosen: int, **queue: Any) -> Result:
    counter = {"counter": {"packets": chosen}}
    rules = json.dumps({"nftables": [{"rule": {"comment": "x", "expr": [counter]}}]})
    counters = ", ".join(f'"{name}": {value}' for name, value in queue.items())
    return Result(0, f'{rules}\n\n[{{"handle": "7417:"}}, {{"handle": "7418:", {counters}}}]\n'.encode())


@pytest.mark.parametrize(
    ("fault", "options"),
    [
        (Delay(("a",), latency=0.09, jitter=0.0455), "netem delay 90ms 45.5ms"),
        (Loss(("a",), percent=0.5), "netem loss 0.5%"),
        (Bandwidth(("a",), rate=125_000), "tbf rate 1000000bit burst 16384 latency 400ms"),
    ],
)
def test_tc_is_told(fault: ShapingFault, options: str) -> None:
    machine = Told("a", Result(0))
    assert fault.unavailable(cluster_of({"a": machine})) == ""
    assert f"handle 7418: {options} ||" in machine.calls[0][-1]
    assert machine.calls[0][:2] == ("unshare", "-n"), "it is tried where nothing can be left"


def test_a_kernel_without_the_queue_is_told_with_its_own_words() -> None:
    machine = Told("a", Result(2, err=b"Error: Specified qdisc kind is unknown.\n"))
    told = Loss(("a",)).unavailable(cluster_of({"a": machine}))
    assert told == "a's kernel has no netem: Error: Specified qdisc kind is unknown."


@pytest.mark.parametrize(
    ("fault", "idle", "busy", "said"),
    [
        (
            Delay(("a",), latency=0.1),
            {"packets": 0},
            {"packets": 7},
            "7 packets passed netem delay 100ms 0ms",
        ),
        (Loss(("a",)), {"packets": 7, "drops": 0}, {"packets": 7, "drops": 3}, "3 of 10 were lost"),
        (Bandwidth(("a",)), {"overlimits": 0}, {"overlimits": 5}, "5 times one had to wait"),
    ],
)
def test_evidence_is_what_the_queue_did(
    fault: ShapingFault, idle: dict[str, int], busy: dict[str, int], said: str
) -> None:
    assert said in fault.in_force(cluster_of({"a": Told("a", listing(9, **busy))}))
    gone = listing(9, **busy)
    gone = Result(0, gone.out.replace(b"7418:", b"7419:"))
    for result in (listing(9, **idle), listing(0, **busy), Result(1), gone):
        with pytest.raises(NotYet):
            fault.in_force(cluster_of({"a": Told("a", result)}))


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Any]:
    with wired(tmp_path) as machines:
        yield cluster_of(machines)


SINK = """
import socket
server = socket.create_server(("0.0.0.0", 7000))
connection, _ = server.accept()
while connection.recv(65536): pass
connection.sendall(b"!")
"""
SEND = """
import socket, sys, time
for turn in range(50):
    try:
        connection = socket.create_connection((sys.argv[1], 7000), 5)
        break
    except ConnectionRefusedError:
        time.sleep(0.1)
begun = time.monotonic()
connection.sendall(bytes(int(sys.argv[2])))
connection.shutdown(1)
connection.recv(1)
print(time.monotonic() - begun)
"""


def seconds_to_send(cluster: Any, size: int, sender: str = VICTIM, taker: str = PEER) -> float:
    receiver = cluster.machines[taker]
    thread = threading.Thread(target=receiver.python, args=(SINK,), kwargs={"timeout": 30})
    thread.start()
    took = cluster.machines[sender].python(SEND, str(receiver.node.address), str(size), timeout=30)
    thread.join()
    return float(took)


@needs_namespaces
def test_a_narrow_pipe_is_as_wide_as_said(wire: Any) -> None:
    fault = Bandwidth((VICTIM,), rate=RATE)
    assert not fault.unavailable(wire)
    fault.heal(wire)
    for _ in range(2):
        fault.inject(wire)
        with pytest.raises(NotYet):
            fault.in_force(wire)
        took = seconds_to_send(wire, 2 * RATE)
        assert 1.3 <= took <= 4, "two seconds' worth, less what passes at once"
        assert "had to wait" in fault.in_force(wire)
        with pytest.raises(NotYet, match="still there"):
            fault.check_healed(wire)
        fault.heal(wire)
        fault.check_healed(wire)
    assert seconds_to_send(wire, 2 * RATE) < 1


@needs_namespaces
def test_only_the_chosen_packets_pass_it(wire: Any) -> None:
    for fault in (Bandwidth((VICTIM,), rate=RATE, ports=(2380,)), Bandwidth((VICTIM,), peers=("k8s-lb",))):
        fault.inject(wire)
        assert seconds_to_send(wire, 2 * RATE) < 1
        with pytest.raises(NotYet, match="0 packets were chosen"):
            fault.in_force(wire)
        fault.heal(wire)


@needs_namespaces
def test_the_real_kernel_says_whether_it_has_netem(wire: Any) -> None:
    said = Delay((VICTIM,)).unavailable(wire)
    tried = wire.machines[VICTIM].run("unshare", "-n", "tc", "qdisc", "add", "dev", "lo", "root", "netem")
    assert bool(said) == (not tried.ok)
