"""What is computed from the answers of one probe in a window: gaps, runs of failures, recovery.  Pure."""

from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate, groupby, pairwise

from lab.history import History, Probed, Sample, Span
from lab.invariants.base import NEAR
from lab.invariants.finding import Unit, shown
from lab.invariants.paths import Watched

WELL, WELL_SHARE = 10.0, 0.99  # recovered is the first stretch of so many seconds with so much answered


def good_answers(history: History, probe: Probed, span: Span) -> list[float]:
    """When that probe had a good answer in the window, whenever it had asked; in order."""
    these = (sample.answered for sample in history.samples.get(probe.name, ()) if sample.ok)
    return sorted(instant for instant in these if span.begin <= instant <= span.end)


def longest_gap(instants: list[float], span: Span) -> tuple[float, float, float]:
    """The longest time between the instants and the window's edges: seconds, from, until."""
    edges = [span.begin, *instants, span.end]
    begin, end = max(pairwise(edges), key=lambda pair: pair[1] - pair[0])
    return end - begin, begin, end


def runs_of_failures(samples: tuple[Sample, ...]) -> Iterator[list[Sample]]:
    """Each run of questions that failed one after the other, by beat."""
    return (list(run) for ok, run in groupby(samples, key=lambda sample: sample.ok) if not ok)


def longest_block(seen: Watched) -> float:
    """The longest run of failures, in seconds."""
    return max((_seconds(run, seen) for run in runs_of_failures(seen.samples)), default=0.0)


def scattered(seen: Watched) -> float:
    """The share of questions that failed and are not in the longest run."""
    counts = [len(run) for run in runs_of_failures(seen.samples)]
    return (sum(counts) - max(counts, default=0)) / len(seen.samples)


def recovered(seen: Watched) -> Sample | None:
    """The first good answer from which on `WELL` seconds were well, all of them before the window's end."""
    ends = seen.span.end - WELL + NEAR
    return next((s for s in _candidates(seen) if s.scheduled <= ends), None)


def may_recover(seen: Watched, by: float) -> bool:
    """Whether such a stretch may have begun by then although the window ended before it was over."""
    ends = seen.span.end - WELL + NEAR
    return any(ends < s.scheduled <= by + NEAR for s in _candidates(seen)) or by > seen.span.end


def _candidates(seen: Watched) -> Iterator[Sample]:
    """The good answers after which not more failed in `WELL` seconds than may, as far as was seen."""
    beats = [sample.scheduled for sample in seen.samples]
    failures = [0, *accumulate(not sample.ok for sample in seen.samples)]
    allowed = (1 - WELL_SHARE) * WELL / seen.probe.interval + NEAR
    for place, sample in enumerate(seen.samples):
        last = bisect_left(beats, sample.scheduled + WELL - NEAR)
        holes = sum(sample.scheduled <= hole < sample.scheduled + WELL for hole in seen.holes)
        if sample.ok and failures[last] - failures[place] + holes <= allowed:
            yield sample


def _seconds(run: list[Sample], seen: Watched) -> float:
    return run[-1].scheduled - run[0].scheduled + seen.probe.interval


def counted(seen: Watched) -> str:
    """How many were answered, and what the others said, the most frequent first."""
    if not seen.failed and not seen.missing:
        return f"all {len(seen.samples)} answered"
    said: dict[str, int] = {}
    for sample in seen.failed:
        words = sample.said.removeprefix("Wrong: ").split(":")[0] or str(sample.outcome)
        said[words] = said.get(words, 0) + 1
    kinds = [f"{count} {words}" for words, count in sorted(said.items(), key=lambda pair: -pair[1])[:3]]
    kinds += [f"{seen.missing} left no record"] if seen.missing else []
    return f"{len(seen.samples) - len(seen.failed)} of {seen.planned} answered; {', '.join(kinds)}"


def blocks(seen: Watched) -> str:
    """Both figures that tell an election from a dead backend."""
    longest = max(runs_of_failures(seen.samples), key=len, default=[])
    if not longest:
        return f"no question of {len(seen.samples)} failed"
    return (
        f"longest run of failures {len(longest)} questions ({_seconds(longest, seen):.2f} s),"
        f" {shown(scattered(seen), Unit.SHARE)} failed scattered besides"
    )
