"""What a run leaves when somebody or something ends it before its time."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fixed import fixed_credentials, guide_topology
from stored_runs import TEXT, stored

from lab.failover import performing
from lab.failover.performing import CutShort, perform
from lab.failover.stored import rejudged
from lab.invariants.finding import Verdict
from lab.scenario.fitness import NotFit
from lab.scenario.judging import Status
from lab.scenario.known import Known
from lab.scenario.loading import load
from lab.scenario.plan import plan_of

KNOWN = Known(guide_topology())
Go = Callable[[Any], None]
EXPECTS = "expect: {hardened: [availability of api during fault]}\n"


@pytest.fixture
def performed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Perform a scenario whose run does this."""

    def made(go: Go, more: str = "", tell: Callable[[str], None] = lambda _: None) -> Any:
        file = tmp_path / "made.yaml"
        file.write_text(TEXT + more)
        scenario = load(file, KNOWN)
        monkeypatch.setattr(performing.Run, "go", go)
        cluster: Any = SimpleNamespace(topology=guide_topology(), credentials=fixed_credentials())
        return perform(cluster, scenario, plan_of(scenario, "1"), tmp_path / "run", tell)

    return made


def ends(failing: int, end: BaseException) -> Go:
    """All phases with so many failures, and then this, before anybody looked whether the lab is whole."""

    def go(run: Any) -> None:
        elsewhere = stored(run.folder / "elsewhere", failing) / "records.jsonl"
        with run.recorder.path.open("a") as stream:
            told = [line for line in elsewhere.read_text().splitlines(True) if '"scenario"' not in line]
            stream.writelines(told)
        raise end

    return go


def begins(_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("failing", [0, 50])
@pytest.mark.parametrize("more", ["", EXPECTS], ids=["", "expects"])
def test_a_run_that_somebody_ended_leaves_all_that_others_do_and_is_unknown(
    performed: Callable[..., Any], tmp_path: Path, failing: int, more: str
) -> None:
    """Whether something was broken until then or not, and whether it was expected to be."""
    told: list[str] = []
    with pytest.raises(CutShort) as cut:
        performed(ends(failing, KeyboardInterrupt()), more, told.append)
    judgement = cut.value.performed.judgement
    assert (judgement.status, judgement.verdict) == (Status.UNKNOWN, Verdict.UNKNOWN)
    assert any("was cut short" in why and "Ctrl-C or SIGTERM" in why for why in judgement.invalid)
    folder = tmp_path / "run"
    assert {"report.html", "report.json", "plan.json", "records.jsonl"} <= {p.name for p in folder.iterdir()}
    document = json.loads((folder / "report.json").read_text())
    assert document["verdict"] == "invalid" or document["verdict"] == "unknown"
    assert any("was cut short" in why for why in document["reasons"])
    assert rejudged(folder, KNOWN)[1] == judgement
    assert "  made: unknown, run invalid" in told


def test_one_that_was_ended_before_anything_was_asked_is_told_too(
    performed: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(CutShort) as cut:
        performed(begins)
    assert cut.value.performed.judgement.status is Status.UNKNOWN
    assert (tmp_path / "run/report.html").exists()


def test_a_defect_of_ours_is_raised_as_it_is_and_what_was_seen_is_told(
    performed: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(RuntimeError, match="a defect"):
        performed(ends(0, RuntimeError("a defect")))
    assert "by RuntimeError: a defect" in (tmp_path / "run/report.json").read_text()


def test_what_cannot_be_told_does_not_hide_why_it_ended(
    performed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(performing, "write_run", full)
    with pytest.raises(KeyboardInterrupt) as end:
        performed(ends(0, KeyboardInterrupt()))
    assert "no space left on device" in end.value.__notes__[0]


def test_a_lab_that_was_not_broken_has_no_report(performed: Callable[..., Any], tmp_path: Path) -> None:
    def unfit(_: Any) -> None:
        raise NotFit("2 of 3 members")

    with pytest.raises(NotFit):
        performed(unfit)
    assert not (tmp_path / "run/report.html").exists()
