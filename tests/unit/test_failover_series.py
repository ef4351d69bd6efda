"""Several runs on one lab: what was found out stays found out, whatever becomes of the lab."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import ClusterError, LabError
from lab.failover import series as module
from lab.failover.series import Series
from lab.invariants.finding import Verdict
from lab.scenario.between import Policy
from lab.scenario.judging import Judgement, Status
from lab.scenario.spent import Spent


class Unwhole:
    """A lab that is not whole after the first run."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    spent = Spent()

    def begin(self) -> None: ...

    def unused(self) -> None: ...

    def taken(self) -> bool:
        return True

    def after(self, *, destroyed: bool, steady: bool) -> str:
        raise self.error


@pytest.mark.parametrize("error", [LabError("no snapshot"), ClusterError("2 of 3 members")], ids=type)
@pytest.mark.parametrize(
    ("verdict", "status"), [(Verdict.BROKEN, Status.BROKEN), (Verdict.HELD, Status.UNKNOWN)]
)
def test_a_lab_that_is_not_whole_afterwards_hides_no_verdict_and_is_none_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, verdict: Verdict, status: Status
) -> None:
    judgement = Judgement("one", (), verdict, (), ())
    done = SimpleNamespace(judgement=judgement, folder=tmp_path, steady=True, spent=Spent())
    runs: list[str] = []

    def perform(_: Any, scenario: Any, *__: Any, **___: Any) -> Any:
        runs.append(scenario.name)
        return done

    monkeypatch.setattr(module, "Between", lambda *_: Unwhole(error))
    monkeypatch.setattr(module, "perform", perform)
    for name in ("tidy", "overview"):
        monkeypatch.setattr(module, name, lambda *_: None)
    told: list[str] = []
    series = Series(SimpleNamespace(), tmp_path, Policy.AUTO, told.append)  # type: ignore[arg-type]
    todo: Any = [(SimpleNamespace(name=name, destroys_data=False), None) for name in ("one", "two")]
    assert series.run(todo) is status
    assert runs == ["one"]
    assert any("the lab is not whole after one" in line for line in series.summary())


class Whole:
    """A lab that is whole, and goes back when it is told to."""

    spent = Spent()

    def __init__(self) -> None:
        self.went: list[bool] = []

    def begin(self) -> None: ...

    def taken(self) -> bool:
        return True

    def after(self, *, destroyed: bool, steady: bool) -> str:
        self.went.append(destroyed)
        return ""


@pytest.mark.parametrize(
    ("policy", "destroys", "go_on", "went"),
    [
        (Policy.AUTO, False, False, []),
        (Policy.AUTO, True, False, [True]),
        (Policy.RESTORE, False, False, [False]),
        (Policy.AUTO, False, True, [False]),
    ],
)
def test_after_the_last_run_the_lab_goes_back_where_that_is_promised(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: Policy,
    destroys: bool,
    go_on: bool,
    went: list[bool],
) -> None:
    """One that destroys data, run by itself, left the lab without it; and a try of a shrink, as it was."""
    judgement = Judgement("one", (), Verdict.HELD, (), ())
    done = SimpleNamespace(judgement=judgement, folder=tmp_path, steady=True, spent=Spent())
    lab = Whole()
    monkeypatch.setattr(module, "Between", lambda *_: lab)
    monkeypatch.setattr(module, "perform", lambda *_, **__: done)
    for name in ("tidy", "overview"):
        monkeypatch.setattr(module, name, lambda *_: None)
    nothing: Any = SimpleNamespace()
    todo: Any = [(SimpleNamespace(name="one", destroys_data=destroys), None)]
    assert Series(nothing, tmp_path, policy, print, go_on=go_on).run(todo) is Status.HELD
    assert lab.went == went
