"""What one invariant came to in several runs: worst, median, spread.  Pure.

What was waited for and never came is worse than any number, in each of the three.
"""

import math
import statistics
from dataclasses import dataclass

from lab.invariants.finding import Unit, Verdict, shown

AT_MOST = "at-most"


@dataclass(frozen=True, slots=True)
class Values:
    """In their order; `missing` of the runs measured nothing.  What never came is infinitely bad."""

    values: tuple[float, ...]
    missing: int
    bound: str = AT_MOST

    @property
    def median(self) -> float:
        """Half of the runs are not above it."""
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        """The least."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The greatest."""
        return max(self.values)

    @property
    def worst(self) -> float:
        """The one farthest on the wrong side of the limit."""
        return self.high if self.bound == AT_MOST else self.low

    @property
    def spread(self) -> float:
        """The greatest less the least."""
        return 0.0 if self.low == self.high else self.high - self.low

    @property
    def never(self) -> int:
        """In how many runs it never came."""
        return sum(not math.isfinite(each) for each in self.values)


def value_of(value: float | None, verdict: str, bound: str) -> float | None:
    """A finding's number; broken without one is what did not come to pass as long as the run lasted."""
    if value is None and verdict == Verdict.BROKEN:
        return math.inf if bound == AT_MOST else -math.inf
    return value


def told(value: float, unit: Unit, endless: str = "never") -> str:
    """The number with its unit, or the word for one that has no end."""
    return shown(value, unit) if math.isfinite(value) else endless


def triple(values: Values, unit: Unit) -> str:
    """Worst, median and spread in words; of one run its value."""
    if not values.values:
        return f"nothing in {values.missing} runs"
    if len(values.values) == 1:
        return told(values.median, unit)
    more = f", and nothing in {values.missing}" if values.missing else ""
    return (
        f"median {told(values.median, unit)}, worst {told(values.worst, unit)},"
        f" spread {told(values.spread, unit, 'endless')} (n={len(values.values)}{more})"
    )
