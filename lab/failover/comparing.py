"""Two sets of runs beside each other: is one better, or do they only scatter?  Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lab.invariants.finding import Finding, Unit
from lab.report.values import AT_MOST, Values, triple, value_of
from lab.scenario.judging import Judgement

Key = tuple[str, str]  # scenario, invariant
LEAST = 3  # runs of each set: two and two lie apart by chance in one case of three


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
        """Median, worst and spread of both, and whether one is better."""
        verdict = f"{self.better} is better" if self.differs else "no difference beyond the spread"
        if not self.enough:
            verdict = f"fewer than {LEAST} runs on a side, too few to tell"
        if not self.comparable:
            verdict = "measured in one set only"
        both = f"A {triple(self.first, self.unit)}; B {triple(self.second, self.unit)}"
        return f"{self.scenario}: {self.invariant}: {both}; {verdict}"


def compared(first: Sequence[Judgement], second: Sequence[Judgement]) -> list[Compared]:
    """Every invariant that both sets judged, in the order of the first."""
    mine, theirs = by_invariant(first), by_invariant(second)
    return [
        Compared(*key, found[0].unit, found[0].bound, values_of(found), values_of(theirs[key]))
        for key, found in mine.items()
        if key in theirs
    ]


WHO = ("profile", "host.provider", "host.machines", "versions.kubernetes", "load-balancer")
Plans = Sequence[Mapping[str, str]]


def apart(first: Plans, second: Plans) -> Iterator[str]:
    """What the runs of both sets were on, and every value of plan or host in which the sets differ."""
    for letter, plans in (("A", first), ("B", second)):
        yield f"{letter} on " + ", ".join(f"{name} {_of_all(plans, name)}" for name in WHO)
    names = dict.fromkeys(name for plans in (first, second) for plan in plans for name in plan)
    for name in names:
        one, other = _of_all(first, name), _of_all(second, name)
        if name != "name" and one != other:
            yield f"differs: {name}: A {one}; B {other}"


def _of_all(plans: Plans, name: str) -> str:
    """The value, or every one there is."""
    return " and ".join(sorted({plan.get(name, "") or "(none)" for plan in plans})) or "(none)"


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
    found = [value_of(each.value, each.verdict, each.bound) for each in findings]
    known = tuple(sorted(value for value in found if value is not None))
    return Values(known, len(findings) - len(known), findings[0].bound if findings else AT_MOST)
