"""Whose turn it is: beside each other or alone, in whatever processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.state import StateFolder
from lab.turns import INHERITED, Turns

HOLD = """
import sys
from pathlib import Path
from lab.state import StateFolder
from lab.turns import Turns
turns = Turns(StateFolder(Path(sys.argv[1])), lambda text: print(text, flush=True), 20)
turns.take("test_theirs", alone=sys.argv[2] == "alone")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    monkeypatch.delenv(INHERITED, raising=False)
    folder = StateFolder(tmp_path / "state" / "thw")
    folder.path.mkdir(parents=True)
    return folder


@contextmanager
def process(state: StateFolder, mode: str, *, ours: bool = False) -> Iterator[subprocess.Popen[str]]:
    """Another process that takes its turn; it is killed at the end.  Of this test's run if it is `ours`."""
    env = {name: value for name, value in os.environ.items() if ours or name != INHERITED}
    argv = [sys.executable, "-c", HOLD, str(state.path), mode]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as other:
        try:
            yield other
        finally:
            other.kill()


def line(other: "subprocess.Popen[str]") -> str:
    assert other.stdout is not None
    return other.stdout.readline().rstrip()


def take(state: StateFolder, mode: str, timeout: float = 0.2) -> list[str]:
    told: list[str] = []
    turns = Turns(state, told.append, timeout)
    turns.take("test_ours", alone=mode == "alone")
    turns.end()
    return told


def test_tests_share_the_lab(state: StateFolder) -> None:
    with process(state, "shared") as other:
        assert line(other) == "held"
        assert take(state, "shared") == []


@pytest.mark.parametrize(
    ("theirs", "ours", "seen"),
    [
        ("alone", "shared", r"a disruptive test: test_theirs of pid \d+"),
        ("alone", "alone", r"a disruptive test: test_theirs of pid \d+"),
        ("shared", "alone", "tests of others: of a run that has not opened"),
    ],
)
def test_alone_is_alone_and_the_wait_has_an_end(
    state: StateFolder, theirs: str, ours: str, seen: str
) -> None:
    with process(state, theirs) as other:
        assert line(other) == "held"
        with pytest.raises(
            LabError, match=rf"test_ours waited 0 s for its turn on lab thw; last seen: {seen}"
        ):
            take(state, ours)
    assert take(state, ours, timeout=5) == []  # which ended with its process


def test_who_waits_says_so_once_and_then_goes_on(state: StateFolder) -> None:
    ours = Turns(state, print)
    ours.take("test_ours", alone=True)
    with process(state, "shared") as other:
        said = line(other)
        assert said.startswith(
            "lab thw: test_theirs waits at most 20 s for a disruptive test: test_ours of pid"
        )
        ours.end()
        assert line(other) == "held"


def test_who_wants_to_be_alone_comes_before_who_comes_later(state: StateFolder) -> None:
    """Else one run of many short tests would keep another's disruptive one waiting to its end."""
    ours = Turns(state, print)
    ours.take("test_ours", alone=False)
    with process(state, "alone") as waiter:
        assert "test_theirs waits at most 20 s for tests of others" in line(waiter)
        with process(state, "shared") as late:
            assert "for a disruptive test: test_theirs of pid" in line(late)
            ours.end()
            assert line(waiter) == "held"
            waiter.kill()
            assert line(late) == "held"


def test_one_that_gave_up_lets_the_others_pass(state: StateFolder) -> None:
    with process(state, "shared") as other:
        assert line(other) == "held"
        with pytest.raises(LabError):
            take(state, "alone")
        assert take(state, "shared") == []


@pytest.mark.parametrize(("outer", "inner"), [("alone", "shared"), ("alone", "alone"), ("shared", "shared")])
def test_a_run_that_a_test_starts_has_the_turn_of_that_test(
    state: StateFolder, outer: str, inner: str
) -> None:
    turns = Turns(state, print)
    turns.take("test_outer", alone=outer == "alone")
    with process(state, inner, ours=True) as child:
        assert line(child) == "held"
    turns.end()


def test_a_test_that_shares_cannot_start_one_that_is_disruptive(state: StateFolder) -> None:
    turns = Turns(state, print)
    turns.take("test_outer", alone=False)
    with pytest.raises(LabError, match=r"shares its lab with others[\s\S]*mark .* `disruptive`"):
        take(state, "alone")
    turns.end()


def test_turns_on_another_lab_are_their_own(state: StateFolder) -> None:
    other = StateFolder(state.path.with_name("two"))
    with process(other, "alone") as holder:
        assert line(holder) == "held"
        assert take(state, "alone") == []


def test_the_end_of_a_turn_that_never_began_is_harmless(state: StateFolder) -> None:
    Turns(state, print).end()


def test_where_there_is_no_lab_nothing_is_left(state: StateFolder) -> None:
    state.path.rmdir()
    for mode in ("alone", "shared"):
        take(state, mode)
        assert list(state.path.parent.iterdir()) == []


def test_a_turn_is_not_lost_when_the_lab_is_removed_under_it(state: StateFolder) -> None:
    turns = Turns(state, print)
    turns.take("test_ours", alone=True)
    with state.locked():
        state.forget()
    with process(state, "shared") as other:
        assert "waits at most" in line(other)
        turns.end()
        assert line(other) == "held"
