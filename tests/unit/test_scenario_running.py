"""When faults of a run begin and are healed, with faults that only write down what is done to them."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab import wait
from lab.errors import ClusterError, LabError
from lab.history import Recorder, read
from lab.scenario import fitness, running
from lab.scenario.course import FAULT, Course, Doing
from lab.scenario.fitness import NotFit
from lab.scenario.running import Run


class Written:
    """In the place of a `Breaking`: healing `slow` lasts until another one was healed."""

    told: list[str]
    silenced: list[str]
    freed: threading.Event
    beginning: float

    def __init__(self, _: Any, doing: Doing, number: int, recorder: Recorder, __: Any) -> None:
        self.doing, self.resumed = doing, None
        self.begun = self.beginning + doing.at  # as planned, whatever a busy machine makes of it
        silences = doing.fault == "freeze"
        self.fault = SimpleNamespace(
            word=doing.fault, lasts=doing.hold > 0, silences=silences, machines=(doing.on,)
        )

    @classmethod
    def again(cls, machines: tuple[str, ...]) -> None:
        """In the place of the probes that ended with machines."""
        cls.told.append(f"ask again from {', '.join(machines)}")

    def begin(self) -> dict[str, str]:
        self.told.append(f"begin {self.doing.on}")
        self.told += [f"no clock of {name}" for name in self.silenced]
        if self.doing.on == "late" and not self.freed.wait(10):
            raise LabError("nobody healed the other one meanwhile")
        return {}

    def heal(self) -> None:
        self.told.append(f"heal {self.doing.on}")
        if self.doing.on == "stuck" and not self.freed.wait(10):
            raise LabError("nobody let it go on")
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
    Written.told, Written.silenced, Written.freed = [], [], threading.Event()
    monkeypatch.setattr(running, "Breaking", Written)
    monkeypatch.setattr(Run, "holding", SimpleNamespace(listen=lambda _: None))
    monkeypatch.setattr(Run, "clocks", SimpleNamespace(silenced=Written.silenced))

    def broken(*doings: Doing, check: Callable[[], None] = lambda: None) -> list[str]:
        course = Course("x", {FAULT: 1.0}, doings)
        nothing: Any = None
        made = Run(nothing, course, Recorder(tmp_path / "records.jsonl"), tmp_path, print)
        Written.beginning = made.recorder.now()
        made._break(Written.beginning, SimpleNamespace(check=check, again=Written.again))  # type: ignore[arg-type]
        return Written.told

    return broken


def test_a_healing_that_takes_long_keeps_no_other_one_waiting(run: Any) -> None:
    """Else the second victim would heal itself, and the record say that it was still broken."""
    told = run(Doing("stop", "slow", hold=1.0), Doing("stop", "other", at=0.05, hold=1.05))
    assert told[:2] == ["begin slow", "begin other"]
    assert set(told[2:4]) == {"heal slow", "heal other"}
    assert told[4:] == ["healed other", "healed slow"]


def test_no_fault_begins_while_another_is_being_healed(run: Any) -> None:
    told = run(
        Doing("stop", "slow", hold=1.0),
        Doing("stop", "other", hold=1.05),
        Doing("kill", "next", at=1.1),
    )
    assert told[-3:] == ["begin next", "heal next", "healed next"]
    assert set(told[2:-3]) == {"heal slow", "heal other", "healed other", "healed slow"}


@pytest.mark.parametrize("slow", ["begin", "heal"])
def test_what_takes_long_to_do_keeps_no_healing_from_its_moment(run: Any, slow: str) -> None:
    """Minutes, where nobody elects a leader; and the other victim's own timer has seconds."""
    next_one = Doing("stop", "late", at=0.05, hold=1.1) if slow == "begin" else Doing("kill", "slow", at=0.05)
    told = run(Doing("stop", "other", hold=1.0), next_one)
    assert told[:2] == ["begin other", f"begin {next_one.on}"]
    assert f"healed {next_one.on}" in told


def test_an_end_of_the_run_waits_for_the_healing_that_is_under_way(run: Any) -> None:
    """Else the same would be healed once more beside it; what was not begun is left to that."""

    def interrupt() -> None:
        if "heal stuck" in Written.told:
            threading.Timer(0.3, Written.freed.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Doing("stop", "stuck", hold=0.1), Doing("stop", "far", hold=20.0), check=interrupt)
    assert Written.told[2:] == ["heal stuck", "healed stuck"]


def test_a_healing_that_fails_is_raised_once_the_others_are_done(run: Any) -> None:
    with pytest.raises(LabError, match="broken cannot be healed"):
        run(Doing("stop", "broken", hold=0.05), Doing("stop", "other", hold=0.1))
    assert "healed other" in Written.told


def test_two_that_fail_are_raised_together(run: Any) -> None:
    with pytest.raises(BaseExceptionGroup, match="2 healings failed"):
        run(Doing("stop", "broken", hold=0.05), Doing("stop", "broken", hold=0.1))


@pytest.mark.parametrize("victim", ["one", "broken"])
def test_a_machine_is_silenced_until_its_healing_is_over(run: Any, victim: str) -> None:
    with suppress(LabError):
        run(Doing("freeze", victim, hold=0.1))
    assert f"no clock of {victim}" in Written.told
    assert Written.silenced == []


def enough(*_: Any) -> None:
    raise LookupError("so far and no further")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to a lab before its run, of which k8s-lb is sick until it is healed."""
    done: list[str] = []

    def steady(_: Any) -> None:
        done.append("look")
        raise ClusterError("k8s-lb: etcd is failed")

    monkeypatch.setattr(fitness, "heal_all", lambda *_: done.append("heal") or ["stop on k8s-lb"])
    monkeypatch.setattr(running, "insist_steady", steady)
    monkeypatch.setattr(running, "insist_possible", lambda *_: done.append("possible"))
    monkeypatch.setattr(running, "record_lab", enough)
    return done


def before(tmp_path: Path, told: list[str], *, proven: bool) -> Run:
    cluster: Any = SimpleNamespace(lab=SimpleNamespace(state=SimpleNamespace(path=tmp_path)))
    recorder = Recorder(tmp_path / "records.jsonl")
    return Run(
        cluster, Course("x", {FAULT: 1.0}, (Doing("kill", "one"),)), recorder, tmp_path, told.append, proven
    )


def test_a_lab_that_is_not_whole_is_not_faulted_and_the_run_says_why(
    tmp_path: Path, looks: list[str]
) -> None:
    told: list[str] = []
    run = before(tmp_path, told, proven=False)
    with pytest.raises(NotFit, match="so it is not broken any further: k8s-lb: etcd is failed"):
        run.go()
    assert looks == ["heal", "look"]
    assert told == ["  healed what an earlier run left: stop on k8s-lb"]
    assert [each["kind"] for each in read(run.recorder.path)] == ["run"]


def test_what_somebody_has_just_proven_is_not_proven_again_but_debts_are_paid(
    tmp_path: Path, looks: list[str]
) -> None:
    with pytest.raises(LookupError, match="so far"):
        before(tmp_path, [], proven=True).go()
    assert looks == ["heal", "possible"]


def test_who_asked_from_a_machine_that_was_away_asks_again_once_it_is_healed(run: Any) -> None:
    told = run(Doing("freeze", "one", hold=0.1), Doing("stop", "other", hold=0.2))
    assert told.index("ask again from one") == told.index("healed one") + 1
    assert "ask again from other" not in told


def test_probers_outlive_the_healing_of_a_slow_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Emulated masters were healed 668 s after a power cut, and probers on workers had ended after 450 s."""
    run = before(tmp_path, [], proven=False)
    assert run.longest == 1.0 + running.MARGIN
    monkeypatch.setattr(wait, "_slowness", [4.0])
    assert run.longest == 1.0 + 4 * running.MARGIN
