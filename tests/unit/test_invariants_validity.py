"""When a run proves nothing, and what it comes to where something was expected to break."""

from dataclasses import replace

import pytest
from made_histories import KILL, asked, made, stepped

from lab.history import History, Sample, Span
from lab.invariants.answers import Availability, LongestOutage
from lab.invariants.expectation import verdict_of
from lab.invariants.finding import Verdict
from lab.invariants.terms import Question, Seconds, Share
from lab.invariants.validity import lateness, reasons

API = Question("api")
ASKED = [Availability(of=API, at_least=Share(0.9))]
BLUNT = replace(KILL, in_force=None, evidence="")
SILENT = replace(KILL, evidence="")
UNHEALED = replace(KILL, healed=None)
EARLY = replace(KILL, looked=29.9, still="no", seen="k8s-master1: etcd is active")
LOST = replace(KILL, trouble="no route")
SHORT = {"steady": Span(0, 10)}


def late(seconds: float, every: int = 1, **facts: object) -> History:
    """A prober that is late with every so many-th question."""
    probed, samples = asked(every=0.05)
    moved: tuple[Sample, ...] = tuple(
        replace(s, sent=s.scheduled + seconds, answered=s.answered + seconds) if n % every == 0 else s
        for n, s in enumerate(samples)
    )
    return made((probed, moved), **facts)


def test_a_run_without_reasons_proves_something() -> None:
    assert reasons(made(asked()), ASKED, faults=1) == []


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        (late(0.03), "late at the 99th percentile, more than half of its interval of 50 ms"),
        (made(asked(missing=[(40, 44)])), "api: 560 of 600 planned questions were asked, 93.33 %"),
        (made(asked(end=50)), "api: 500 of 600 planned"),
        (made(asked(end=0.0)), "not one question was asked"),
        (made(), "not one question was asked"),
        (made(asked(), injections=[BLUNT]), "kill-and-hold of k8s-master1: nothing proves that it bit"),
        (made(asked(), injections=[SILENT]), "kill-and-hold of k8s-master1: nothing proves that it bit"),
        (made(asked(), injections=[UNHEALED]), "it was not healed; the lab is not fit for another run"),
        (
            made(asked(), injections=[EARLY]),
            "kill-and-hold of k8s-master1: no longer in force when its healing was to begin, at 29.9 s of the"
            " run, proven last at 10.2 s of the run: k8s-master1: etcd is active",
        ),
        (
            made(asked(), injections=[LOST]),
            "kill-and-hold of k8s-master1: no route",
        ),
        (made(asked(), injections=[]), "0 of 1 planned faults were done"),
        (made(asked(failing=[(3, 3.1)])), "api: 99 % answered in the steady phase"),
        (
            made(asked(failing=[(8, 8.1)], took=3.0)),
            "api: 99 % answered in the steady phase",
        ),  # for two seconds before
        (made(asked(), phases=SHORT), "the run ended before its phase fault was over"),
        (replace(made(asked()), troubles=("a prober died",)), "a prober died"),
    ],
)
def test_a_run_that_proves_nothing_says_why(history: History, reason: str) -> None:
    assert reason in "\n".join(reasons(history, ASKED, faults=1))


@pytest.mark.parametrize("still", ["", "yes", "unknown"])
def test_only_a_fault_that_is_known_to_have_ended_early_makes_a_run_invalid(still: str) -> None:
    """In runs of before nobody asked, and what could not be asked is no proof."""
    told = replace(KILL, looked=29.9 if still else None, still=still, seen="x" if still else "")
    assert reasons(made(asked(), injections=[told]), ASKED, faults=1) == []


def test_that_a_run_ended_early_is_told_once() -> None:
    cut = made(asked(), asked("dns"), asked("etcd"), phases=SHORT)
    assert reasons(cut, ASKED, faults=1) == ["the run ended before its phase fault was over"]


@pytest.mark.parametrize(
    "history",
    [
        late(0.03, every=200),  # under 1 % of the questions
        late(0.03, emulated=True),
        made(asked(), asked("dns", lost="it was off", missing=[(10, 40)])),
        made(asked(), asked("dns", lost="it was off", end=0.0)),
        made(asked(), asked("cluster-ip", failing=[(3, 4)])),  # nobody judges it
        made(asked(), stepped("nodes", (0, {}), failing=[(3, 4)])),
        made(asked(failing=[(9.5, 9.6)], took=2.0)),  # it was under way when the fault began
    ],
)
def test_what_does_not_matter_makes_no_run_invalid(history: History) -> None:
    assert reasons(history, ASKED, faults=1) == []


def test_lateness_is_of_the_slowest_hundredth() -> None:
    assert lateness(late(0.03, every=50), "api") == pytest.approx(0.03)
    assert lateness(late(0.03, every=200), "api") == pytest.approx(0.0)
    assert lateness(made(), "api") == 0.0


FINDING = LongestOutage(of=API, at_most=Seconds(5)).judge(made(asked()))
OTHER = Availability(of=API, at_least=Share(0.9)).judge(made(asked()))
A, B = FINDING.invariant, OTHER.invariant
HELD, BROKEN, UNKNOWN = Verdict.HELD, Verdict.BROKEN, Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("one", "other", "expected", "verdict"),
    [
        (HELD, HELD, [], HELD),
        (BROKEN, UNKNOWN, [], BROKEN),
        (UNKNOWN, HELD, [], UNKNOWN),
        (BROKEN, HELD, [A], HELD),
        (HELD, HELD, [A], BROKEN),
        (BROKEN, BROKEN, [A], BROKEN),
        (BROKEN, BROKEN, [A, B], HELD),
        (UNKNOWN, HELD, [A], UNKNOWN),
        (Verdict.NOT_JUDGED, HELD, [A], UNKNOWN),
        (Verdict.NOT_JUDGED, HELD, [], HELD),
        (HELD, HELD, ["no such one"], UNKNOWN),
    ],
)
def test_what_was_expected_to_break_must(
    one: Verdict, other: Verdict, expected: list[str], verdict: Verdict
) -> None:
    came, why = verdict_of([replace(FINDING, verdict=one), replace(OTHER, verdict=other)], expected)
    assert came is verdict
    assert (verdict is HELD) == (not why)


def test_that_an_expected_one_held_is_said() -> None:
    _, why = verdict_of([FINDING], [A])
    assert why == [f"{A} held, and should have broken: {FINDING.text}"]


def test_who_asks_again_after_a_boot_is_not_held_against_the_time_before() -> None:
    probe, samples = asked("dns", name="dns@w1-again", at="w1")
    later = tuple(each for each in samples if each.scheduled >= 40)
    anew = replace(probe, again=True, began=40.0), later
    assert reasons(made(asked(), anew), ASKED, faults=1) == []
    assert "planned questions" in "".join(reasons(made(asked(), (probe, later)), ASKED, faults=1))
