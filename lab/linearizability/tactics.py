"""What the search need not try, for each model, and why leaving it out changes no verdict.

Each rule turns an order that explains the history into another one that does, and that the search still
tries:

*A read that fits is taken at once* (in `search`).  It changes nothing, so taking it earlier harms nobody.

*Equal effects.*  Of operations that could come next and would do the same, only the one that must be done
first is tried: where an order takes another, the two can change places.  Unanswered ones never must.

*An unanswered operation is tried only where its result is needed.*  If in some order no success depends on
what it left behind before that is overwritten, it can be taken out, for it need not have happened.  In a
register the one who needs the result comes directly after it, and therefore could come next already.

*Overwriting a value that is still needed* and that nobody is left to write again leads nowhere (register).

*An answer that must come next* and that nobody is left to make true leads nowhere (register).

The rules for strings are in `strings`.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from lab.linearizability.course import Course, Effect
from lab.linearizability.operation import Action, Value, seen_by

Step = tuple[int, bool, Value]  # rank or index, whether it is an unanswered one, the state afterwards


class Tactics(ABC):
    """Chooses what could come next.  One for each search: it counts along."""

    def __init__(self, course: Course) -> None:
        self.course = course
        self.guess = -1 if course.guess is None else course.guess.rank

    @abstractmethod
    def steps(self, state: Value, front: int, near: Sequence[int], used: int) -> list[Step]:
        """What is worth trying, the most promising first.

        `front` is the rank that must be done next at the latest, `near` are all ranks that could be next,
        but for reads that fit this state; `used` has a bit for each unanswered operation that was done.
        """

    def same_as(self, state: Value) -> Value:
        """One state for all that make no difference any more."""
        return state

    def took(self, index: int, is_open: bool) -> None:  # noqa: B027
        """An operation was put in its place: a rank, or the index of an unanswered one."""

    def gave_back(self, index: int, is_open: bool) -> None:  # noqa: B027
        """It was taken out again."""

    def _unused(self, effect: Effect, end: float, used: int) -> int | None:
        """The first unanswered operation of that effect that is not done yet and could be by then."""
        for index in self.course.by_effect[effect]:
            if self.course.unanswered[index].call > end:
                return None
            if not used >> index & 1:
                return index
        return None


def first_of_each(course: Course, ranks: Iterable[int]) -> dict[Effect, int]:
    """Of the changes among those ranks, the one of each effect that must be done first."""
    found: dict[Effect, int] = {}
    for rank in ranks:
        operation = course.answered[rank]
        if operation.changes and rank < found.get(operation.effect, rank + 1):
            found[operation.effect] = rank
    return found


class RegisterTactics(Tactics):
    """A register.  Counts who is left to need a value and who is left to write it."""

    def __init__(self, course: Course) -> None:
        super().__init__(course)
        self.needing: Counter[Value] = Counter()
        self.writing: Counter[Value] = Counter()
        for rank in range(len(course.answered)):
            self.gave_back(rank, False)
        for index in range(len(course.unanswered)):
            self.gave_back(index, True)

    def same_as(self, state: Value) -> Value:
        """One state for all that make no difference any more."""
        return state

    def took(self, index: int, is_open: bool) -> None:  # noqa: D102
        self._count(index, is_open, -1)

    def gave_back(self, index: int, is_open: bool) -> None:  # noqa: D102
        self._count(index, is_open, 1)

    def _count(self, index: int, is_open: bool, by: int) -> None:
        if is_open:
            self.writing[self.course.unanswered[index].value] += by
        elif index != self.guess:
            operation = self.course.answered[index]
            if operation.changes:
                self.writing[operation.value] += by
            if operation.observes:
                self.needing[seen_by(operation)] += by

    def steps(self, state: Value, front: int, near: Sequence[int], used: int) -> list[Step]:  # noqa: D102
        answered = self.course.answered
        end = answered[front].answer
        next_up = first_of_each(self.course, near)
        wanted: set[Value] = set()
        for rank in near:
            operation = answered[rank]
            if rank == self.guess:
                wanted.update(self.course.by_result)
                continue
            if operation.observes and seen_by(operation) != state:
                wanted.add(seen_by(operation))
        due = answered[front]
        needed = seen_by(due) if due.observes and front != self.guess else state
        if needed != state and not self._can_write(needed, next_up, end, used):
            return []
        open_steps = self._open_steps(state, wanted, end, used)
        ready = [
            (rank, False, answered[rank].value)
            for effect, rank in next_up.items()
            if effect[0] is Action.WRITE or effect[1] == state
        ]
        missed = (step for step in open_steps if self.course.unanswered[step[0]].effect not in next_up)
        found = [step for step in (*ready, *missed) if self._may_overwrite(state, step)]
        found.sort(key=lambda step: (needed != state and step[2] != needed, step[1], step[0]))
        return found

    def _can_write(self, value: Value, next_up: dict[Effect, int], end: float, used: int) -> bool:
        return any(effect[2] == value for effect in next_up) or any(
            self._unused(effect, end, used) is not None for effect in self.course.by_result.get(value, ())
        )

    def _open_steps(self, state: Value, wanted: set[Value], end: float, used: int) -> Iterator[Step]:
        """Unanswered operations whose result somebody near could use, be it through others."""
        by_result = self.course.by_result
        values = [value for value in wanted if value in by_result]
        known = set(values)
        while values:
            value = values.pop()
            for effect in by_result.get(value, ()):
                if effect[0] is Action.CAS and effect[1] != state:
                    if effect[1] not in known and self._unused(effect, end, used) is not None:
                        known.add(effect[1])
                        values.append(effect[1])
                    continue
                if value != state and (index := self._unused(effect, end, used)) is not None:
                    yield index, True, value

    def _may_overwrite(self, state: Value, step: Step) -> bool:
        """Whether nobody needs the present value any more, or somebody can write it again."""
        index, is_open, result = step
        if result == state:
            return True
        needed = self.needing[state]
        operation = self.course.unanswered[index] if is_open else self.course.answered[index]
        if not is_open and operation.action is Action.CAS:
            needed -= 1  # itself, for it needs the state and has it
        return not needed or self.writing[state] > 0
