"""What a user felt: how much was answered, for how long nothing was, and when it was well again."""

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise
from typing import ClassVar

from lab.history import History, Probed, Sample, Span
from lab.invariants.base import (
    NEAR,
    Invariant,
    Need,
    Seen,
    Unclear,
    end_of,
    injection_of,
    origin_of,
    window_of,
)
from lab.invariants.finding import Unit, Verdict, shown
from lab.invariants.paths import Watched, each_path, watched
from lab.invariants.terms import ALL_AFTER, FIRST, Among, Count, Phases, Question, Seconds, Share, Since

WELL, WELL_SHARE = 10.0, 0.99  # recovered is the first stretch of so many seconds with so much answered


@dataclass(frozen=True, kw_only=True)
class OfAnswers(Invariant):
    """Judged on each path (probe) of the question by itself; the worst path counts.

    `of` is the question, `during` the phases looked at, `among` which of its probes.
    """

    of: Question
    during: Phases = ALL_AFTER
    among: Among = Among.ALL

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        return self.gravest(each_path(history, self.of, self.among, lambda p: self._path(history, p, span)))

    @abstractmethod
    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        """Judge one path; raises `Unclear` where it cannot be told."""


@dataclass(frozen=True, kw_only=True)
class ShareAnswered(OfAnswers):
    """Questions without a record may have been answered or not: judged only where that does not matter."""

    unit: ClassVar[Unit] = Unit.SHARE

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        answered = len(seen.samples) - len(seen.failed)
        least, most = answered / seen.planned, (answered + seen.missing) / seen.planned
        found = self.measured(least, f"{probe.name}: {_counted(seen)}", span)
        return found if self.keeps(least) == self.keeps(most) else replace(found, verdict=Verdict.UNKNOWN)


@dataclass(frozen=True, kw_only=True)
class Availability(ShareAnswered):
    """Answered questions / scheduled questions, of those whose beat lies in the window."""

    word: ClassVar[str] = "availability"

    at_least: Share


@dataclass(frozen=True, kw_only=True)
class Away(ShareAnswered):
    """The same share, where nothing may be answered as long as a fault lasts: what answers was not hit."""

    word: ClassVar[str] = "away"

    at_most: Share


@dataclass(frozen=True, kw_only=True)
class LongestOutage(OfAnswers):
    """The longest time between consecutive good answers, from the edges of the window too."""

    word: ClassVar[str] = "longest-outage"
    unit: ClassVar[Unit] = Unit.SECONDS

    at_most: Seconds

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        gap, begin, end = longest_gap(good_answers(history, probe, span), span)
        text = f"{probe.name}: {begin:.2f} to {end:.2f} s; {_blocks(seen)}"
        if self.keeps(gap) or not seen.holes:
            return self.measured(gap, text, span)
        least, _, _ = longest_gap(sorted([*good_answers(history, probe, span), *seen.holes]), span)
        if self.keeps(least):
            return Seen(Verdict.UNKNOWN, gap, f"{text}; {seen.missing} questions left no record", span)
        return self.measured(gap, text, span)


@dataclass(frozen=True, kw_only=True)
class LongestBlock(OfAnswers):
    """The longest run of questions that all failed, from the first one's beat to the next good one's."""

    word: ClassVar[str] = "longest-block"
    unit: ClassVar[Unit] = Unit.SECONDS

    at_most: Seconds

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        return self.measured(longest_block(seen), f"{probe.name}: {_blocks(seen)}", span)


@dataclass(frozen=True, kw_only=True)
class Scattered(OfAnswers):
    """The share of questions that failed outside the longest run of failures.

    A dead backend scatters failures; an election makes them a block.
    """

    word: ClassVar[str] = "scattered"
    unit: ClassVar[Unit] = Unit.SHARE

    at_most: Share

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        return self.measured(scattered(seen), f"{probe.name}: {_blocks(seen)}", span)


@dataclass(frozen=True, kw_only=True)
class FirstFailure(Invariant):
    """Seconds from the beginning of a fault to the first question that was not answered.

    `fault` is which of the scenario's faults, 1 for the first.
    """

    word: ClassVar[str] = "first-failure"
    unit: ClassVar[Unit] = Unit.SECONDS

    of: Question
    at_least: Seconds
    among: Among = Among.ALL
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        span = Span(injection_of(history, self.fault).begun, end_of(history))
        return self.gravest(each_path(history, self.of, self.among, lambda p: self._path(history, p, span)))

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        failed = next((s for s in history.samples[probe.name] if s.answered > span.begin and not s.ok), None)
        if failed is None and span.seconds < self.at_least:
            raise Unclear(f"{probe.name}: nothing failed, but the run ended after {span.seconds:.1f} s")
        if failed is None:
            return Seen(Verdict.HELD, None, f"{probe.name}: all {len(seen.samples)} were answered", span)
        after = max(0.0, failed.scheduled - span.begin)
        return self.measured(after, f"{probe.name}: {failed.said or failed.outcome}", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_least, Since.FAULT, "nothing may fail for so long")


@dataclass(frozen=True, kw_only=True)
class Recovery(Invariant):
    """Seconds until the first good answer of the first 10 s with at least 99 % answered.

    Counted since the fault or since its healing began; `fault` is which of the scenario's faults, 1 for the
    first.
    """

    word: ClassVar[str] = "recovery"
    unit: ClassVar[Unit] = Unit.SECONDS

    of: Question
    at_most: Seconds
    since: Since = Since.FAULT
    among: Among = Among.ALL
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        origin = origin_of(injection_of(history, self.fault), self.since)
        span = Span(origin, end_of(history))
        return self.gravest(each_path(history, self.of, self.among, lambda p: self._path(history, p, span)))

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        found = recovered(seen)
        if found is not None:
            return self.measured(found.answered - span.begin, f"{probe.name}: {_counted(seen)}", span)
        if may_recover(seen, by=span.begin + self.at_most):
            raise Unclear(
                f"{probe.name}: the run ended {span.seconds:.1f} s after, too early for {WELL:g} s without"
                " failures"
            )
        return Seen(Verdict.BROKEN, None, f"{probe.name}: never in {span.seconds:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        why = f"it may take {shown(self.at_most, self.unit)}, and then {WELL:g} s prove it"
        return Need(self.at_most + WELL, self.since, why)


# -- formulas --------------------------------------------------------------------------------------------


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


def _counted(seen: Watched) -> str:
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


def _blocks(seen: Watched) -> str:
    """Both figures that tell an election from a dead backend."""
    longest = max(runs_of_failures(seen.samples), key=len, default=[])
    if not longest:
        return f"no question of {len(seen.samples)} failed"
    return (
        f"longest run of failures {len(longest)} questions ({_seconds(longest, seen):.2f} s),"
        f" {shown(scattered(seen), Unit.SHARE)} failed scattered besides"
    )
