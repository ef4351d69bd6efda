"""Commands through the daemon's websockets: bytes as they came, and a deadline that holds."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_daemon import Asked, Daemon, Silence, WebSocket, begun, done, ok, refused, running

from lab.errors import LabError
from lab.machine import Result
from lab.providers.incus import execute as module
from lab.providers.incus.api import Api
from lab.providers.incus.execute import execute

FDS = {"0": "in", "1": "out", "2": "err", "control": "ctl"}
EXEC, WAIT, STREAM = (
    "POST /1.0/instances/a/exec",
    "GET /1.0/operations/op/wait",
    "GET /1.0/operations/op/websocket",
)


class Command:
    """What the daemon runs: prints, perhaps reads, ends by itself or when it is killed."""

    def __init__(self, out: bytes = b"", err: bytes = b"", status: int = 0, *, hangs: bool = False) -> None:
        self.out, self.err, self.status, self.hangs = out, err, status, hangs
        self.read = b""
        self.signals: list[int] = []
        self.over = threading.Event()
        self.opened: list[str] = []
        self.fed = threading.Event()

    def talk(self, stream: WebSocket) -> None:
        self.opened.append(stream.secret)
        {"in": self.feed, "out": self.print(self.out), "err": self.print(self.err), "ctl": self.control}[
            stream.secret
        ](stream)

    def print(self, text: bytes) -> Callable[[WebSocket], None]:
        def send(stream: WebSocket) -> None:
            for at in range(0, len(text), 40_000):
                stream.send(text[at : at + 40_000])
            if self.hangs:
                self.over.wait(10)
            stream.send("")

        return send

    def feed(self, stream: WebSocket) -> None:
        while isinstance(message := stream.recv(), bytes):
            self.read += message
        self.fed.set()
        self.over.wait(10)

    def control(self, stream: WebSocket) -> None:
        while isinstance(message := stream.recv(), str):
            self.signals.append(json.loads(message)["signal"])
            self.status = 137
            self.over.set()

    def wait(self, asked: Asked) -> dict[str, object]:
        if self.hangs and not self.over.is_set():
            self.over.wait(float(asked.query["timeout"]))
        if not self.over.is_set() and self.hangs:
            return done(103, "Running")
        return done(200, **{"return": self.status})


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as started:
        yield started


def run(daemon: Daemon, command: Command, *, stdin: bytes = b"", timeout: float = 10) -> Result:
    daemon.replies |= {EXEC: begun("op", fds=FDS), WAIT: command.wait, STREAM: command.talk}
    try:
        return execute(Api(daemon.socket, "p"), "a", ("cat", "a b"), stdin=stdin, timeout=timeout)
    finally:
        command.over.set()


def test_both_streams_and_the_status_come_back_as_bytes(daemon: Daemon) -> None:
    result = run(daemon, Command(b"\xaa\xff\x00", b"err", 3))
    assert (result.status, result.out, result.err, result.cut) == (3, b"\xaa\xff\x00", b"err", 0)


def test_the_command_is_a_list_and_never_a_shells(daemon: Daemon) -> None:
    run(daemon, Command())
    body = daemon.asked[0].body
    assert body["command"] == ["cat", "a b"]
    assert not body["interactive"]
    assert not any(name.lower().endswith("_proxy") for name in body["environment"])


def test_the_control_stream_is_opened_first_for_a_quick_command_would_be_over(daemon: Daemon) -> None:
    command = Command()
    run(daemon, command)
    assert command.opened[0] == "ctl"
    assert sorted(command.opened) == sorted(FDS.values())


def test_standard_input_arrives_whole_and_ends(daemon: Daemon) -> None:
    command = Command()
    text = bytes(range(256)) * 2000
    command.wait = lambda _: (command.fed.wait(10), done(200, **{"return": 0}))[1]  # type: ignore[assignment]
    assert run(daemon, command, stdin=text).ok
    assert command.read == text


def test_a_flood_is_capped_and_counted(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUT_CAP", 100_000)
    result = run(daemon, Command(b"x" * 250_001, b"y" * 100_001))
    assert (len(result.out), len(result.err), result.cut) == (100_000, 100_000, 150_002)


def test_at_the_deadline_the_command_is_killed_and_its_output_kept(daemon: Daemon) -> None:
    command = Command(b"half", hangs=True)
    start = time.monotonic()
    result = run(daemon, command, timeout=0.3)
    assert result.timed_out
    assert not result.ok
    assert result.out == b"half"
    assert 9 in command.signals
    assert time.monotonic() - start < 6


def test_a_daemon_that_never_answers_costs_the_deadline(daemon: Daemon) -> None:
    def silent(_: Asked) -> None:
        raise Silence

    daemon.replies[EXEC] = silent
    start = time.monotonic()
    result = execute(Api(daemon.socket, "p"), "a", ("true",), stdin=b"", timeout=0.2)
    assert result.timed_out
    assert time.monotonic() - start < 5


def test_a_frozen_machine_is_waited_for_and_then_timed_out(daemon: Daemon) -> None:
    daemon.replies[EXEC] = refused(400, "Instance is frozen")
    assert execute(Api(daemon.socket, "p"), "a", ("true",), stdin=b"", timeout=0.3).timed_out
    assert len(daemon.asked) > 1


def test_a_machine_that_is_off_is_the_laboratorys_failure(daemon: Daemon) -> None:
    daemon.replies[EXEC] = refused(400, "Instance is not running")
    with pytest.raises(LabError, match="not running"):
        execute(Api(daemon.socket, "p"), "a", ("true",), stdin=b"", timeout=5)


def test_a_command_that_could_not_be_started_is_the_laboratorys_failure(daemon: Daemon) -> None:
    command = Command()
    command.wait = lambda _: done(400, "Failure", "no namespace")  # type: ignore[assignment]
    with pytest.raises(LabError, match="could not run the command: no namespace"):
        run(daemon, command)


def test_the_daemons_own_words_about_a_status_are_kept(daemon: Daemon) -> None:
    command = Command(err=b"said; ")
    command.wait = lambda _: done(400, "Failure", "Command not found", **{"return": 127})  # type: ignore[assignment]
    result = run(daemon, command)
    assert (result.status, result.err) == (127, b"said; Command not found")


def test_a_refused_wait_is_no_riddle_where_the_operation_knows_the_status(daemon: Daemon) -> None:
    """Incus 6.0 answers the wait for what it could not run with an error of its own."""
    command = Command()
    command.wait = lambda _: refused(400, "Command not executable")  # type: ignore[assignment]
    daemon.replies["GET /1.0/operations/op"] = done(
        400, "Failure", "Command not executable", **{"return": 126}
    )
    result = run(daemon, command)
    assert (result.status, result.err) == (126, b"Command not executable")


def test_no_thread_and_no_descriptor_is_left(daemon: Daemon) -> None:
    run(daemon, Command(b"x"))
    descriptors, threads = len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
    for _ in range(10):
        run(daemon, Command(b"x"))
    left = time.monotonic() + 5
    while threading.active_count() > threads + 2 and time.monotonic() < left:
        threading.Event().wait(0.01)
    assert threading.active_count() <= threads + 2
    assert len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 4


def test_a_stream_that_the_daemon_refuses_is_tried_again_until_the_deadline(daemon: Daemon) -> None:
    daemon.replies |= {EXEC: begun("op", fds=FDS), STREAM: refused(404, "operation not found"), WAIT: ok()}
    result = execute(Api(daemon.socket, "p"), "a", ("true",), stdin=b"", timeout=0.3)
    assert result.timed_out
