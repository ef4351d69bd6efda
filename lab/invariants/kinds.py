"""In which way questions failed: in silence, by a reset, by a refusal."""

from dataclasses import dataclass
from typing import ClassVar

from lab.history import History, Outcome, Probed, Sample, Span
from lab.invariants.answers import OfAnswers
from lab.invariants.base import Need, Seen, Unclear
from lab.invariants.failures import Kind, kind_of
from lab.invariants.finding import Unit, Verdict
from lab.invariants.paths import watched
from lab.invariants.since import SinceFault
from lab.invariants.terms import IN_FORCE, NONE, Count, Phases, Seconds, Since


@dataclass(frozen=True, kw_only=True)
class OnlyOneKind(OfAnswers):
    """How many questions failed in another way than the one that this fault must show.

    Those that failed after the window had ended met the healing, and are left out.
    """

    unit: ClassVar[Unit] = Unit.COUNT
    kind: ClassVar[Kind]

    during: Phases = IN_FORCE
    at_most: Count = NONE

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        failed = [each for each in watched(history, probe, span).failed if each.answered <= span.end]
        if not failed:
            raise Unclear(f"{probe.name}: no question failed, so none failed as a {self.kind}")
        other = [sample for sample in failed if kind_of(sample.said) is not self.kind]
        text = f"{probe.name}: {len(failed) - len(other)} of {len(failed)} failures were a {self.kind}"
        first = f"; first other: {other[0].said or other[0].outcome}" if other else ""
        return self.measured(len(other), text + first, span)


@dataclass(frozen=True, kw_only=True)
class ResetsOnly(OnlyOneKind):
    """Failures that were no reset or refused connection: a crash or a reject shows nothing else."""

    word: ClassVar[str] = "resets-only"
    kind: ClassVar[Kind] = Kind.RESET


@dataclass(frozen=True, kw_only=True)
class TimeoutsOnly(OnlyOneKind):
    """Failures that were no time-out: a silent loss shows nothing else."""

    word: ClassVar[str] = "timeouts-only"
    kind: ClassVar[Kind] = Kind.TIMEOUT


@dataclass(frozen=True, kw_only=True)
class RefusedWithin(SinceFault):
    """Seconds from the beginning of a fault until a question was refused, and not just left unanswered.

    `fault` is which of the scenario's faults, 1 for the first.
    """

    word: ClassVar[str] = "refused-within"
    done: ClassVar[str] = "refused"

    at_most: Seconds

    def _is_one(self, sample: Sample) -> bool:
        """Whether the question ended in the way that is waited for."""
        return sample.outcome is Outcome.FAILED and kind_of(sample.said) is not Kind.TIMEOUT

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        seen = watched(history, probe, span)
        refused = next((sample for sample in seen.samples if self._is_one(sample)), None)
        if refused:
            return self.measured(refused.answered - span.begin, f"{probe.name}: {refused.said}", span)
        if span.seconds < self.at_most:
            raise Unclear(f"{probe.name}: not {self.done}, but the run ended after {span.seconds:.1f} s")
        return Seen(Verdict.BROKEN, None, f"{probe.name}: never {self.done} in {span.seconds:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, Since.FAULT, f"it may take so long until something is {self.done}")


@dataclass(frozen=True, kw_only=True)
class ResetWithin(RefusedWithin):
    """Seconds from the beginning of a fault until a question's connection was reset or refused.

    `fault` is which of the scenario's faults, 1 for the first.  Best of a probe that keeps its connections,
    for what a crash says it says only to those that stand.
    """

    word: ClassVar[str] = "reset-within"
    done: ClassVar[str] = "reset"

    def _is_one(self, sample: Sample) -> bool:
        return not sample.ok and kind_of(sample.said) is Kind.RESET
