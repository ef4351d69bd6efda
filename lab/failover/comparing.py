"""Two sets of runs beside each other: is one better, or do they only scatter?  Pure."""

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.invariants.finding import Finding, Unit, Verdict, shown
from lab.scenario.judging import Judgement

Key = tuple[str, str]  # scenario, invariant
LEAST = 3  # runs of each set: two and two lie apart by chance in one case of three


@dataclass(frozen=True, slots=True)
class Values:
    """What one invariant came to in the runs of one set; `missing` of them measured nothing.

    What was never seen to end is infinitely much.
    """

    values: tuple[float, ...]
    missing: int

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


@dataclass(frozen=True, slots=True)
class Compared:
    """One invariant of one scenario in both sets.

    `differs` is true where no run of one set lies among those of the other: with few runs that is all that
    can be said without believing in a distribution.  `better` says which set is, by the side of the limit.
    """

    scenario: str
    invariant: str
    unit: Unit
    bound: str
    first: Values
    second: Values

    @property
    def comparable(self) -> bool:
        """Whether both sets measured something."""
        return bool(self.first.values and self.second.values)

    @property
    def enough(self) -> bool:
        """Whether there are runs enough to know that they scatter."""
        return min(len(self.first.values), len(self.second.values)) >= LEAST

    @property
    def differs(self) -> bool:
        """Whether the difference exceeds the spread."""
        if not self.enough:
            return False
        return self.first.high < self.second.low or self.second.high < self.first.low

    @property
    def better(self) -> str:
        """`A`, `B`, or nothing where they do not differ."""
        if not self.differs:
            return ""
        lower = "A" if self.first.high < self.second.low else "B"
        higher = "B" if lower == "A" else "A"
        return lower if self.bound == "at-most" else higher

    def line(self) -> str:
        """Both medians with their ranges, and whether one is better."""
        verdict = f"{self.better} is better" if self.differs else "no difference beyond the spread"
        if not self.enough:
            verdict = f"fewer than {LEAST} runs on a side, too few to tell"
        if not self.comparable:
            verdict = "measured in one set only"
        both = f"A {_told(self.first, self.unit)}; B {_told(self.second, self.unit)}"
        return f"{self.scenario}: {self.invariant}: {both}; {verdict}"


def compared(first: Sequence[Judgement], second: Sequence[Judgement]) -> list[Compared]:
    """Every invariant that both sets judged, in the order of the first."""
    mine, theirs = by_invariant(first), by_invariant(second)
    return [
        Compared(*key, found[0].unit, found[0].bound, values_of(found), values_of(theirs[key]))
        for key, found in mine.items()
        if key in theirs
    ]


def only_in_one(first: Sequence[Judgement], second: Sequence[Judgement]) -> Iterator[str]:
    """Scenarios of which there is no run in the other set."""
    names = [{each.scenario for each in one} for one in (first, second)]
    for letter, mine, theirs in (("A", names[0], names[1]), ("B", names[1], names[0])):
        yield from (f"only in {letter}: {name}" for name in sorted(mine - theirs))


def by_invariant(judgements: Iterable[Judgement]) -> Mapping[Key, list[Finding]]:
    """The findings of several runs, by scenario and invariant."""
    found: dict[Key, list[Finding]] = {}
    for judgement in judgements:
        for finding in judgement.findings:
            found.setdefault((judgement.scenario, finding.invariant), []).append(finding)
    return found


def values_of(findings: Sequence[Finding]) -> Values:
    """What was measured, and how often nothing was."""
    known = tuple(sorted(value for each in findings if (value := _value(each)) is not None))
    return Values(known, len(findings) - len(known))


def _value(finding: Finding) -> float | None:
    """Broken without a value is what did not come to pass as long as the run lasted: worse than any value."""
    if finding.value is None and finding.verdict is Verdict.BROKEN:
        return math.inf if finding.bound == "at-most" else -math.inf
    return finding.value


def _told(values: Values, unit: Unit) -> str:
    if not values.values:
        return f"nothing in {values.missing} runs"
    count = len(values.values)
    if count == 1:
        return _shown(values.median, unit)
    more = f", and nothing in {values.missing}" if values.missing else ""
    low, middle, high = (_shown(each, unit) for each in (values.low, values.median, values.high))
    return f"{middle} ({low} to {high}, n={count}{more})"


def _shown(value: float, unit: Unit) -> str:
    return shown(value, unit) if math.isfinite(value) else "never"
