"""Locks on files that come and go: one holder, whoever removes the file meanwhile."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fake_lab
import pytest

from lab import locks
from lab.errors import WaitExpired
from lab.wait import stretch

HOLD = """
import sys
from pathlib import Path
from lab import locks
locks.take(Path(sys.argv[1]), "it", timeout=5, shared=sys.argv[2] == "shared", note=sys.argv[3])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(path: Path, mode: str = "alone", note: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the lock for the body; it is killed at the end."""
    argv = [sys.executable, "-c", HOLD, str(path), mode, note]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("theirs", "ours", "granted"),
    [("shared", True, True), ("shared", False, False), ("alone", True, False), ("alone", False, False)],
)
def test_shared_goes_with_shared_only(tmp_path: Path, theirs: str, ours: bool, granted: bool) -> None:
    with held(tmp_path / "lock", theirs):
        descriptor = locks.attempt(tmp_path / "lock", shared=ours)
        assert (descriptor is not None) is granted


def test_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    with held(tmp_path / "lock") as process:
        process.kill()
        process.wait()
        os.close(locks.take(tmp_path / "lock", "it", timeout=5))


def test_who_waits_is_told_by_whom_and_only_once(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        held(tmp_path / "lock", note="pid 7 (me)"),
        pytest.raises(WaitExpired, match=r"gave up on it .*pid 7"),
    ):
        locks.take(tmp_path / "lock", "it", timeout=0.2, waiting=told.append)
    assert told == ["pid 7 (me)"]


def test_the_note_of_one_who_held_it_is_not_taken_for_the_next_ones(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    locks.release(locks.take(path, "it", timeout=1, note="first"))
    assert locks.noted(path) == ""
    with held(path, note="killed"):
        pass
    os.close(locks.take(path, "it", timeout=5, shared=True))
    assert locks.noted(path) == ""


def test_who_waited_for_a_file_that_was_removed_does_not_hold_the_lock(tmp_path: Path) -> None:
    """Else it and a newcomer, who finds another file at the path, would both have it."""
    path = tmp_path / "lock"
    first = locks.take(path, "it", timeout=1)
    got: list[int] = []
    waiting = threading.Event()
    waiter = threading.Thread(
        target=lambda: got.append(locks.take(path, "it", timeout=10, waiting=lambda _: waiting.set()))
    )
    waiter.start()
    assert waiting.wait(5)
    path.unlink()
    locks.release(first)
    fake_lab.until(lambda: bool(got))
    waiter.join()
    assert locks.is_at(got[0], path)
    assert locks.attempt(path) is None
    os.close(got[0])


def test_a_lock_on_a_removed_file_is_noticed_and_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder removes the file between another's opening and locking it."""
    path, lock = tmp_path / "lock", locks.locked
    removed: list[bool] = []

    def remove_first(descriptor: int, *, shared: bool = False) -> bool:
        if not removed:
            path.unlink()
            removed.append(True)
        return lock(descriptor, shared=shared)

    monkeypatch.setattr(locks, "locked", remove_first)
    descriptor = locks.attempt(path)
    assert descriptor is not None
    assert locks.is_at(descriptor, path)


def test_only_a_lock_that_nobody_has_is_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    locks.clear_away(path)
    with held(path, "shared"):
        locks.clear_away(path)
        assert path.exists()
    os.close(locks.take(path, "it", timeout=5))
    locks.clear_away(path)
    assert not path.exists()


def test_many_processes_that_remove_the_file_each_time_never_meet(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", RACE, str(tmp_path / "lock"), str(tmp_path / "count")]
    racers = [subprocess.Popen(argv) for _ in range(3)]
    assert [racer.wait(timeout=60) for racer in racers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "300"


RACE = """
import sys
from pathlib import Path
from lab import locks
lock, count = map(Path, sys.argv[1:])
for _ in range(100):
    while (descriptor := locks.attempt(lock)) is None:
        pass
    count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))
    lock.unlink()
    locks.release(descriptor)
"""


def test_a_lock_is_not_waited_for_longer_where_machines_are_slow(tmp_path: Path) -> None:
    stretch(20.0)
    try:
        with held(tmp_path / "lock"), pytest.raises(WaitExpired) as caught:
            locks.take(tmp_path / "lock", "it", timeout=0.2)
    finally:
        stretch(1.0)
    assert caught.value.seconds < 2
