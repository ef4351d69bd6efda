"""Nothing is broken unless what will be judged was answered all through the steady phase."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import ClusterError
from lab.history import Recorder, read
from lab.invariants.validity import vital
from lab.plan import load_topology
from lab.probes.catalogue import QUESTIONS
from lab.probes.workload import Workload
from lab.scenario import answered
from lab.scenario.answered import TRIES, await_answered, unanswered
from lab.scenario.course import PHASES, Course
from lab.scenario.known import Known
from lab.scenario.loading import load
from lab.scenario.running import Run

OBSERVED = {each.word for each in QUESTIONS if each.observes}
ROOT = Path(__file__).parents[2]
FAILED = [
    {"scheduled": 2.0, "outcome": "failed", "said": "ConnectionRefusedError"},
    {"scheduled": 1.0, "outcome": "unknown", "said": "timed out in answer"},
]
COURSE = Course("x", dict.fromkeys(PHASES, 0.05), vital=("api",))


class Sick:
    """In the place of the probes of a lab that is steady only when it has been looked at so often."""

    def __init__(self, well_after: int) -> None:
        self.running = [SimpleNamespace(probe=SimpleNamespace(name="api", interval=0.005))]
        self.left, self.asked = well_after, list[Any]()

    def check(self) -> None:
        """No prober has ended."""

    def failed(self, questions: Any, since: float) -> dict[str, Any]:
        self.asked.append((questions, since))
        self.left -= 1
        return {"api": FAILED} if self.left >= 0 else {}


def waited(sick: Sick, told: list[str]) -> float:
    clock: Iterator[int] = iter(range(100))
    watch: Any = sick
    return await_answered(COURSE, watch, lambda: float(next(clock)), told.append)


def test_a_steady_lab_is_looked_at_once_and_nothing_is_told() -> None:
    sick, told = Sick(0), list[str]()
    assert waited(sick, told) == 0.0
    assert (sick.asked, told) == ([(("api",), 0.0)], [])


def test_the_phase_begins_anew_until_all_were_answered_and_only_its_own_questions_count() -> None:
    sick, told = Sick(1), list[str]()
    assert waited(sick, told) == 1.0
    assert [since for _, since in sick.asked] == [0.0, 1.0]
    assert len(told) == 1
    assert "api: 2 questions failed" in told[0]
    assert "first: timed out in answer; the phase begins anew, 2 of 3" in told[0]


def test_a_lab_that_does_not_come_to_be_steady_is_named_with_what_failed() -> None:
    told: list[str] = []
    with pytest.raises(ClusterError, match=r"nothing was broken, .* api: 2 questions failed"):
        waited(Sick(TRIES), told)
    assert len(told) == TRIES - 1


def test_one_slip_in_a_thousand_is_no_sickness_and_the_worst_is_named_first() -> None:
    lines = unanswered(
        {"api": FAILED[:1], "dns": FAILED, "etcd": FAILED[:1]}, {"api": 1000, "dns": 50, "etcd": 50}
    )
    assert [line.partition(":")[0] for line in lines] == ["dns", "etcd"]


def test_what_is_judged_by_answers_is_what_must_be_answered_before() -> None:
    found = load(ROOT / "scenarios/apiserver-crash.yaml", Known(load_topology()))
    assert vital(found.judged) == ("api", "api-direct", "cluster-ip", "dns")
    assert set(found.needed) == {"api", "api-direct", "cluster-ip", "dns", "etcd"}


@pytest.mark.parametrize(("slow", "asked"), [(True, {"api", "etcd"}), (False, {"api", "etcd", "dns"})])
def test_slow_machines_are_asked_only_what_is_judged(tmp_path: Path, slow: bool, asked: set[str]) -> None:
    """They have to serve besides: five that had lost their power did not come back under all questions."""
    provider = SimpleNamespace(is_slow=slow)
    cluster: Any = SimpleNamespace(topology=load_topology(), lab=SimpleNamespace(provider=provider))
    course = Course("x", {}, probes=("api", "etcd", "dns"), needed=("api", "etcd"))
    run = Run(cluster, course, Recorder(tmp_path / "records.jsonl"), tmp_path, lambda _: None)
    wanted = run._wanted(Workload("10.0.0.10", 30080, {}))
    assert {each.question for each in wanted} - OBSERVED == asked
    assert {each.question for each in wanted} >= OBSERVED


def test_a_run_on_a_lab_that_is_not_steady_breaks_nothing_and_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken: list[float] = []
    monkeypatch.setattr(Run, "_break", lambda _, begin, __: broken.append(begin))
    monkeypatch.setattr(answered, "TRIES", 2)
    nothing: Any = None
    run = Run(nothing, COURSE, Recorder(tmp_path / "records.jsonl"), tmp_path, lambda _: None)
    watch: Any = Sick(2)
    with pytest.raises(ClusterError):
        run._phase("steady", watch)
    well: Any = Sick(1)
    run._phase("steady", well)
    run._phase("fault", well)
    assert len(broken) == 1
    told = read(tmp_path / "records.jsonl")
    assert [each["phase"] for each in told if each["kind"] == "phase"] == ["steady", "fault"]
    steady = next(each for each in told if each["kind"] == "phase")
    assert steady["end"] - steady["begin"] == pytest.approx(0.05, abs=0.03)
    assert [each["text"].partition(":")[0] for each in told if each["kind"] == "note"] == ["not steady"] * 2
