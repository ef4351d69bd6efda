"""Of a broken key: the first operation that no order explains, and what its answer could have been."""

from bisect import bisect_left
from dataclasses import dataclass, replace

from lab.linearizability.course import Course, Guess
from lab.linearizability.operation import Action, Operation, Value
from lab.linearizability.quick import impossible
from lab.linearizability.search import Explained, explain
from lab.linearizability.verdict import Verdict

STATES = 8  # told of at most


@dataclass(frozen=True, slots=True)
class Culprit:
    """The operation with whose answer the history stopped being explainable.

    `possible` are the states that it could have found instead; `all_told` if there are no others. `first`
    is false where the budget did not suffice to prove that everything up to the answer before can be
    explained.
    """

    operation: Operation
    possible: tuple[Value, ...]
    all_told: bool
    first: bool


def decide(course: Course, budget: int) -> Explained:
    """The verdict on a course: without a search if there is no need of one."""
    if impossible(course) is not None:
        return Explained(Verdict.BROKEN, 0)
    return explain(course, budget)


def culprit(course: Course, budget: int) -> Culprit:
    """The culprit of a broken course; `budget` is for each of the searches it takes."""
    ranks = course.observers()
    last = impossible(course)
    high = len(ranks) - 1 if last is None else bisect_left(ranks, last)
    low, proven = -1, True  # up to ranks[low] it can be explained, up to ranks[high] it cannot
    middle = high - 1  # most often the one before is good, as what was seen quickly is the first
    while high - low > 1:
        verdict = decide(course.until(ranks[middle]), budget).verdict
        if verdict is Verdict.BROKEN:
            high = middle
        else:
            low, proven = middle, proven and verdict is Verdict.HELD
        middle = (low + high) // 2
    possible, all_told = _possible(course, ranks[high], budget)
    return Culprit(course.answered[ranks[high]], possible, all_told, proven)


def _possible(course: Course, rank: int, budget: int) -> tuple[tuple[Value, ...], bool]:
    """The states that can be found at that place, one search each, until there is no other."""
    until = course.until(rank)
    asked = replace(until.answered[rank], action=Action.READ, expected=None)
    answered = (*until.answered[:rank], asked)
    found: list[Value] = []
    while len(found) < STATES:
        guess = Guess(rank, frozenset(found))
        explained = decide(Course(course.model, answered, until.unanswered, guess), budget)
        if explained.verdict is not Verdict.HELD:
            return tuple(found), explained.verdict is Verdict.BROKEN
        found.append(explained.guessed)
    return tuple(found), False
