"""Commands without input: their output is read from files, which nobody keeps, and nobody is forgotten."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_command import EXEC, INCUS, LXD, WAIT, Command, frozen, run, silent
from fake_daemon import Asked, Daemon, begun, refused, running

from lab.errors import LabError
from lab.providers.incus import recorded, sweeper
from lab.providers.incus.api import Api
from lab.providers.incus.execute import execute
from lab.providers.incus.sweeper import Sweeper
from lab.wait import NotYet, wait_until


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with running(tmp_path) as started:
        yield started


@pytest.fixture(autouse=True)
def own_sweeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweeper]:
    """One of each test's own, impatient; what a test leaves is not the next one's."""
    made = Sweeper()
    monkeypatch.setattr(recorded, "SWEEPER", made)
    monkeypatch.setattr(sweeper, "LOOK", 0.05)
    yield made
    made.close()


def eventually(true: object, what: str) -> None:
    def check() -> None:
        if not true():  # type: ignore[operator]
            raise NotYet(what)

    wait_until(what, check, timeout=5, every=0.01)


def deleted(command: Command) -> list[str]:
    return sorted(path.rsplit("/", 1)[1] for path in command.deleted)


@pytest.mark.parametrize("folder", [LXD, INCUS])
def test_output_is_read_where_the_daemon_keeps_it_and_deleted_there(daemon: Daemon, folder: str) -> None:
    command = Command(b"out", b"err")
    command.folder = folder
    assert run(daemon, command).out == b"out"
    eventually(lambda: len(command.deleted) == 2, "both files to be deleted")
    assert sorted(command.deleted) == [f"{folder}/exec_op.stderr", f"{folder}/exec_op.stdout"]
    other = LXD if folder == INCUS else INCUS
    assert not [line for line in daemon.lines() if f"{other}/exec_op" in line]


@pytest.mark.parametrize("folder", [LXD, INCUS])
def test_what_a_paused_machines_command_had_printed_comes_back(daemon: Daemon, folder: str) -> None:
    """It cannot be ended, its operation goes on, and nobody says where its output lies."""
    command = Command(b"begun\n", hangs=True)
    command.folder = folder
    command.place(daemon)
    take = command.begin
    resumed = threading.Event()
    refusals: list[str] = []

    def pausing(asked: Asked) -> dict[str, object]:
        if "THWLAB_COMMAND" in asked.body["environment"] or resumed.is_set():
            return take(asked)
        refusals.append(asked.path)
        return frozen(asked)

    daemon.replies[EXEC] = pausing
    start = time.monotonic()
    result = execute(Api(daemon.socket, "p"), "a", ("cat",), stdin=b"", timeout=0.3)
    assert (result.status, result.out) == (None, b"begun\n")
    assert time.monotonic() - start < 5
    eventually(lambda: len(refusals) > 2, "it to be tried again and again")
    assert not command.deleted
    resumed.set()
    eventually(command.over.is_set, "the command to be ended once its machine goes on")
    eventually(lambda: "exec_op.stdout" in deleted(command), "its log to be deleted")


def test_a_failure_to_delete_is_no_failure_of_the_command(daemon: Daemon, own_sweeper: Sweeper) -> None:
    command = Command(b"out")
    command.delete = lambda _: refused(500, "read-only file system")  # type: ignore[method-assign]
    assert run(daemon, command).ok
    eventually(lambda: any(line.startswith("DELETE") for line in daemon.lines()), "it to be tried")
    assert run(daemon, command).ok


def test_deleting_does_not_keep_the_caller_waiting(daemon: Daemon) -> None:
    command = Command(b"out")
    command.delete = silent  # type: ignore[method-assign, assignment]
    start = time.monotonic()
    assert run(daemon, command).ok
    assert run(daemon, command).ok
    assert time.monotonic() - start < 8


def test_lost_files_are_told_and_no_empty_answer(daemon: Daemon) -> None:
    command = Command(b"out")
    command.place(daemon)
    del daemon.replies[f"GET {LXD}/exec_op.stderr"]
    with pytest.raises(LabError, match=r"lost output of `cat 'a b'`: .*exec_op.stderr \(404\)"):
        execute(Api(daemon.socket, "p"), "a", ("cat", "a b"), stdin=b"", timeout=5)


def test_whoever_is_left_and_writes_on_is_ended_at_the_deadline(daemon: Daemon) -> None:
    command = Command(b"hi\n")
    command.files = lambda: Command.files(command) | {f"{LXD}/exec_op.stdout": growing}  # type: ignore[method-assign]

    def growing(_: Asked) -> bytes:
        command.out += b"more\n"
        return command.out

    start = time.monotonic()
    result = run(daemon, command, timeout=2)
    assert result.ok
    assert time.monotonic() - start < 2
    assert not command.ended_by
    eventually(lambda: command.ended_by, "whoever was left to be ended")
    assert time.monotonic() - start >= 2
    eventually(lambda: "exec_op.stdout" in deleted(command), "the log to be deleted")


def test_whoever_is_left_and_floods_is_ended_at_once(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "OUTPUT_CAP", 100)
    command = Command(b"hi\n")

    def growing(_: Asked) -> bytes:
        command.out += b"y\n" * 100
        return command.out

    command.files = lambda: Command.files(command) | {f"{LXD}/exec_op.stdout": growing}  # type: ignore[method-assign]
    assert run(daemon, command, timeout=60).ok
    eventually(lambda: command.ended_by, "the flood to be ended long before the deadline")


def test_whoever_is_left_and_is_quiet_is_left_alone(daemon: Daemon) -> None:
    command = Command(b"hi\n", leaves="sleep 9")
    result = run(daemon, command)
    assert (result.status, result.leftover) == (0, ())
    eventually(lambda: len(command.deleted) == 2, "the log to be deleted")
    assert not command.ended_by


def test_a_flood_ends_before_this_hosts_disk_is_full(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "FLOOD", 1000)
    monkeypatch.setattr(recorded, "WATCH", 0.1)
    command = Command(b"y\n" * 600, hangs=True)
    start = time.monotonic()
    result = run(daemon, command, timeout=25)
    assert (result.status, len(result.out)) == (137, 1200)
    assert b"more than" in result.err
    assert time.monotonic() - start < 20


def test_a_long_command_that_prints_little_is_left_alone(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "FLOOD", 1200)
    monkeypatch.setattr(recorded, "WATCH", 0.1)
    command = Command(b"y\n" * 600, hangs=True)
    looks: list[str] = []

    def looked(asked: Asked) -> bytes:
        looks.append(asked.path)
        if len(looks) > 2:
            command.over.set()
        return command.out

    command.files = lambda: Command.files(command) | {f"{LXD}/exec_op.stdout": looked}  # type: ignore[method-assign]
    result = run(daemon, command, timeout=60)
    assert (result.status, result.err) == (0, b"")


def test_a_daemon_too_busy_to_say_how_much_there_is_cuts_nobody(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "WATCH", 0.1)
    command = Command(b"x", hangs=True)
    command.files = lambda: Command.files(command) | {f"{LXD}/exec_op.stdout": busy}  # type: ignore[method-assign]
    looks: list[str] = []

    def busy(asked: Asked) -> bytes:
        looks.append(asked.path)
        if len(looks) > 2:
            command.over.set()
        return command.out if command.over.is_set() else silent(asked)

    result = run(daemon, command, timeout=60)
    assert (result.status, result.out) == (0, b"x")


def test_a_command_whose_begin_was_never_answered_is_ended_by_its_mark(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "GRACE", 0.0)
    command = Command(hangs=True)
    command.place(daemon)
    take = command.begin

    def deaf(asked: Asked) -> object:
        return silent(asked) if "THWLAB_COMMAND" in asked.body["environment"] else take(asked)

    daemon.replies[EXEC] = deaf
    assert execute(Api(daemon.socket, "p"), "a", ("cat",), stdin=b"", timeout=0.2).timed_out
    eventually(lambda: command.ended_by, "it to be ended")
    mark = daemon.asked[0].body["environment"]["THWLAB_COMMAND"]
    assert command.ended_by[0][3] == f"THWLAB_COMMAND={mark}"


def test_an_answer_just_after_the_deadline_is_waited_for_and_its_command_ended(daemon: Daemon) -> None:
    command = Command(b"x", hangs=True)
    command.place(daemon)
    take = command.begin

    def slow(asked: Asked) -> object:
        if "THWLAB_COMMAND" in asked.body["environment"]:
            threading.Event().wait(0.5)
        return take(asked)

    daemon.replies[EXEC] = slow
    result = execute(Api(daemon.socket, "p"), "a", ("cat",), stdin=b"", timeout=0.2)
    assert (result.status, result.out) == (None, b"x")
    assert command.ended_by


def test_a_refused_command_leaves_nothing_to_look_after(daemon: Daemon, own_sweeper: Sweeper) -> None:
    daemon.replies[EXEC] = refused(400, "Instance is not running")
    with pytest.raises(LabError, match="not running"):
        execute(Api(daemon.socket, "p"), "a", ("true",), stdin=b"", timeout=5)
    own_sweeper.close()
    assert daemon.lines() == [EXEC]


def test_an_interrupted_command_is_ended(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by Ctrl-C, while the daemon is asked how it ended."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recorded, "await_end", interrupted)
    command = Command(hangs=True)
    command.place(daemon)
    with pytest.raises(KeyboardInterrupt):
        execute(Api(daemon.socket, "p"), "a", ("cat",), stdin=b"", timeout=60)
    eventually(lambda: command.ended_by, "it to be ended")
    eventually(lambda: "exec_op.stdout" in deleted(command), "its log to be deleted")


def test_what_runs_when_this_process_ends_is_ended_with_it(daemon: Daemon, own_sweeper: Sweeper) -> None:
    command = Command(hangs=True)
    runner = threading.Thread(target=run, args=(daemon, command), kwargs={"timeout": 60}, daemon=True)
    runner.start()
    eventually(lambda: WAIT in daemon.lines(), "the command to run")
    own_sweeper.close()
    assert command.ended_by
    runner.join(5)
    assert not runner.is_alive()


def test_who_ends_a_command_leaves_no_log_either(daemon: Daemon) -> None:
    command = Command(hangs=True)
    run(daemon, command, timeout=0.2)
    eventually(lambda: len(command.deleted) == 4, "all four files to be deleted")
    assert deleted(command) == ["exec_end.stderr", "exec_end.stdout", "exec_op.stderr", "exec_op.stdout"]


def test_a_machine_that_went_off_has_nothing_left_to_end(daemon: Daemon, own_sweeper: Sweeper) -> None:
    command = Command(b"x", hangs=True)
    command.place(daemon)
    daemon.replies[EXEC] = lambda asked: (
        begun("op")
        if "THWLAB_COMMAND" in asked.body["environment"]
        else refused(400, "Instance is not running")
    )
    with pytest.raises(LabError, match="not running"):
        execute(Api(daemon.socket, "p"), "a", ("cat",), stdin=b"", timeout=0.2)
    eventually(lambda: len(command.deleted) == 2, "its log to be deleted")
