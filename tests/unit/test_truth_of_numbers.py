"""What `tests/failover/test_truth.py` holds the numbers against: its witness, its bounds, its scenarios."""

import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fixed import guide_topology
from support_witness import LOOK, Bounds, Hurt, hurts, length
from test_truth import CASES, TEXT, allowed, each_path

from lab import strictyaml
from lab.history import History, Outcome, Probed, Sample, Span
from lab.invariants.answers import LongestOutage
from lab.invariants.terms import Question, Seconds
from lab.scenario.known import Known
from lab.scenario.loading import read

KNOWN = Known(guide_topology())
PHASES = {"steady": Span(0, 10), "fault": Span(10, 20), "recovery": Span(20, 30)}
TRUE = Bounds(2.95, 3.05)


def answers(away: float, took: float = 0.04, interval: float = 0.1) -> History:
    """An API that answers for thirty seconds, but for so long from 12 s on."""
    probe = Probed("api", "api", "", interval, 5.0, began=0.0, ended=30.0)
    beats = [number * interval for number in range(int(30 / interval))]
    samples = tuple(
        Sample("api", at, at, at + took, Outcome.FAILED if 12 <= at < 12 + away else Outcome.OK)
        for at in beats
    )
    return History(phases=PHASES, probes={"api": probe}, samples={"api": samples})


def ends(seen: History, true: Bounds | None) -> str:
    ((_, value),) = each_path(seen, LongestOutage(of=Question("api"), at_most=Seconds(3600.0)))
    may = allowed(seen, seen.probes["api"], value, true)
    return "too short" if value < may.least else "too long" if value > may.most else "right"


def test_the_true_length_is_accepted_and_one_interval_too_many_is_not() -> None:
    assert [ends(answers(away), TRUE) for away in (3.0, 3.1, 3.2)] == ["right", "right", "too long"]


def test_an_outage_that_is_made_shorter_is_noticed() -> None:
    assert ends(answers(2.7), TRUE) == "too short"


def test_who_was_not_hit_reports_no_more_than_two_beats_and_an_answer() -> None:
    assert [ends(answers(away), None) for away in (0.1, 0.3)] == ["right", "too long"]


def test_what_was_under_way_when_it_began_may_be_lost_and_no_more() -> None:
    """The API took 0.3 s for an answer when its balancer was ended, and 0.03 s when it was back."""

    def slow_before(missing: float) -> History:
        seen = answers(3.0, took=0.03, interval=0.05)
        samples = tuple(
            replace(each, answered=each.sent + 0.3, outcome=_lost(each.sent, 12 - missing))
            if each.sent < 12
            else each
            for each in seen.samples["api"]
        )
        return replace(seen, samples={"api": samples})

    assert ends(slow_before(0.5), TRUE) == "right"
    assert ends(slow_before(0.7), TRUE) == "too long"
    spared = answers(0.2, took=0.03, interval=0.05)
    late = Sample("api", 11.5, 11.5, 11.98, Outcome.OK)
    spared = replace(spared, samples={"api": (*spared.samples["api"], late)})
    assert ends(spared, None) == "too long", "where nothing was cut off a slow answer before excuses nothing"


def _lost(sent: float, since: float) -> Outcome:
    return Outcome.FAILED if sent >= since else Outcome.OK


def test_a_slow_answer_somewhere_else_excuses_nothing() -> None:
    """The slowest answer of the whole run, five seconds perhaps, is not the one that ended the outage."""
    seen = answers(4.0)
    slow = Sample("api", 0.0, 0.0, 4.9, Outcome.OK)
    seen = History(phases=PHASES, probes=seen.probes, samples={"api": (slow, *seen.samples["api"][1:])})
    assert ends(seen, TRUE) == "too long"


def test_a_witness_knows_an_instant_between_two_looks() -> None:
    told = "0 100.0 well\n101.0 101.1 hurt\n104.0 104.1 well\n"
    (found,) = hurts(told)
    assert found == Hurt((101.0, 101.1), (104.0, 104.1))
    assert length([found]) == Bounds(pytest.approx(2.9), pytest.approx(3.1))


def test_of_two_machines_the_truth_lies_between_both_and_either() -> None:
    one, other = Hurt((10.0, 10.1), (12.0, 12.1)), Hurt((10.5, 10.6), (12.5, 12.6))
    assert length([one, other]) == Bounds(pytest.approx(1.4), pytest.approx(2.6))


@pytest.mark.skipif(not shutil.which("bash"), reason="bash looks on machines")
def test_the_witness_sees_what_comes_and_goes(tmp_path: Path) -> None:
    mark, stop = tmp_path / "hurt", tmp_path / "stop"
    script = LOOK.format(seconds=20, hurt=f"[ -e {mark} ]", every=0.04, stop=stop)
    with subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True) as looking:
        time.sleep(0.5)
        began = time.time()
        mark.touch()
        time.sleep(1.0)
        mark.unlink()
        ended = time.time()
        time.sleep(0.3)
        stop.touch()
        told, _ = looking.communicate(timeout=30)
    (found,) = hurts(told)
    assert found.begin[0] <= began + 0.01
    assert found.end[1] >= ended - 0.01
    assert length([found]).least <= ended - began <= length([found]).most + 0.02
    assert not stop.exists()


@pytest.mark.parametrize("name", CASES)
def test_its_scenarios_can_be_run_and_no_usual_question_is_left_out(name: str) -> None:
    case = CASES[name]
    asked = [(of, among) for of, among in (*case.hit, *case.spared) if of in KNOWN.usual]
    lines = "\n".join(
        f"  - {{invariant: longest-outage, of: {of}, among: {among}, at-most: 9s}}" for of, among in asked
    )
    text = TEXT.format(name=name, fault=case.fault, invariants=lines)
    made = read(strictyaml.read(text, "a test's own"), KNOWN)
    assert set(KNOWN.usual) <= set(made.probes)
    assert not set(KNOWN.usual) - {of for of, _ in asked} - set(case.touched)
    assert all(case.touched.values())
