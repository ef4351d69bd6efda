"""When faults of a run begin and are healed, with faults that only write down what is done to them."""

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import LabError
from lab.history import Recorder
from lab.scenario import running
from lab.scenario.course import FAULT, Course, Doing
from lab.scenario.running import Run


class Written:
    """In the place of a `Breaking`: healing `slow` lasts until another one was healed."""

    told: list[str]
    freed: threading.Event

    def __init__(self, _: Any, doing: Doing, number: int, recorder: Recorder, __: Any) -> None:
        self.doing, self.begun, self.resumed = doing, recorder.now(), None
        self.fault = SimpleNamespace(word=doing.fault, lasts=doing.hold > 0, silences=False)

    def begin(self) -> dict[str, str]:
        self.told.append(f"begin {self.doing.on}")
        return {}

    def heal(self) -> None:
        self.told.append(f"heal {self.doing.on}")
        if self.doing.on == "broken":
            raise LabError("broken cannot be healed")
        if self.doing.on == "slow" and not self.freed.wait(10):
            raise LabError("nobody healed the other one")
        if self.doing.on == "other":
            self.freed.set()
        self.told.append(f"healed {self.doing.on}")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that breaks and heals as these say, and returns what was done in order."""
    Written.told, Written.freed = [], threading.Event()
    monkeypatch.setattr(running, "Breaking", Written)
    monkeypatch.setattr(Run, "holding", SimpleNamespace(listen=lambda _: None))

    def broken(*doings: Doing) -> list[str]:
        course = Course("x", {FAULT: 1.0}, doings)
        nothing: Any = None
        made = Run(nothing, course, Recorder(tmp_path / "records.jsonl"), tmp_path, print)
        made._break(made.recorder.now(), SimpleNamespace(check=lambda: None))  # type: ignore[arg-type]
        return Written.told

    return broken


def test_a_healing_that_takes_long_keeps_no_other_one_waiting(run: Any) -> None:
    """Else the second victim would heal itself, and the record say that it was still broken."""
    told = run(Doing("stop", "slow", hold=0.1), Doing("stop", "other", at=0.05, hold=0.2))
    assert told == ["begin slow", "begin other", "heal slow", "heal other", "healed other", "healed slow"]


def test_no_fault_begins_while_another_is_being_healed(run: Any) -> None:
    told = run(
        Doing("stop", "slow", hold=0.05),
        Doing("stop", "other", hold=0.1),
        Doing("kill", "next", at=0.2),
    )
    assert told[-3:] == ["begin next", "heal next", "healed next"]
    assert set(told[2:-3]) == {"heal slow", "heal other", "healed other", "healed slow"}


def test_a_healing_that_fails_is_raised_once_the_others_are_done(run: Any) -> None:
    with pytest.raises(LabError, match="broken cannot be healed"):
        run(Doing("stop", "broken", hold=0.05), Doing("stop", "other", hold=0.1))
    assert "healed other" in Written.told


def test_two_that_fail_are_raised_together(run: Any) -> None:
    with pytest.raises(BaseExceptionGroup, match="2 healings failed"):
        run(Doing("stop", "broken", hold=0.05), Doing("stop", "broken", hold=0.1))
