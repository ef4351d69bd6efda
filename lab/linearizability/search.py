"""The search for an order that explains a key's history, after Wing and Gong, with Lowe's cache.

Operations that were answered stand in a linked list in order of their calls; one that is put in its place
is lifted out, and put back when the search returns.  A configuration is (how many answers are done without
a gap, a bit for each that is done beyond, a bit for each unanswered one that is done, the state): whoever
meets one again has been there.  Every operation looked at costs a step; out of steps is `UNKNOWN`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from lab.linearizability.course import Course
from lab.linearizability.models import REGISTER, accepts
from lab.linearizability.operation import Action, Value
from lab.linearizability.strings import GrowingTactics, OverwrittenTactics, only_grows
from lab.linearizability.tactics import RegisterTactics, Step, Tactics
from lab.linearizability.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Explained:
    """How a search ended, after how many steps, and what it took for the guess if there was one."""

    verdict: Verdict
    steps: int
    guessed: Value = None


@dataclass(slots=True)
class _Frame:
    """A configuration on the way, and what is still to be tried from it."""

    front: int
    done: int
    used: int
    state: Value
    left: int  # answers that say something about the state and are not explained yet
    reads: list[int]  # that were taken on arrival
    steps: Iterator[Step]
    tried: tuple[int, bool] | None = None


def tactics_for(course: Course) -> Tactics:
    """The tactics for a course."""
    if course.model.name == REGISTER:
        return RegisterTactics(course)
    return GrowingTactics(course) if only_grows(course) else OverwrittenTactics(course)


@dataclass
class Search:
    """One search over one course; `run` once."""

    course: Course
    budget: int
    steps: int = 0
    _frames: list[_Frame] = field(default_factory=list)

    def __post_init__(self) -> None:
        answered = self.course.answered
        self._tactics = tactics_for(self.course)
        self._calls = [operation.call for operation in answered]
        self._ends = [operation.answer for operation in answered]
        self._reads = [operation.action is Action.READ for operation in answered]
        self._next = [0] * (len(answered) + 1)
        self._previous = [0] * (len(answered) + 1)
        self._guessed: Value = None
        before = self._head = len(answered)
        for rank in (*self.course.by_call, self._head):
            self._next[before], self._previous[rank] = rank, before
            before = rank
        guess = self.course.guess
        self._guess = -1 if guess is None else guess.rank
        self._found = frozenset() if guess is None else guess.found

    def run(self) -> Explained:
        """Search until an order is found, none is left, or the budget is spent."""
        seen: set[tuple[int, int, int, Value]] = set()
        state, left = self.course.model.initial, len(self.course.observers())
        front = done = used = 0
        while True:
            front, done, reads, near = self._arrive(state, front, done)
            left -= len(reads)
            if not left:
                return self._ended(Verdict.HELD)
            if self.steps > self.budget:
                return self._ended(Verdict.UNKNOWN)
            state = self._tactics.same_as(state)
            here = (front, done, used, state)
            new = here not in seen
            seen.add(here)
            steps = self._tactics.steps(state, front, near, used) if new else []
            self._frames.append(_Frame(front, done, used, state, left, reads, iter(steps)))
            step = self._next_step()
            if step is None:
                return self._ended(Verdict.BROKEN)
            frame = self._frames[-1]
            front, done, used, left = frame.front, frame.done, frame.used, frame.left
            index, is_open, state = step
            if is_open:
                used |= 1 << index
            else:
                done |= 1 << (index - front)
                left -= self.course.answered[index].observes
                while done & 1:
                    done >>= 1
                    front += 1

    def _ended(self, verdict: Verdict) -> Explained:
        return Explained(verdict, self.steps, self._guessed)

    def _arrive(self, state: Value, front: int, done: int) -> tuple[int, int, list[int], list[int]]:
        """Take all reads that fit; return how far that goes, those reads, and who else could be next."""
        reads: list[int] = []
        near: list[int] = []
        ends = self._ends
        end = ends[front] if front < self._head else -1
        rank = self._next[self._head]
        while rank != self._head and self._calls[rank] <= end:
            self.steps += 1
            if self._takes(rank, state):
                self._lift(rank)
                reads.append(rank)
                done |= 1 << (rank - front)
                while done & 1:
                    done >>= 1
                    front += 1
                end = ends[front] if front < self._head else -1
            else:
                near.append(rank)
            rank = self._next[rank]  # a lifted one still knows who comes after it
        return front, done, reads, near

    def _takes(self, rank: int, state: Value) -> bool:
        if rank == self._guess:
            if state in self._found:
                return False
            self._guessed = state
            return True
        return self._reads[rank] and accepts(state, self.course.answered[rank])

    def _next_step(self) -> Step | None:
        """Undo until something is left to try, and begin it; nothing is left: None."""
        while self._frames:
            frame = self._frames[-1]
            if frame.tried is not None:
                self._put_back(*frame.tried)
                frame.tried = None
            step = next(frame.steps, None)
            if step is not None:
                self._take(step[0], step[1])
                frame.tried = step[:2]
                return step
            for rank in reversed(frame.reads):
                self._restore(rank)
            self._frames.pop()
        return None

    def _take(self, index: int, is_open: bool) -> None:
        if is_open:
            self._tactics.took(index, True)
        else:
            self._lift(index)

    def _put_back(self, index: int, is_open: bool) -> None:
        if is_open:
            self._tactics.gave_back(index, True)
        else:
            self._restore(index)

    def _lift(self, rank: int) -> None:
        before, behind = self._previous[rank], self._next[rank]
        self._next[before], self._previous[behind] = behind, before
        self._tactics.took(rank, False)

    def _restore(self, rank: int) -> None:
        self._next[self._previous[rank]] = self._previous[self._next[rank]] = rank
        self._tactics.gave_back(rank, False)


def explain(course: Course, budget: int) -> Explained:
    """Whether some order explains the course, within so many steps."""
    return Search(course, budget).run()
