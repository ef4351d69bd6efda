"""The smallest plan that still breaks: fewer faults first, then shorter ones.  Pure over what runs a plan.

Delta debugging (Zeller and Hildebrandt, 2002): try parts, then what is left without each part, then finer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from lab.scenario.judging import Judgement, broken_in
from lab.scenario.plan import Plan, Step

CONFIRMED = 3  # times that the result must break, one after the other
ASKED = 3  # times that a plan is run at most until a run of it proves something
SHORTEST = 2.0  # seconds below which a fault is not halved

Breaks = Callable[[Plan], bool | None]  # None: that run proves nothing, neither way


def shows(guilty: frozenset[str], judgements: Sequence[Judgement]) -> bool | None:
    """Whether a run broke one of these invariants; None if it proves nothing, or there was none."""
    proving = [each for each in judgements if not each.invalid]
    return any(guilty & broken_in(each) for each in proving) if proving else None


@dataclass(frozen=True, slots=True)
class Shrunk:
    """The result: the plan, how many runs that took, and how often in a row it broke at the end."""

    plan: Plan
    runs: int
    confirmed: int
    wanted: int = CONFIRMED

    @property
    def is_sure(self) -> bool:
        """Whether it broke every time it was asked to confirm."""
        return self.confirmed == self.wanted


class Shrinker:
    """Runs each plan until it is known how that ends, remembers it, and confirms the last one.

    What `ASKED` runs leave open is not known to break: its faults are kept, and it confirms nothing.
    """

    def __init__(self, breaks: Breaks) -> None:
        self._breaks = breaks
        self._known: dict[tuple[tuple[int, float], ...], bool] = {}
        self.runs = 0

    def shrunk(self, plan: Plan, confirm: int = CONFIRMED) -> Shrunk:
        """The smallest plan found; a plan that does not break as it is comes back as it is, unconfirmed."""
        if not self._tried(plan):
            return Shrunk(plan, self.runs, 0, confirm)
        smallest = self._shorter(self._fewer(plan))
        times = 0
        while times < confirm and self._run(smallest):
            times += 1
        return Shrunk(smallest, self.runs, times, confirm)

    def _fewer(self, plan: Plan) -> Plan:
        """Without every fault that can be left out."""
        steps, pieces = list(plan.steps), 2
        while len(steps) > 1:
            found = next((each for each in _parts(steps, pieces) if self._tried(_with(plan, each[0]))), None)
            if found is None and pieces >= len(steps):
                break
            steps, pieces = found or (steps, min(len(steps), pieces * 2))
        return _with(plan, steps)

    def _shorter(self, plan: Plan) -> Plan:
        """With every fault as short as halving makes it."""
        for number in [step.number for step in plan.steps]:
            while (shorter := _halved(plan, number)) and self._tried(shorter):
                plan = shorter
        return plan

    def _tried(self, plan: Plan) -> bool:
        key = tuple((step.number, step.hold) for step in plan.steps)
        if key not in self._known:
            self._known[key] = self._run(plan)
        return self._known[key]

    def _run(self, plan: Plan) -> bool:
        for _ in range(ASKED):
            self.runs += 1
            if (found := self._breaks(plan)) is not None:
                return found
        return False


def _parts(steps: Sequence[Step], pieces: int) -> Iterator[tuple[list[Step], int]]:
    """Each piece alone, then everything without it; and in how many pieces that is cut next."""
    edges = [round(len(steps) * number / pieces) for number in range(pieces + 1)]
    cuts = list(pairwise(edges))
    yield from ((list(steps[a:b]), 2) for a, b in cuts)
    if pieces > 2:
        yield from (([*steps[:a], *steps[b:]], pieces - 1) for a, b in cuts)


def _with(plan: Plan, steps: Sequence[Step]) -> Plan:
    return replace(plan, steps=tuple(steps))


def _halved(plan: Plan, number: int) -> Plan | None:
    """The plan with that fault half as long; None if it is short enough."""
    old = next(step for step in plan.steps if step.number == number)
    if old.hold / 2 < SHORTEST:
        return None
    new = replace(old, hold=old.hold / 2)
    return _with(plan, [new if step.number == number else step for step in plan.steps])
