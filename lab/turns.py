"""Whose turn it is on a lab: tests share it, a disruptive one has it alone, whatever run it is of."""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lab import locks
from lab.errors import LabError, WaitExpired
from lab.state import StateFolder
from lab.users import me, users

TIMEOUT = 900.0
INHERITED = "THWLAB_TURNS"  # what a run that a test starts may do on the turn of that test


class Turns:
    """This process's turns on one lab.

    Two locks: who wants to be alone takes the gate first, so that no new test begins before it, and keeps
    it to the end.  They are always taken in this order, and nothing else is waited for in between.
    """

    def __init__(self, state: StateFolder, tell: Callable[[str], None], timeout: float | None = None) -> None:
        self._state, self._tell = state, tell
        self._timeout = TIMEOUT if timeout is None else timeout
        self._held: list[int] = []

    def take(self, test: str, *, alone: bool) -> None:
        """Wait until the test may begin.  Raises `LabError` when the wait is over without that."""
        inherited = _inherited().get(str(self._state.path))
        if inherited is not None:
            _insist_enough(test, inherited, alone=alone)
            return
        self._state.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        note = f"{test} of {me()}" if alone else ""
        deadline = time.monotonic() + self._timeout
        gate = self._wait(self._state.gate, test, deadline, alone=alone, note=note)
        try:
            self._held = [self._wait(self._state.turn, test, deadline, alone=alone)]
        except BaseException:
            locks.release(gate)
            raise
        if alone:
            self._held.append(gate)
        else:
            os.close(gate)
        _bequeath({**_inherited(), str(self._state.path): "alone" if alone else "shared"})

    def end(self) -> None:
        """The test is over; harmless if it never began."""
        if not self._held:
            return
        _bequeath({path: mode for path, mode in _inherited().items() if path != str(self._state.path)})
        while self._held:
            locks.release(self._held.pop())
        if not self._state.path.exists():
            self._state.clear_turns()

    def are_inherited(self) -> bool:
        """Whether a test has started this run, on its own turn on this lab."""
        return not self._held and str(self._state.path) in _inherited()

    def _wait(self, path: Path, test: str, deadline: float, *, alone: bool, note: str = "") -> int:
        left = max(0.0, deadline - time.monotonic())
        waiting = partial(self._waits, test, left)
        try:
            return locks.take(
                path, f"{test}'s turn", timeout=left, shared=not alone, note=note, waiting=waiting
            )
        except WaitExpired as error:
            raise LabError(
                f"{test} waited {self._timeout:.0f} s for its turn on lab {self._state.name}; "
                f"last seen: {self._seen(error.last)}",
                remedy="let those tests finish, or end them: `kill -INT PID`",
            ) from error

    def _waits(self, test: str, left: float, note: str) -> None:
        self._tell(f"lab {self._state.name}: {test} waits at most {left:.0f} s for {self._seen(note)}")

    def _seen(self, note: str) -> str:
        if note:
            return f"a disruptive test: {note}"
        here = "; ".join(str(user) for user in users(self._state.path) if user.pid != os.getpid())
        return f"tests of others: {here or 'of a run that has not opened the lab yet'}"


def _insist_enough(test: str, inherited: str, *, alone: bool) -> None:
    if alone and inherited != "alone":
        raise LabError(
            f"{test} breaks machines, but the test that started this run shares its lab with others",
            remedy="mark the test that starts it `disruptive`",
        )


def _inherited() -> dict[str, str]:
    return dict(json.loads(os.environ.get(INHERITED, "{}")))


def _bequeath(turns: dict[str, str]) -> None:
    if turns:
        os.environ[INHERITED] = json.dumps(turns)
    else:
        os.environ.pop(INHERITED, None)
