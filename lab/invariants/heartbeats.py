"""Who is to blame for an election: not who campaigned, but the leader whose heartbeats came late."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from lab.history import History, Probed, Sample
from lab.invariants.base import Invariant, Seen, Unclear, victims_of, window_of
from lab.invariants.finding import Unit
from lab.invariants.paths import paths
from lab.invariants.terms import ALL_AFTER, HEARTBEATS, Phases, Question, Share


@dataclass(frozen=True, kw_only=True)
class LateHeartbeats(Invariant):
    """The share of late heartbeats that victims counted of their own, of those of all members.

    Each member counts those that it sent late while it led, and from nought when it is started anew.
    """

    word: ClassVar[str] = "late-heartbeats"
    unit: ClassVar[Unit] = Unit.SHARE

    of: Question = HEARTBEATS
    at_least: Share
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        counts: dict[str, int] = {}
        for probe in paths(history, self.of):
            samples = [each for each in history.samples.get(probe.name, ()) if each.scheduled < span.end]
            before = [each for each in samples if each.scheduled < span.begin][-1:]
            counts[_member(probe)] = grown([*before, *history.within(probe.name, span)])
        text = ", ".join(f"{name}: {count}" for name, count in counts.items())
        total = sum(counts.values())
        if not total:
            raise Unclear(f"no member counted a late heartbeat: {text}")
        own = sum(count for name, count in counts.items() if name in victims_of(history))
        return self.measured(own / total, f"late heartbeats {text}", span)


def grown(samples: Sequence[Sample]) -> int:
    """By how much a counter grew, also across a start that set it to nought.  Pure."""
    values = [int(each.value["late"]) for each in samples if each.ok and each.value]
    return sum(now - before if now >= before else now for before, now in pairwise(values))


def _member(probe: Probed) -> str:
    return probe.target or probe.name
