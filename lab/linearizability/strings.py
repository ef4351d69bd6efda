"""What the search need not try where the state is a string, and why leaving it out changes no verdict.

*An unanswered operation is tried only where its result begins something still to be read.*  Else nobody
sees it before it is overwritten, and it need not have happened.

*What is still to be read must still be possible*: the string is its beginning, or a write is left that
would be. A string that is only appended to must therefore at all times be the beginning of everything still
to be read.

Where there are writes, much is overwritten unseen:

*All lost strings are one.*  A string that begins nothing still to be read stays unreadable until it is
replaced.

*What nobody will see is done at once.*  A change is blind if its text is part of nothing still to be read
(a write: begins nothing).  Whenever it is done the string is lost, so a write must come before the next
read; the string can as well be lost already.  So a blind one that could come next is taken where the string
is lost, and before any write.

*What must be seen is not wasted.*  If a text still to be read cannot be put together without an operation,
and the operation is done, then the string must be the beginning of that text.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lab.linearizability.course import Course
from lab.linearizability.models import after
from lab.linearizability.operation import Action, Operation, Value
from lab.linearizability.tactics import Step, Tactics, first_of_each

LOST = None  # the state of every string that nobody can read any more


def only_grows(course: Course) -> bool:
    """Whether nothing is ever replaced."""
    return not any(each.action is Action.WRITE for each in (*course.answered, *course.unanswered))


class GrowingTactics(Tactics):
    """A string that is only appended to."""

    def __init__(self, course: Course) -> None:
        super().__init__(course)
        reads = [rank for rank in course.by_call if self._is_read(rank)]
        self.calls = [course.answered[rank].call for rank in reads]
        self.shortest: list[str | None] = [None] * (len(reads) + 1)  # of the reads from there on
        for place in range(len(reads) - 1, -1, -1):
            text, later = str(course.answered[reads[place]].value), self.shortest[place + 1]
            self.shortest[place] = text if later is None or len(text) < len(later) else later

    def _is_read(self, rank: int) -> bool:
        return rank != self.guess and self.course.answered[rank].action is Action.READ

    def steps(self, state: Value, front: int, near: Sequence[int], used: int) -> list[Step]:  # noqa: D102
        answered, end = self.course.answered, self.course.answered[front].answer
        to_read = [str(answered[rank].value) for rank in near if self._is_read(rank)]
        if (later := self.shortest[bisect_right(self.calls, end)]) is not None:
            to_read.append(later)
        ranks = sorted(first_of_each(self.course, near).values())
        found = [(rank, False, after(state, answered[rank])) for rank in ranks]
        for effect in self.course.by_effect:
            if (index := self._unused(effect, end, used)) is not None:
                found.append((index, True, after(state, self.course.unanswered[index])))
        return [step for step in found if all(text.startswith(str(step[2])) for text in to_read)]


class OverwrittenTactics(Tactics):
    """A string that is also replaced.

    Sets of texts and of operations are bits of whole numbers: texts in the order of `texts`, operations by
    rank, the unanswered ones behind them.
    """

    def __init__(self, course: Course) -> None:
        super().__init__(course)
        self.operations = [*course.answered, *course.unanswered]
        reads = [
            str(each.value)
            for rank, each in enumerate(course.answered)
            if rank != self.guess and each.action is Action.READ
        ]
        self.texts = list(dict.fromkeys(reads))
        self.number = {text: number for number, text in enumerate(self.texts)}
        counted = Counter(reads)
        self.times = [counted[text] for text in self.texts]
        self.to_read = (1 << len(self.texts)) - 1
        self.done = 0
        self.begun: dict[str, int] = {}
        self.sees = [self._seeing(operation) for operation in self.operations]
        self.bases = [self._bases(number) for number in range(len(self.texts))]
        self.needs = list(self._needs())

    def _seeing(self, operation: Operation) -> int:
        """The texts that could show the operation."""
        if not operation.changes:
            return 0
        value = str(operation.value)
        if operation.action is Action.WRITE:
            return self._begun_by(value)
        return sum(1 << number for number, text in enumerate(self.texts) if value in text)

    def _begun_by(self, value: str) -> int:
        if value not in self.begun:
            self.begun[value] = sum(
                1 << number for number, text in enumerate(self.texts) if text.startswith(value)
            )
        return self.begun[value]

    def _bases(self, number: int) -> int:
        """The writes that a text could begin with."""
        return sum(
            1 << bit
            for bit, operation in enumerate(self.operations)
            if operation.action is Action.WRITE and self.sees[bit] >> number & 1
        )

    def _needs(self) -> Iterator[int]:
        """For each text the operations without which it cannot be put together."""
        who: dict[str, list[int]] = defaultdict(list)
        for bit, operation in enumerate(self.operations):
            if operation.changes and operation.value:
                who[str(operation.value)].append(bit)
        for number, text in enumerate(self.texts):
            parts = [part for part, bits in who.items() if any(self.sees[bit] >> number & 1 for bit in bits)]
            alone = _indispensable(text, parts, str(self.course.model.initial))
            yield sum(1 << who[part][0] for part in alone if len(who[part]) == 1)

    def same_as(self, state: Value) -> Value:  # noqa: D102
        if self.guess >= 0 or state is LOST or self._begun_by(str(state)) & self.to_read:
            return state
        return LOST

    def took(self, index: int, is_open: bool) -> None:  # noqa: D102
        self._count(index, is_open, -1)

    def gave_back(self, index: int, is_open: bool) -> None:  # noqa: D102
        self._count(index, is_open, 1)

    def _count(self, index: int, is_open: bool, by: int) -> None:
        operation = self.operations[len(self.course.answered) + index if is_open else index]
        if operation.changes:
            self.done ^= 1 << (len(self.course.answered) + index if is_open else index)
        elif index != self.guess:
            number = self.number[str(operation.value)]
            self.times[number] += by
            if self.times[number] == (0 if by < 0 else 1):
                self.to_read ^= 1 << number

    def steps(self, state: Value, front: int, near: Sequence[int], used: int) -> list[Step]:  # noqa: D102
        if not self._is_possible(state, 0):
            return []
        ranks = sorted(first_of_each(self.course, near).values())
        blind = [] if self.guess >= 0 else [rank for rank in ranks if not self.sees[rank] & self.to_read]
        if blind and state is LOST:
            return [(blind[0], False, LOST)]
        found: list[Step] = []
        for rank in ranks:
            operation = self.course.answered[rank]
            if blind and (operation.action is Action.WRITE or rank in blind):
                continue
            found.append((rank, False, self._then(state, operation)))
        found += [(rank, False, LOST) for rank in blind[:1]]
        end = self.course.answered[front].answer
        for effect in self.course.by_effect:
            index = self._unused(effect, end, used)
            if index is None:
                continue
            then = self._then(state, self.course.unanswered[index])
            if then is not LOST and (self.guess >= 0 or self._begun_by(str(then)) & self.to_read):
                found.append((index, True, then))
        lost = len(self.course.answered)
        return [
            step
            for step in found
            if self._is_possible(step[2], 1 << (step[0] + lost if step[1] else step[0]))
        ]

    @staticmethod
    def _then(state: Value, operation: Operation) -> Value:
        if state is LOST and operation.action is Action.APPEND:
            return LOST
        return after(state, operation)

    def _is_possible(self, state: Value, also: int) -> bool:
        """Whether all that is still to be read can still come about, once `also` is done."""
        done = self.done | also
        rest = self.to_read if state is LOST else self.to_read & ~self._begun_by(str(state))
        while rest:
            number = (rest & -rest).bit_length() - 1
            if self.needs[number] & done or not self.bases[number] & ~done:
                return False
            rest &= rest - 1
        return True


def _indispensable(text: str, parts: Sequence[str], initial: str) -> set[str]:
    """Of the parts, those that are in the text however it is put together.

    A place of the text that only one part can cover shows that part.  Every part may stand anywhere, which
    allows more than the model does, and so never calls one indispensable that is not.
    """
    covers = [0] * (len(text) + 1)
    placed: list[tuple[str, int]] = []
    for part in parts:
        at = text.find(part)
        while at >= 0:
            placed.append((part, at))
            covers[at] += 1
            covers[at + len(part)] -= 1
            at = text.find(part, at + 1)
    if initial and text.startswith(initial):
        covers[0] += 1
        covers[len(initial)] -= 1
    alone: list[int] = [0]  # up to each place, how many are covered once
    depth = 0
    for change in covers[:-1]:
        depth += change
        alone.append(alone[-1] + (depth == 1))
    return {part for part, at in placed if alone[at + len(part)] > alone[at]}
