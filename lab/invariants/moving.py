"""What became of pods of a lost worker: of the one that must move, and of the one that must not be twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.history import History, Sample, Span
from lab.invariants.base import Invariant, Need, Seen, Unclear, end_of, injection_of, victims_of, window_of
from lab.invariants.finding import Unit, Verdict
from lab.invariants.terms import (
    ALL_AFTER,
    FIRST,
    MOVED,
    NONE,
    Count,
    Phases,
    Question,
    Seconds,
    Since,
    Tolerations,
)
from lab.invariants.workload import PODS, observed

PREFIX = {each: f"thwlab-probes/{each}-" for each in ("moved", "ordinal", "early")}
MOVES = {Tolerations.DEFAULT: "moved", Tolerations.SHORT: "early"}


@dataclass(frozen=True, kw_only=True)
class Rescheduled(Invariant):
    """Seconds from the beginning of a fault until a Deployment's only pod was ready on another machine.

    `tolerations` says which, and `fault` is which of the scenario's faults, 1 for the first.
    """

    word: ClassVar[str] = "rescheduled"
    unit: ClassVar[Unit] = Unit.SECONDS
    observes: ClassVar[tuple[str, ...]] = (PODS,)

    of: Question = MOVED
    at_most: Seconds
    tolerations: Tolerations = Tolerations.DEFAULT
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        what = MOVES[self.tolerations]
        injection = injection_of(history, self.fault)
        span = Span(injection.begun, end_of(history))
        before = observed(history, PODS, Span(0.0, injection.begun))
        there = [pod[0] for _, pod in _of(before[-1], what)] if before else []
        if not set(there) & set(injection.machines):
            raise Unclear(
                f"the pod that is to move was on {', '.join(there) or 'no machine'}, not on a victim"
            )
        seen = observed(history, PODS, span)
        for sample in seen:
            for name, pod in _of(sample, what):
                if pod[0] and pod[0] not in injection.machines and pod[2]:
                    return self.measured(sample.answered - span.begin, f"{name} is ready on {pod[0]}", span)
        watched = seen[-1].answered - span.begin if seen else 0.0
        if watched < self.at_most:
            raise Unclear(f"no other pod was ready in the {watched:.1f} s that were seen")
        return Seen(Verdict.BROKEN, None, f"no other pod was ready in {watched:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, Since.FAULT, "it may take so long until the pod is elsewhere")


@dataclass(frozen=True, kw_only=True)
class TwiceRunning(Invariant):
    """How often a StatefulSet's pod was seen on another machine while the one it was on was only away.

    Nobody can know there whether it still runs on the old one, so two may have been at work.
    """

    word: ClassVar[str] = "twice-running"
    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (PODS,)

    of: Question = MOVED
    at_most: Count = NONE
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        begun = min((each.begun for each in history.injections), default=span.begin)
        before = observed(history, PODS, Span(0.0, begun))
        home = {name: pod[0] for name, pod in _of(before[-1], "ordinal")} if before else {}
        if not set(home.values()) & victims_of(history):
            raise Unclear(f"no pod of a StatefulSet was on a victim: {home or 'there was none'}")
        moved = [
            f"{name} on {pod[0]} at {sample.answered:.1f} s"
            for sample in observed(history, PODS, span)
            for name, pod in _of(sample, "ordinal")
            if pod[0] and home.get(name, pod[0]) != pod[0]
        ]
        stayed = ", ".join(f"{name} on {node}" for name, node in home.items())
        return self.measured(len(moved), "; ".join(moved[:3]) or f"never elsewhere: {stayed}", span)


def _of(sample: Sample, what: str) -> Iterator[tuple[str, Any]]:
    return ((name, pod) for name, pod in sample.value.items() if name.startswith(PREFIX[what]))
