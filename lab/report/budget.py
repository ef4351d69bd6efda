"""What asking cost, and how late the fast probers were, beside what they may.  Pure.

It says how far the figures of this run may be wrong for our own sake, and nothing of the cluster: a run is
invalid by the bounds of `lab.invariants.validity`, which are wider.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lab.history import History, Probed
from lab.invariants.finding import Unit, shown
from lab.invariants.terms import FAULT
from lab.invariants.validity import percentile
from lab.report.facts import mapping

FAST = 0.05  # seconds between questions of what is called fast
LATE = 0.005  # seconds, of a fast one at the 99th percentile while the fault lasts
EACH, ALL = 0.10, 0.40  # of one core


@dataclass(frozen=True, slots=True)
class Budget:
    """`late` in seconds, `each` and `all` in cores, None where nobody told; `over`: a line for each excess.

    On emulated machines all is told and nothing judged.
    """

    late: float | None
    late_of: str
    each: float | None
    each_of: str
    all: float | None
    over: tuple[str, ...]

    def line(self) -> str:
        """All three beside what they may be."""
        late = (
            f"{self.late * 1000:.1f} ms late ({self.late_of})"
            if self.late is not None
            else "never asked fast"
        )
        cost = (
            f"{_share(self.each)} of a core at most ({self.each_of}), {_share(self.all)} in all"
            if self.each is not None and self.all is not None
            else "nobody knows what they cost"
        )
        return f"probers: {late}, {cost}" + (
            f"; over the budget: {'; '.join(self.over)}" if self.over else ""
        )


def budget_of(history: History, costs: Mapping[str, Any]) -> Budget:
    """What the probers of a run came to; ``costs`` are seconds of processor time by probe (`cpu`)."""
    late = {each.name: _late(history, each) for each in history.probes.values() if each.interval <= FAST}
    shares = {
        each.name: share for each in history.probes.values() if (share := _cost(each, costs)) is not None
    }
    late_of = max(late, key=late.__getitem__, default="")
    each_of = max(shares, key=shares.__getitem__, default="")
    whole = sum(shares.values()) if shares else None
    judged = not history.facts.get("emulated")
    over = _over(late.get(late_of), late_of, shares.get(each_of), each_of, whole) if judged else ()
    return Budget(late.get(late_of), late_of, shares.get(each_of), each_of, whole, tuple(over))


def _late(history: History, probe: Probed) -> float:
    """While the fault lasts, which is when it matters; where there is no such phase, all the time."""
    samples = history.samples.get(probe.name, ())
    span = history.phases.get(FAULT)
    inside = [each.late for each in samples if span is None or span.begin <= each.scheduled < span.end]
    return percentile(inside)


def _cost(probe: Probed, costs: Mapping[str, Any]) -> float | None:
    spent, length = mapping(costs, probe.name).get("cpu"), probe.ended - probe.began
    return spent / length if isinstance(spent, int | float) and length > 0 else None


def _over(
    late: float | None, late_of: str, each: float | None, each_of: str, whole: float | None
) -> Iterator[str]:
    if late is not None and late > LATE:
        yield f"{late_of} was {late * 1000:.1f} ms late, {LATE * 1000:g} ms at most"
    if each is not None and each > EACH:
        yield f"{each_of} took {_share(each)} of a core, {_share(EACH)} at most"
    if whole is not None and whole > ALL:
        yield f"all took {_share(whole)} of a core, {_share(ALL)} at most"


def _share(value: float | None) -> str:
    return "-" if value is None else shown(round(value, 3), Unit.SHARE)
