"""The prober against servers that answer, hang, reset, refuse and lie; real sockets on loopback."""

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.probes import prober
from lab.wait import NotYet, wait_until

Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """A TCP server that hands each connection to a function, in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


def request(connection: socket.socket) -> bytes:
    """One request with its body."""
    told = b""
    while b"\r\n\r\n" not in told:
        told += connection.recv(4096) or b"\r\n\r\n"
    head, _, body = told.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    ]
    while lengths and len(body) < int(lengths[0]):
        body += connection.recv(4096)
    return head + b"\n" + body


def answering(status: int, body: bytes, *, after: float = 0.0) -> Serve:
    def serve(connection: socket.socket) -> None:
        with connection:
            while request(connection).strip():
                threading.Event().wait(after)
                connection.sendall(
                    b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body
                )

    return serve


def resetting(connection: socket.socket) -> None:
    """Take the request, then reset."""
    request(connection)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hanging(connection: socket.socket) -> None:
    request(connection)
    threading.Event().wait(3)


def asked(port: int, *requests: dict[str, Any], deadline: float = 0.4, **more: Any) -> dict[str, Any]:
    """One question, and its record."""
    plan = {
        "ask": "http",
        "address": "127.0.0.1",
        "port": port,
        "host": "127.0.0.1",
        "deadline": deadline,
        **more,
    }
    question = prober.Question({**plan, "requests": list(requests)}, 7, time.monotonic())
    prober.decide(question, None)
    return question.record(time.monotonic())


WRITE = {"method": "POST", "path": "/w", "body": '{"k":"%KEY%"}', "write": True}
READ = {"method": "GET", "path": "/r"}


def test_an_answer_in_time_is_ok_and_its_phases_are_in_order() -> None:
    with server(answering(200, b"{}")) as port:
        seen = asked(port, READ)
    assert (seen["outcome"], seen["said"]) == ("ok", "")
    assert len(seen["phases"]) == 3
    assert seen["phases"] == sorted(seen["phases"])
    assert seen["scheduled"] <= seen["sent"] <= seen["answered"]


def test_a_write_that_was_acknowledged_stays_so_when_the_read_after_it_fails() -> None:
    def serve(connection: socket.socket) -> None:
        request(connection)
        connection.sendall(b"HTTP/1.1 201 X\r\nContent-Length: 2\r\n\r\n{}")
        request(connection)
        connection.close()

    with server(serve) as port:
        seen = asked(port, WRITE, READ, prefix="w-", writes=True)
    assert (seen["outcome"], seen["acked"], seen["key"]) == ("failed", True, "w-000007")
    assert 0 < seen["acknowledged"] < seen["answered"] - seen["sent"]


@pytest.mark.parametrize(
    ("serve", "requests", "outcome", "said"),
    [
        pytest.param(hanging, [WRITE], "unknown", "timed out in answer", id="write-hangs"),
        pytest.param(hanging, [READ], "failed", "timed out in answer", id="read-hangs"),
        pytest.param(resetting, [WRITE], "unknown", "Connection", id="write-reset"),
        pytest.param(answering(500, b"no leader"), [WRITE], "unknown", "HTTP 500: no leader", id="write-500"),
        pytest.param(
            answering(500, b"etcdserver: mvcc: database space exceeded"),
            [WRITE],
            "failed",
            "HTTP 500: etcdserver: mvcc: database space exceeded",
            id="no-room",
        ),
        pytest.param(answering(409, b"is there"), [WRITE], "failed", "HTTP 409: is there", id="write-409"),
        pytest.param(answering(200, b"other"), [{**READ, "holds": "mine"}], "failed", "HTTP 200", id="wrong"),
    ],
)
def test_what_may_have_been_done_is_unknown_and_the_rest_has_failed(
    serve: Serve, requests: list[dict[str, Any]], outcome: str, said: str
) -> None:
    with server(serve) as port:
        seen = asked(port, *requests)
    assert seen["outcome"] == outcome
    assert said in seen["said"]
    assert not seen["acked"]


def test_a_refused_connection_has_failed_for_certain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    seen = asked(port, WRITE)
    assert (seen["outcome"], seen["phases"]) == ("failed", [])
    assert "ConnectionRefusedError" in seen["said"]


def test_the_key_of_the_beat_is_in_path_body_and_what_is_expected() -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(request(connection))
        connection.sendall(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nk-000007"[:-3])
        connection.close()

    with server(serve) as port:
        asked(port, {**WRITE, "path": "/w/%KEY%", "body": "%BASE64KEY%"}, prefix="k-")
    assert b"POST /w/k-000007" in seen[0]
    assert seen[0].endswith(b"ay0wMDAwMDc=")


def dns(packet: Callable[[bytes], bytes]) -> tuple[socket.socket, int]:
    raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    raw.bind(("127.0.0.1", 0))

    def serve() -> None:
        told, where = raw.recvfrom(4096)
        raw.sendto(packet(told), where)

    threading.Thread(target=serve, daemon=True).start()
    return raw, raw.getsockname()[1]


@pytest.mark.parametrize(
    ("flags", "answers", "outcome"), [(0x8180, 1, "ok"), (0x8183, 0, "failed"), (0x8180, 0, "failed")]
)
def test_a_name_is_resolved_only_if_there_is_an_address(flags: int, answers: int, outcome: str) -> None:
    raw, port = dns(lambda told: told[:2] + struct.pack(">HHHHH", flags, 1, answers, 0, 0) + told[12:])
    plan = {"ask": "dns", "address": "127.0.0.1", "port": port, "name": "a.b", "deadline": 0.5}
    question = prober.Question(plan, 0, time.monotonic())
    prober.decide(question, None)
    raw.close()
    assert question.outcome == outcome, question.said


class Resolver:
    """Answers as many questions as it is told to, and keeps the ports that they came from."""

    def __init__(self) -> None:
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.raw.bind(("127.0.0.1", 0))
        self.port = self.raw.getsockname()[1]
        self.heard: list[tuple[bytes, tuple[str, int]]] = []
        self.silent = False
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                told, where = self.raw.recvfrom(4096)
                self.heard.append((told, where))
                if not self.silent:
                    self.answer(len(self.heard) - 1)

    def answer(self, number: int) -> None:
        told, where = self.heard[number]
        self.raw.sendto(told[:2] + struct.pack(">HHHHH", 0x8180, 1, 1, 0, 0) + told[12:], where)


@pytest.fixture
def resolver() -> Iterator[Resolver]:
    found = Resolver()
    yield found
    found.raw.close()


def a_free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
        raw.bind(("", 0))
        return int(raw.getsockname()[1])


def named(port: int, source: int, shared: dict[str, Any], deadline: float = 2.0) -> prober.Question:
    plan = {"ask": "dns", "address": "127.0.0.1", "port": port, "name": "a.b", "source": source}
    question = prober.Question({**plan, "deadline": deadline}, 0, time.monotonic())
    question.shared = shared
    return question


def decided(*questions: prober.Question) -> list[threading.Thread]:
    threads = [threading.Thread(target=prober.decide, args=(each, None)) for each in questions]
    for thread in threads:
        thread.start()
    return threads


@pytest.mark.parametrize("keeps", [True, False])
def test_a_client_that_keeps_its_port_asks_from_it_alone_and_others_from_a_fresh_one(
    resolver: Resolver, keeps: bool
) -> None:
    source, shared = a_free_port() if keeps else 0, {}
    questions = [named(resolver.port, source, shared) for _ in range(3)]
    for thread in decided(*questions):
        thread.join()
    assert [each.outcome for each in questions] == ["ok"] * 3, questions[0].said
    assert [len(each.phases) for each in questions] == [2] * 3
    ports = {where[1] for _, where in resolver.heard}
    assert (ports == {source}) if keeps else (len(ports) == 3)


def test_an_answer_from_a_shared_port_goes_to_whoever_asked(resolver: Resolver) -> None:
    """Who hangs takes no answer of another's, and gets its own however late it comes."""
    source, shared = a_free_port(), {}
    resolver.silent = True
    first, lost = named(resolver.port, source, shared), named(resolver.port, source, shared, deadline=0.3)
    threads = decided(first)
    wait_until("the first question", lambda: resolver.heard or not_yet(), timeout=5, every=0.01)
    threads += decided(lost)
    wait_until("the second one", lambda: len(resolver.heard) > 1 or not_yet(), timeout=5, every=0.01)
    resolver.silent = False
    last = named(resolver.port, source, shared)
    prober.decide(last, None)
    threads[1].join()
    resolver.answer(0)
    threads[0].join()
    assert [each.outcome for each in (first, lost, last)] == ["ok", "failed", "ok"]
    assert lost.said == "timed out in handshake"
    assert first.phases[-1] >= 0.3


def test_from_a_kept_port_nobody_listens_is_refused_and_a_port_in_use_is_said(resolver: Resolver) -> None:
    shared: dict[str, Any] = {}
    nobody = named(a_free_port(), a_free_port(), shared)
    prober.decide(nobody, None)
    assert (nobody.outcome, nobody.said.partition(":")[0]) == ("failed", "ConnectionRefusedError")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("", 0))
        busy = named(resolver.port, taken.getsockname()[1], {})
        prober.decide(busy, None)
    assert busy.outcome == "failed"
    assert "Address already in use" in busy.said


def not_yet() -> None:
    raise NotYet("not yet")


def started(tmp_path: Path, port: int, **more: Any) -> tuple[subprocess.Popen[bytes], Path]:
    output, plan = tmp_path / "out", tmp_path / "plan"
    told = {
        "ask": "http",
        "address": "127.0.0.1",
        "port": port,
        "host": "x",
        "requests": [READ],
        "deadline": 0.5,
    }
    plan.write_text(json.dumps({**told, "interval": 0.02, "output": str(output), **more}))
    argv = [sys.executable, "-I", prober.__file__, str(plan)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE), output


def lines(output: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.read_text().splitlines()]


def await_lines(output: Path, count: int) -> None:
    deadline = time.monotonic() + 10
    while not output.exists() or len(output.read_text().splitlines()) < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.mark.parametrize("how", ["input", "signal"])
def test_it_keeps_its_beat_while_answers_hang_and_ends_when_it_is_told(tmp_path: Path, how: str) -> None:
    with server(hanging) as port:
        process, output = started(tmp_path, port, **{"until-input-ends": how == "input"})
        await_lines(output, 10)
        if how == "input" and process.stdin:
            process.stdin.close()
        else:
            process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    told = lines(output)
    beats = [each for each in told if "scheduled" in each]
    assert told[-1]["beats"] == len(beats)  # every question was decided
    assert {each["outcome"] for each in beats} == {"failed"}
    grid = [round((each["scheduled"] - told[0]["ready"]) / 0.02) for each in beats]
    assert sorted(grid) == list(range(len(beats)))


def test_no_handler_of_its_own_thread_is_asked_to_end_it(tmp_path: Path) -> None:
    """One ran while that thread had the lock it needs: of forty probers one never ended, and was killed."""
    with server(answering(200, b"{}")) as port:
        process, output = started(tmp_path, port)
        await_lines(output, 2)
        status = dict(
            line.split(":\t") for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    bit = 1 << (signal.SIGTERM - 1)
    assert int(status["SigBlk"], 16) & bit
    assert not int(status["SigCgt"], 16) & bit


def test_it_ends_when_whoever_started_it_is_no_more(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE); print(p.pid, flush=True); time.sleep(60)"
    )
    with server(answering(200, b"{}")) as port:
        process, output = started(tmp_path, port, **{"until-input-ends": True})
        process.kill()
        process.wait()
        argv = [sys.executable, "-c", script, sys.executable, "-I", prober.__file__, str(tmp_path / "plan")]
        parent = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert parent.stdout
        pid = int(parent.stdout.readline())
        await_lines(output, 5)
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 5
        while _lives(pid):
            assert time.monotonic() < deadline
            threading.Event().wait(0.05)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_what_observers_keep_is_what_was_told() -> None:
    status = {
        "header": {"member_id": "1", "revision": "9"},
        "raftTerm": "3",
        "leader": "7",
        "raftIndex": "12",
    }
    assert prober.raft(status) == {"term": 3, "leader": "7", "index": 12, "member": "1", "revision": 9}
    lease = {
        "metadata": {"name": "x"},
        "spec": {"holderIdentity": "a", "renewTime": "t", "leaseTransitions": 2},
    }
    assert prober.leases({"items": [lease]})["x"] == {"holder": "a", "renewed": "t", "transitions": 2}
    ready = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    assert prober.nodes({"items": [ready]}) == {"n": "Unknown"}
    ends = {
        "endpoints": [
            {"addresses": ["b"]},
            {"addresses": ["a"]},
            {"addresses": ["c"], "conditions": {"ready": False}},
        ]
    }
    assert prober.endpoints({"items": [ends]}) == ["a", "b"]


def test_beats_of_a_time_in_which_it_stood_still_are_left_out(tmp_path: Path) -> None:
    """Else all would be asked, and answered, when its machine goes on, as if there had been no outage."""
    plan = {"ask": "dns", "name": "x", "address": "127.0.0.1", "port": 9, "interval": 0.05, "deadline": 0.2}
    asking = prober.Prober({**plan, "begin": time.monotonic() - 30, "output": str(tmp_path / "out")})
    thread = threading.Thread(target=asking.run)
    thread.start()
    wait_until("beats", lambda: _some(tmp_path / "out", 5), timeout=10)
    asking.stop.set()
    thread.join()
    samples = [each for each in _lines(tmp_path / "out") if "scheduled" in each]
    assert max(each["sent"] - each["scheduled"] for each in samples) < 2.5
    assert len(samples) < 100, "600 beats lie behind it"


def test_it_is_at_work_once_it_has_rested_and_not_before(tmp_path: Path) -> None:
    plan = {"ask": "dns", "name": "x", "address": "127.0.0.1", "port": 9, "interval": 0.05, "deadline": 0.2}
    asking = prober.Prober({**plan, "rest": 0.6, "output": str(tmp_path / "out")})
    begun = time.monotonic()
    thread = threading.Thread(target=asking.run)
    thread.start()
    wait_until("beats", lambda: _some(tmp_path / "out", 3), timeout=10)
    asking.stop.set()
    thread.join()
    told = _lines(tmp_path / "out")
    assert told[0]["ready"] >= begun + 0.6
    assert told[1]["scheduled"] >= begun + 0.6


def test_what_starting_took_is_no_cost_of_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thirty programs that start take six seconds of a core, before anybody is asked."""
    readings = iter([5.0, 5.25])
    monkeypatch.setattr(prober, "spent", lambda: next(readings))
    plan = {"ask": "dns", "name": "x", "address": "127.0.0.1", "port": 9, "interval": 0.05, "deadline": 0.2}
    asking = prober.Prober({**plan, "output": str(tmp_path / "out")})
    asking.stop.set()
    asking.run()
    (ended,) = [each for each in _lines(tmp_path / "out") if "ended" in each]
    assert ended["cpu"] == 0.25


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _some(path: Path, count: int) -> None:
    if not path.exists() or len(_lines(path)) < count:
        raise NotYet("not yet")


def test_late_heartbeats_are_taken_from_what_a_member_counts() -> None:
    page = b"# HELP etcd_server_heartbeat_send_failures_total The total number.\n"
    page += b"etcd_server_has_leader 1\netcd_server_heartbeat_send_failures_total 1.2e+01\n"
    with server(answering(200, page)) as port:
        seen = asked(port, READ, take="heartbeats")
    assert (seen["outcome"], seen["value"]) == ("ok", {"late": 12})
