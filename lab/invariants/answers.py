"""What a user felt: how much was answered, and for how long nothing was."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from lab.history import History, Probed, Span
from lab.invariants.base import Invariant, Seen, Unclear, window_of
from lab.invariants.failures import Kind, kind_of
from lab.invariants.finding import Unit, Verdict, shown
from lab.invariants.formulas import blocks, counted, good_answers, longest_block, longest_gap, scattered
from lab.invariants.paths import Watched, each_path, paths, watched
from lab.invariants.terms import ALL_AFTER, IN_FORCE, MOST, Among, Paths, Phases, Question, Seconds, Share


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
    """Questions without a record may have been answered or not: judged only where that does not matter.

    `paths` says whether the worst path counts, or the questions of all of them together.
    """

    unit: ClassVar[Unit] = Unit.SHARE

    paths: Paths = Paths.WORST

    def look(self, history: History) -> Seen:  # noqa: D102
        if self.paths is Paths.WORST:
            return super().look(history)
        span = window_of(history, self.during)
        return self._share([watched(history, probe, span) for probe in paths(history, self.of, self.among)])

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        return self._share([watched(history, probe, span)])

    def _share(self, seen: list[Watched]) -> Seen:
        planned, missing = sum(each.planned for each in seen), sum(each.missing for each in seen)
        answered = sum(self._answered(each) for each in seen)
        least, most = answered / planned, (answered + missing) / planned
        text = "; ".join(f"{each.probe.name}: {counted(each)}" for each in seen)
        found = self.measured(least, text, seen[0].span)
        return found if self.keeps(least) == self.keeps(most) else replace(found, verdict=Verdict.UNKNOWN)

    def _answered(self, seen: Watched) -> int:
        return len(seen.samples) - len(seen.failed)


@dataclass(frozen=True, kw_only=True)
class Availability(ShareAnswered):
    """Answered questions / scheduled questions, of those whose beat lies in the window.

    Where it would be enough if all had been answered that were given up at their deadline, it turns on that
    deadline; but who answers nobody is not slow.
    """

    word: ClassVar[str] = "availability"

    at_least: Share

    def _share(self, seen: list[Watched]) -> Seen:
        found = super()._share(seen)
        given_up = sum(kind_of(sample.said) is Kind.TIMEOUT for each in seen for sample in each.failed)
        answered = sum(self._answered(each) for each in seen)
        enough = self.keeps((answered + given_up) / sum(each.planned for each in seen))
        return replace(found, timed=found.verdict is Verdict.BROKEN and enough and answered > 0)


@dataclass(frozen=True, kw_only=True)
class Away(ShareAnswered):
    """Questions answered within the window / scheduled in it, where nobody may: who answers was not hit."""

    word: ClassVar[str] = "away"

    during: Phases = IN_FORCE
    at_most: Share

    def _answered(self, seen: Watched) -> int:
        return sum(sample.ok and sample.answered <= seen.span.end for sample in seen.samples)


@dataclass(frozen=True, kw_only=True)
class LongestOutage(OfAnswers):
    """The longest time between consecutive good answers, from the edges of the window too."""

    word: ClassVar[str] = "longest-outage"
    unit: ClassVar[Unit] = Unit.SECONDS

    at_most: Seconds

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        gap, begin, end = longest_gap(good_answers(history, probe, span), span)
        text = f"{probe.name}: {begin:.2f} to {end:.2f} s; {blocks(seen)}"
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
        return self.measured(longest_block(seen), f"{probe.name}: {blocks(seen)}", span)


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
        return self.measured(scattered(seen), f"{probe.name}: {blocks(seen)}", span)


@dataclass(frozen=True, kw_only=True)
class Latency(OfAnswers):
    """Within how many seconds a share of all good answers came; `quantile` is that share.

    Those that failed are not among them: how many is `availability`.
    """

    word: ClassVar[str] = "latency"
    unit: ClassVar[Unit] = Unit.SECONDS
    times_answers: ClassVar[bool] = True

    quantile: Share = MOST
    at_most: Seconds

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        took = sorted(each.answered - each.sent for each in watched(history, probe, span).samples if each.ok)
        if not took:
            raise Unclear(f"{probe.name}: nothing was answered, so no answer took any time")
        value = took[min(len(took) - 1, int(self.quantile * len(took)))]
        which = shown(self.quantile, Unit.SHARE)
        return self.measured(value, f"{probe.name}: {which} of {len(took)} answers came within that", span)
