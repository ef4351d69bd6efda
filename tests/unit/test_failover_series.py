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
