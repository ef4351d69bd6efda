"""What the time of runs went into, and that nothing is asked twice."""

import json
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import ClusterError
from lab.failover import series as series_module
from lab.failover.performing import CutShort, Performed
from lab.failover.series import Series, overview
from lab.history import History, Recorder, read
from lab.invariants.finding import Verdict
from lab.probes.workload import MOVED
from lab.providers.base import Capability
from lab.report import as_json
from lab.scenario import between, running
from lab.scenario.between import Between, Policy
from lab.scenario.breaking import Unavailable
from lab.scenario.course import PHASES, Course
from lab.scenario.judging import Judgement
from lab.scenario.running import Run
from lab.scenario.spent import Spent
from lab.wait import NotYet


def test_what_came_beside_the_phases_is_told_the_longest_first_and_as_a_share() -> None:
    spent = Spent()
    spent.add({"phases": 60.0, "proof": 5.0})
    spent.add({"phases": 60.0, "proof": 5.0, "set-up": 8.0, "restore": 30.0})
    assert spent.overhead == (
        "time: 168 s; 120 s of phases, 30 s of restore, 18 s beside: proof 10.0 s, set-up 8.0 s;"
        " 12 % over phases and restores"
    )
    assert spent.record() == {"phases": 120.0, "proof": 10.0, "set-up": 8.0, "restore": 30.0}


def test_of_a_set_that_did_nothing_there_is_no_share() -> None:
    assert Spent().overhead == "time: 0 s; no phase, 0 s beside: nothing; nothing but that"


def test_time_counts_however_it_ends() -> None:
    spent = Spent()
    with pytest.raises(ValueError, match="x"), spent.on("proof"):
        raise ValueError("x")
    assert spent.seconds["proof"] > 0


# -- one run ---------------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of 0.3 s on a lab of which nothing is asked."""
    for name in ("make_fit", "insist_possible", "record_lab", "insist_steady", "reckon", "record_logs"):
        monkeypatch.setattr(running, name, lambda *_: None)
    for name in ("clear", "await_answers"):
        monkeypatch.setattr(running, name, lambda *_: None)
    monkeypatch.setattr(running, "heal_all", lambda *_: [])
    monkeypatch.setattr(running, "workload", SimpleNamespace(ensure=lambda _: None, MOVED=MOVED))
    monkeypatch.setattr(running, "probes", lambda *_: [])
    watch = SimpleNamespace(begin=lambda _: None, end=lambda **_: None, check=lambda: None)
    monkeypatch.setattr(running, "Watch", lambda *_, **__: watch)
    heard: Future[None] = Future()
    heard.set_result(None)
    monkeypatch.setattr(Run, "holding", SimpleNamespace(listen=lambda: heard, record=lambda _: None))
    monkeypatch.setattr(Run, "clocks", SimpleNamespace(silenced=[]))
    lab = SimpleNamespace(
        state=SimpleNamespace(path=tmp_path), topology=None, provider=SimpleNamespace(is_slow=False)
    )
    cluster: Any = SimpleNamespace(lab=lab, topology=None)
    course = Course("x", dict.fromkeys(PHASES, 0.1))
    return Run(cluster, course, Recorder(tmp_path / "records.jsonl"), tmp_path, lambda _: None)


def test_a_run_counts_what_its_time_went_into(run: Run) -> None:
    run.go()
    wanted = {"proof", "set-up", "phases", "phases too long", "ending probes", "reading back"}
    assert set(run.spent.seconds) == wanted
    assert run.spent.seconds["phases"] == pytest.approx(0.3, abs=0.01)
    assert run.steady


def test_a_phase_that_is_kept_waiting_is_longer_and_not_more_was_asked_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Run, "_break", lambda each, *_: running.dwell(0.4, lambda: None))
    run.go()
    assert run.spent.seconds["phases"] == pytest.approx(0.3, abs=0.01)
    assert run.spent.seconds["phases too long"] >= 0.3


def test_what_nobody_told_for_a_moment_is_trouble_and_no_end_of_the_set(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended all scenarios that were to come, and counted as broken."""

    def silent(*_: Any) -> None:
        raise NotYet("GET /x: ConnectionResetError")

    monkeypatch.setattr(Run, "_break", silent)
    run.go()
    told = read(run.recorder.path)
    assert [each["text"] for each in told if each["kind"] == "trouble"] == ["GET /x: ConnectionResetError"]


def test_a_lab_that_did_not_serve_again_is_not_said_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def sick(_: Any) -> None:
        raise ClusterError("2 of 3 members")

    monkeypatch.setattr(running, "insist_steady", sick)
    run.go()
    assert not run.steady


# -- a set -----------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a lab that is whole."""
    done: list[str] = []
    monkeypatch.setattr(between, "insist_steady", lambda _: done.append("steady"))
    monkeypatch.setattr(between, "insist_fresh_pods", lambda _: done.append("fresh pods"))
    monkeypatch.setattr(series_module, "tidy", lambda *_: None)
    return done


def cluster(*, can: bool = False) -> Any:
    provider = SimpleNamespace(
        is_slow=False,
        capabilities={Capability.SNAPSHOT} if can else set(),
        snapshot=lambda _: None,
        restore=lambda _: None,
        forget_snapshot=lambda _: None,
    )
    lab = SimpleNamespace(
        provider=provider, state=SimpleNamespace(path=Path("/nonexistent")), close=lambda: None
    )
    return SimpleNamespace(lab=lab)


def done(folder: Path, *, steady: bool) -> Performed:
    document = as_json(History({}, {}, {}), (), {"scenario": "one"})
    spent = Spent({"phases": 60.0, "set-up": 9.0})
    return Performed(Judgement("one", (), Verdict.HELD, (), ()), folder, document, steady, spent)


def ran(folder: Path, monkeypatch: pytest.MonkeyPatch, *, steady: bool) -> Series:
    def perform(_: Any, __: Any, ___: Any, place: Path, *____: Any, **_____: Any) -> Performed:
        return done(place, steady=steady)

    monkeypatch.setattr(series_module, "perform", perform)
    made = Series(cluster(), folder, Policy.AUTO, lambda _: None)
    todo: Any = [(SimpleNamespace(name=name, destroys_data=False), None) for name in ("one", "two")]
    made.run(todo)
    return made


def test_what_a_run_has_just_seen_is_not_asked_again_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    ran(tmp_path, monkeypatch, steady=True)
    assert asked == ["steady", "fresh pods", "fresh pods"]


def test_what_a_run_has_not_seen_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    ran(tmp_path, monkeypatch, steady=False)
    assert asked == ["steady", "fresh pods"] * 2


def test_what_cannot_be_done_here_uses_up_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    proven: list[bool] = []

    def perform(*_: Any, proven: bool, taken: list[bool] = proven) -> Performed:
        taken.append(proven)
        raise Unavailable("no clock of its own")

    monkeypatch.setattr(series_module, "perform", perform)
    todo: Any = [(SimpleNamespace(name=name, destroys_data=False), None) for name in ("one", "two")]
    Series(cluster(), tmp_path, Policy.AUTO, lambda _: None).run(todo)
    assert proven == [True, True]
    assert asked == ["steady", "fresh pods"]


@pytest.mark.usefixtures("asked")
def test_a_set_tells_and_keeps_what_its_time_went_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ran(tmp_path, monkeypatch, steady=True)
    (line,) = [line for line in made.summary() if line.startswith("time: ")]
    assert "120 s of phases, 18 s beside: set-up 18.0 s" in line
    assert "15 % over phases and restores" in line
    kept = json.loads((tmp_path / "times.json").read_text())
    assert (kept["phases"], kept["set-up"]) == (120.0, 18.0)
    assert "proof" in kept


@pytest.mark.usefixtures("asked")
def test_a_restore_and_the_proof_after_it_are_no_overhead() -> None:
    keep = Between(cluster(can=True), Policy.RESTORE)
    keep.begin()
    keep.after(destroyed=False)
    assert set(keep.spent.seconds) == {"proof", "snapshot", "restore"}


@pytest.mark.usefixtures("asked")
def test_a_run_that_was_cut_short_is_one_of_the_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut = CutShort(done(tmp_path / "01-one", steady=False))

    def perform(*_: Any, **__: Any) -> Performed:
        raise cut

    monkeypatch.setattr(series_module, "perform", perform)
    made = Series(cluster(), tmp_path, Policy.AUTO, lambda _: None)
    todo: Any = [(SimpleNamespace(name=name, destroys_data=False), None) for name in ("one", "two")]
    with pytest.raises(KeyboardInterrupt):
        made.run(todo)
    assert [each.judgement.scenario for each in made.done] == ["one"]
    assert (tmp_path / "index.html").exists()


def test_an_overview_of_nothing_is_one(tmp_path: Path) -> None:
    overview([], {"one": "no clock of its own"}, tmp_path, Spent())
    assert json.loads((tmp_path / "times.json").read_text()) == {}
