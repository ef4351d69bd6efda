"""What a client felt that keeps a connection: a watch and its events, and what is open without a word."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.history import History, Sample
from lab.invariants.base import Invariant, Seen, Unclear, fact_of, window_of
from lab.invariants.finding import Unit
from lab.invariants.paths import paths, watched
from lab.invariants.terms import (
    ALL_AFTER,
    API_WATCH,
    NONE,
    WHOLE,
    Connection,
    Count,
    Phases,
    Question,
    Seconds,
)

IDLE = "idle"  # fact: {exec|logs|watch: {"lived": seconds, "cut": whether it was cut, "said": how}}


@dataclass(frozen=True, kw_only=True)
class OfWatch(Invariant):
    """Something of the events that followed acknowledged writes.

    A sample's value is {"delay": seconds or null, "seen": how many events, "ordered": whether their
    revisions rose}.
    """

    of: Question = API_WATCH
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        samples = [s for probe in paths(history, self.of) for s in watched(history, probe, span).samples]
        written = [sample for sample in samples if sample.acked and isinstance(sample.value, Mapping)]
        if not written:
            raise Unclear("no write was acknowledged that the watch could have shown")
        return self._of(written)

    @abstractmethod
    def _of(self, written: Sequence[Sample]) -> Seen:
        """Judge the acknowledged writes, of which there is at least one."""

    def _count(self, written: Sequence[Sample], wrong: Sequence[Sample]) -> Seen:
        named = ", ".join(f"{s.key or s.probe} at {s.sent:.2f} s" for s in wrong[:3])
        return self.measured(len(wrong), named or f"none of {len(written)}")


@dataclass(frozen=True, kw_only=True)
class WatchDelay(OfWatch):
    """The longest time from an acknowledged write to its event; one that never came is `watch-missed`."""

    word: ClassVar[str] = "watch-delay"
    unit: ClassVar[Unit] = Unit.SECONDS

    at_most: Seconds

    def _of(self, written: Sequence[Sample]) -> Seen:
        came = [sample for sample in written if sample.value.get("delay") is not None]
        if not came:
            raise Unclear(f"not one event of {len(written)} writes came")
        slowest = max(came, key=lambda sample: float(sample.value["delay"]))
        text = f"the slowest of {len(came)}: written at {slowest.sent:.2f} s"
        return self.measured(float(slowest.value["delay"]), text)


@dataclass(frozen=True, kw_only=True)
class WatchMissed(OfWatch):
    """Acknowledged writes whose event never came."""

    word: ClassVar[str] = "watch-missed"
    unit: ClassVar[Unit] = Unit.COUNT

    at_most: Count = NONE

    def _of(self, written: Sequence[Sample]) -> Seen:
        return self._count(written, [s for s in written if s.value.get("seen", 0) == 0])


@dataclass(frozen=True, kw_only=True)
class WatchDoubled(OfWatch):
    """Acknowledged writes whose event came more than once."""

    word: ClassVar[str] = "watch-doubled"
    unit: ClassVar[Unit] = Unit.COUNT

    at_most: Count = NONE

    def _of(self, written: Sequence[Sample]) -> Seen:
        return self._count(written, [s for s in written if s.value.get("seen", 0) > 1])


@dataclass(frozen=True, kw_only=True)
class WatchOutOfOrder(OfWatch):
    """Events whose revision was lower than that of an event before."""

    word: ClassVar[str] = "watch-out-of-order"
    unit: ClassVar[Unit] = Unit.COUNT

    at_most: Count = NONE

    def _of(self, written: Sequence[Sample]) -> Seen:
        return self._count(written, [s for s in written if s.value.get("ordered") is False])


@dataclass(frozen=True, kw_only=True)
class IdleCut(Invariant):
    """How long a connection lived on which nobody said anything, until somebody cut it.

    `kept` is what was kept open: exec, logs or watch, through the load balancer, from before the steady phase
    on; only where this is asked for.  It counts from the last byte that came.
    """

    word: ClassVar[str] = "idle-cut"
    unit: ClassVar[Unit] = Unit.SECONDS

    kept: Connection
    at_least: Seconds
    during: Phases = WHOLE

    def look(self, history: History) -> Seen:  # noqa: D102
        told: Mapping[str, Any] | None = fact_of(history, IDLE).get(self.kept)
        if not told:
            raise Unclear(f"nobody kept {self.kept} open")
        lived, cut = float(told["lived"]), bool(told["cut"])
        if not cut and not self.keeps(lived):
            raise Unclear(f"{self.kept} was watched for {lived:.1f} s only, and not cut by then")
        how = f": {told['said']}" if told.get("said") else ""
        return self.measured(
            lived, f"{self.kept} was {'cut' if cut else 'still open'} after {lived:.1f} s{how}"
        )
