"""Formulas of judgement against slower ones that can be read at a glance."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_histories import KILL, asked, made

from lab.history import History, Outcome, Probed, Sample, Span
from lab.invariants.answers import LongestOutage
from lab.invariants.consensus import LeaderChanges, TermChanges
from lab.invariants.finding import Unit, Verdict, from_record, shown, worst
from lab.invariants.formulas import longest_block, longest_gap, recovered, scattered
from lab.invariants.paths import Watched, holes_in, watched
from lab.invariants.resample import resampled
from lab.invariants.since import Recovery
from lab.invariants.terms import Count, Question, Seconds
from lab.invariants.writes import LostWrites

API = Question("api")
SPAN = Span(0.0, 40.0)
STEP = 0.5
answers = st.lists(st.booleans(), min_size=80, max_size=80)


def samples_of(oks: list[bool], step: float = STEP) -> tuple[Sample, ...]:
    """A beat each."""
    return tuple(
        Sample("api", n * step, n * step, n * step + 0.01, Outcome.OK if ok else Outcome.FAILED)
        for n, ok in enumerate(oks)
    )


def seen_of(oks: list[bool], step: float = STEP) -> Watched:
    """What a probe saw."""
    return Watched(Probed("api", "api", "", step, 5.0), SPAN, samples_of(oks, step))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 40), max_size=30))
def test_the_longest_gap_is_the_longest_span_without_an_instant(instants: list[float]) -> None:
    found, begin, end = longest_gap(sorted(instants), SPAN)
    edges = {0.0, 40.0, *instants}
    slow = max(b - a for a in edges for b in edges if a <= b and not any(a < i < b for i in edges))
    assert (found, end - begin) == (pytest.approx(slow), pytest.approx(slow))


@settings(deadline=None, max_examples=50)
@given(answers)
def test_recovery_is_the_first_good_answer_of_ten_good_seconds(oks: list[bool]) -> None:
    found = recovered(seen_of(oks))
    starts = [n for n in range(61) if all(oks[n : n + 20])]  # 20 beats in 10 s, of which none may fail
    assert (found.scheduled if found else None) == (starts[0] * STEP if starts else None)


@settings(deadline=None, max_examples=50)
@given(answers)
def test_recovery_is_known_as_soon_as_no_beat_can_be_its_start(oks: list[bool]) -> None:
    """Held, broken and unknown against every way in which the run might have gone on."""
    limit = 32.0
    finding = Recovery(of=API, at_most=Seconds(limit)).judge(_run(oks))
    futures = ([*oks, *[True] * 40], [*oks, *[False] * 40])
    starts = [next((n for n in range(101) if all(f[n : n + 20])), 999) for f in futures]
    in_time = [start * STEP + 0.01 <= limit for start in starts]
    wanted = {(True, True): Verdict.HELD, (False, False): Verdict.BROKEN}.get(
        (in_time[0], in_time[1]), Verdict.UNKNOWN
    )
    assert finding.verdict is wanted


def _run(oks: list[bool]) -> History:
    probed = Probed("api", "api", "", STEP, 5.0, ended=40.0)
    at_once = replace(KILL, begun=0.0, in_force=0.0)
    return made((probed, samples_of(oks)), phases={"fault": SPAN}, injections=[at_once])


@settings(deadline=None, max_examples=50)
@given(answers)
def test_blocks_and_scattered_failures_are_all_failures(oks: list[bool]) -> None:
    seen = seen_of(oks)
    text = "".join("." if ok else "x" for ok in oks)
    runs = [len(run) for run in text.split(".")]
    assert longest_block(seen) == pytest.approx(max(runs) * STEP)
    assert scattered(seen) * 80 == pytest.approx(text.count("x") - max(runs))


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 20), st.floats(0, 19))
def test_a_known_outage_is_reported_as_no_less_and_not_much_more(begin: float, seconds: float) -> None:
    """No more than its length, two intervals and one answer's time."""
    run = made(asked(failing=[(begin, begin + seconds)], every=0.1, took=0.02), phases={"fault": Span(0, 60)})
    value = LongestOutage(of=API, at_most=Seconds(5), during="fault").judge(run).value
    assert value is not None
    assert (
        seconds - 1e-3 <= max(value, seconds if begin + seconds < 0.2 else 0) <= seconds + 0.2 + 0.02 + 1e-3
    )


@settings(deadline=None, max_examples=50)
@given(st.floats(1, 20), st.floats(0, 30))
def test_one_question_a_second_agrees_with_ten_within_a_second(begin: float, seconds: float) -> None:
    """Case D1: else the probe or the formula is wrong."""
    run = made(asked(failing=[(begin, begin + seconds)]))
    slow = resampled(run, "api", 1)
    blocks = [longest_block(watched(h, h.probes["api"], Span(0, 60))) for h in (run, slow)]
    assert abs(blocks[0] - blocks[1]) <= 1 + 1e-6
    assert len(slow.samples["api"]) == 60


def test_a_probe_cannot_be_resampled_faster_than_it_was() -> None:
    with pytest.raises(ValueError, match="slower than 100"):
        resampled(made(asked()), "api", 100)


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 79), max_size=78), st.floats(-0.2, 0.2))
def test_every_beat_without_a_record_is_found(missing: set[int], offset: float) -> None:
    """Whatever the grid's offset to the window: what is missing is missing, and nothing else."""
    beats = [0.25 + offset + n * STEP for n in range(80)]
    span = Span(0.0, 40.0)
    kept = [
        Sample("api", b, b, b, Outcome.OK) for n, b in enumerate(beats) if n not in missing and span.has(b)
    ]
    if kept:
        wanted = [b for n, b in enumerate(beats) if n in missing]
        assert sorted(holes_in(kept, span, STEP)) == pytest.approx(wanted)


course = st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=40)


@settings(deadline=None, max_examples=50)
@given(course)
def test_terms_and_leaders_are_counted_once_each(steps: list[tuple[int, bool]]) -> None:
    """However members' reports interleave: rises of the term, and new terms that were led."""
    term, values = 3, []
    for rise, led in steps:
        term += rise
        values.append({"term": term, "leader": f"m{term}" if led else ""})
    values = [{"term": 3, "leader": "m3"}, *values]
    every = 60 / len(values)
    run = made(
        asked("raft", every=every, value=lambda t: values[min(round(t / every), len(values) - 1)]),
        phases={"fault": Span(0, 60)},
        injections=[],
    )
    judged = [
        kind(at_most=Count(99), during="fault").judge(run).value for kind in (TermChanges, LeaderChanges)
    ]
    terms = [value["term"] for value in values]
    led = {value["term"] for value in values if value["leader"]}
    if every < 2.9:  # else the observers were silent for too long
        assert judged == [sum(b - a for a, b in pairwise(terms)), len(led - {3})]


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(0, 600)), st.sets(st.integers(0, 600)))
def test_lost_is_what_was_acknowledged_and_is_not_on_every_member(one: set[int], two: set[int]) -> None:
    run = made(
        asked("etcd", writes=True, failing=[(20, 30)]),
        ledger={"m1": [f"etcd-{n}" for n in one], "m2": [f"etcd-{n}" for n in two]},
    )
    acked = set(range(600)) - set(range(200, 300))
    assert LostWrites().judge(run).value == len((acked - one) | (acked - two))


def test_broken_beats_unknown_beats_held() -> None:
    order = [Verdict.BROKEN, Verdict.UNKNOWN, Verdict.HELD]
    assert [worst([v, Verdict.HELD, Verdict.NOT_JUDGED]) for v in order] == order
    assert worst([Verdict.UNKNOWN, Verdict.BROKEN]) is Verdict.BROKEN
    assert worst([]) is worst([Verdict.NOT_JUDGED]) is Verdict.UNKNOWN


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123456, Unit.SECONDS, "0.0123 s"),
        (3.0, Unit.SECONDS, "3.00 s"),
        (0.99996, Unit.SHARE, "99.99 %"),
        (1.0, Unit.SHARE, "100 %"),
        (0.995, Unit.SHARE, "99.5 %"),
        (3, Unit.COUNT, "3"),
    ],
)
def test_numbers_are_shown_with_their_unit_and_never_rounded_up(value: float, unit: Unit, text: str) -> None:
    assert shown(value, unit) == text


def test_a_finding_survives_its_record() -> None:
    finding = LongestOutage(of=API, at_most=Seconds(5)).judge(made(asked()))
    assert from_record(finding.record()) == finding
    assert finding.line().startswith("held       longest-outage of api during fault+recovery: 0.1 s, at most")
