"""How long after a fault: until nobody was answered, until it was well again."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from lab.history import History, Probed, Span
from lab.invariants.base import Invariant, Need, Seen, Unclear, end_of, injection_of, origin_of
from lab.invariants.finding import Unit, Verdict, shown
from lab.invariants.formulas import WELL, counted, may_recover, recovered
from lab.invariants.paths import begun_anew, each_of, each_path, paths, watched
from lab.invariants.terms import FIRST, Among, Count, Question, Seconds, Since


@dataclass(frozen=True, kw_only=True)
class SinceFault(Invariant):
    """Seconds since a fault began, on each path (probe) of the question by itself; the worst path counts.

    `fault` is which of the scenario's faults, 1 for the first.
    """

    unit: ClassVar[Unit] = Unit.SECONDS

    of: Question
    among: Among = Among.ALL
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        span = Span(self._origin(history), end_of(history))
        return self.gravest(each_path(history, self.of, self.among, lambda p: self._sure(history, p, span)))

    def _origin(self, history: History) -> float:
        return injection_of(history, self.fault).begun

    def _sure(self, history: History, probe: Probed, span: Span) -> Seen:
        """Between a fault, by our clock, and an answer, by another's, lies what the other may be wrong by."""
        seen = self._path(history, probe, span)
        known = seen.value is None or abs(seen.value - self.limit) > probe.bound
        if known or not probe.bound or history.facts.get("emulated"):  # where no time is judged at all
            return seen
        raise Unclear(
            f"{probe.name}: {shown(seen.value or 0.0, self.unit)} by a clock that is known to"
            f" {shown(probe.bound, self.unit)} only, too near to the limit"
        )

    @abstractmethod
    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        """Judge one path; raises `Unclear` where it cannot be told."""


@dataclass(frozen=True, kw_only=True)
class FirstFailure(SinceFault):
    """Seconds from the beginning of a fault to the first question that was not answered.

    `fault` is which of the scenario's faults, 1 for the first.
    """

    word: ClassVar[str] = "first-failure"

    at_least: Seconds

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
class Recovery(SinceFault):
    """Seconds until the first good answer of the first 10 s with at least 99 % answered.

    Counted since the fault or since its healing began; `fault` is which of the scenario's faults, 1 for the
    first.
    """

    word: ClassVar[str] = "recovery"

    at_most: Seconds
    since: Since = Since.FAULT

    def look(self, history: History) -> Seen:
        """Of a path whose prober ended with its machine, by the one that was begun there since."""
        span = Span(self._origin(history), end_of(history))
        asked = [each for each in paths(history, self.of, self.among) if not begun_anew(history, each)]
        return self.gravest(each_of(asked, lambda probe: self._sure(history, probe, span)))

    def _origin(self, history: History) -> float:
        return origin_of(injection_of(history, self.fault), self.since)

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        found = recovered(seen)
        if found is not None:
            return self.measured(found.answered - span.begin, f"{probe.name}: {counted(seen)}", span)
        if may_recover(seen, by=span.begin + self.at_most):
            raise Unclear(
                f"{probe.name}: the run ended {span.seconds:.1f} s after, too early for {WELL:g} s without"
                " failures"
            )
        return Seen(Verdict.BROKEN, None, f"{probe.name}: never in {span.seconds:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        why = f"it may take {shown(self.at_most, self.unit)}, and then {WELL:g} s prove it"
        return Need(self.at_most + WELL, self.since, why)
