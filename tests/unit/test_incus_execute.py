"""Commands through the daemon, with input and without: bytes as they came, and a deadline that holds."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_command import EXEC, Command, frozen, run, silent
from fake_daemon import Daemon, done, refused, running

from lab.errors import LabError
from lab.providers.incus import recorded, streamed
from lab.providers.incus.api import Api
from lab.providers.incus.execute import execute
from lab.wait import NotYet, wait_until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture(params=[b"", b"in"], ids=["recorded", "streamed"])
def stdin(request: pytest.FixtureRequest) -> bytes:
    """Without input output is recorded, with input it is streamed."""
    return bytes(request.param)


def test_both_streams_and_the_status_come_back_as_bytes(daemon: Daemon, stdin: bytes) -> None:
    result = run(daemon, Command(b"\xaa\xff\x00", b"err", 3), stdin=stdin)
    assert (result.status, result.out, result.err, result.cut) == (3, b"\xaa\xff\x00", b"err", 0)


def test_the_command_is_a_list_and_never_a_shells(daemon: Daemon, stdin: bytes) -> None:
    run(daemon, Command(), stdin=stdin)
    body = daemon.asked[0].body
    assert body["command"] == ["cat", "a b"]
    assert not body["interactive"]
    assert not any(name.lower().endswith("_proxy") for name in body["environment"])


@pytest.mark.parametrize("word", ["echo x >/dev/stderr", "echo x >/dev/stdout", "cat >&2 </dev/fd/0"])
def test_a_command_that_opens_its_own_output_by_name_gets_pipes(daemon: Daemon, word: str) -> None:
    run(daemon, Command(), "sh", "-c", word)
    assert daemon.asked[0].body["wait-for-websocket"]


def test_only_input_needs_streams(daemon: Daemon, stdin: bytes) -> None:
    run(daemon, Command(), stdin=stdin)
    body = daemon.asked[0].body
    assert (body["wait-for-websocket"], body.get("record-output", False)) == (bool(stdin), not stdin)


def test_a_flood_is_capped_and_counted(daemon: Daemon, stdin: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (recorded, streamed):
        monkeypatch.setattr(module, "OUTPUT_CAP", 100_000)
    result = run(daemon, Command(b"x" * 250_001, b"y" * 100_001), stdin=stdin)
    assert (len(result.out), len(result.err), result.cut) == (100_000, 100_000, 150_002)


def test_at_the_deadline_the_command_is_killed_and_its_output_kept(daemon: Daemon, stdin: bytes) -> None:
    command = Command(b"half", hangs=True, leaves="sleep 9 \n\n")
    start = time.monotonic()
    result = run(daemon, command, stdin=stdin, timeout=0.3)
    assert (result.status, result.out, result.leftover) == (None, b"half", ("sleep 9",))
    mark = daemon.asked[0].body["environment"]["THWLAB_COMMAND"]
    assert [argv[3:] for argv in command.ended_by] == [[f"THWLAB_COMMAND={mark}", "op"]]
    assert command.signals == ([9] if stdin else [])
    assert time.monotonic() - start < 6


def test_a_command_that_ended_by_itself_just_then_keeps_its_status(daemon: Daemon, stdin: bytes) -> None:
    command = Command(b"half", hangs=True, leaves="sleep 9")
    command.kill = command.over.set  # type: ignore[method-assign]
    result = run(daemon, command, stdin=stdin, timeout=0.3)
    assert (result.status, result.leftover) == (0, ("sleep 9",))


def test_a_daemon_that_never_answers_costs_the_deadline(daemon: Daemon, stdin: bytes) -> None:
    daemon.replies[EXEC] = silent
    start = time.monotonic()
    result = execute(Api(daemon.socket, "p"), "a", ("true",), stdin=stdin, timeout=0.2)
    assert result.timed_out
    assert time.monotonic() - start < 8


def test_a_frozen_machine_is_waited_for_and_then_timed_out(daemon: Daemon, stdin: bytes) -> None:
    daemon.replies[EXEC] = frozen
    assert execute(Api(daemon.socket, "p"), "a", ("true",), stdin=stdin, timeout=1.5).timed_out
    assert len(daemon.asked) > 1


def test_a_machine_that_is_off_is_the_laboratorys_failure(daemon: Daemon, stdin: bytes) -> None:
    daemon.replies[EXEC] = refused(400, "Instance is not running")
    with pytest.raises(LabError, match="not running"):
        execute(Api(daemon.socket, "p"), "a", ("true",), stdin=stdin, timeout=5)


@pytest.mark.parametrize("times", [1, 2])
def test_a_command_that_never_began_is_begun_once_more(daemon: Daemon, stdin: bytes, times: int) -> None:
    """Seen from LXD 5.0.2; whatever else it says of a command may have come after it had run."""
    command = Command()
    usual = command.wait

    def begun() -> int:
        """Without the command that looks for what an attempt may have left."""
        posts = [each.body for each in daemon.asked if f"{each.method} {each.path}" == EXEC]
        return sum(body["command"][0] == "cat" for body in posts)

    def wait(request: Any) -> Any:
        """However often it is waited for one."""
        never = done(400, "Failure", "Failed to retrieve PID of executing child process")
        return never if begun() <= times else usual(request)

    command.wait = wait  # type: ignore[method-assign]
    if times == 1:
        assert run(daemon, command, stdin=stdin).status == 0
    else:
        with pytest.raises(LabError, match="retrieve PID"):
            run(daemon, command, stdin=stdin)
    assert begun() == 2


def test_a_command_that_could_not_be_started_is_the_laboratorys_failure(daemon: Daemon, stdin: bytes) -> None:
    command = Command()
    command.wait = lambda _: done(400, "Failure", "no namespace")  # type: ignore[method-assign]
    with pytest.raises(LabError, match="could not run the command: no namespace"):
        run(daemon, command, stdin=stdin)


def test_the_daemons_own_words_about_a_status_are_kept(daemon: Daemon, stdin: bytes) -> None:
    command = Command(err=b"said; ")
    command.wait = lambda _: done(400, "Failure", "Command not found", **{"return": 127})  # type: ignore[method-assign]
    result = run(daemon, command, stdin=stdin)
    assert (result.status, result.err) == (127, b"said; Command not found")


def test_a_refused_wait_is_no_riddle_where_the_operation_knows_the_status(
    daemon: Daemon, stdin: bytes
) -> None:
    """Incus 6.0 answers the wait for what it could not run with an error of its own."""
    command = Command()
    command.wait = lambda _: refused(400, "Command not executable")  # type: ignore[method-assign]
    daemon.replies["GET /1.0/operations/op"] = done(
        400, "Failure", "Command not executable", **{"return": 126}
    )
    result = run(daemon, command, stdin=stdin)
    assert (result.status, result.err) == (126, b"Command not executable")


def test_no_thread_and_no_descriptor_is_left(daemon: Daemon, stdin: bytes) -> None:
    run(daemon, Command(b"x"), stdin=stdin)
    before = held()
    for _ in range(10):
        run(daemon, Command(b"x"), stdin=stdin)

    def check() -> None:  # the stand-in's own ends close after ours
        descriptors, threads = (now - then for now, then in zip(held(), before, strict=True))
        if descriptors > 4 or threads > 2:
            raise NotYet(f"{descriptors} descriptors and {threads} threads more")

    wait_until("what ten commands opened to be closed", check, timeout=5)


def held() -> tuple[int, int]:
    """Descriptors and threads of this process."""
    return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()
