"""Violations of a register that need no search: values from nowhere, and values that were long overwritten.

Both are necessary conditions, so whoever fails one is broken; passing both proves nothing.  O(n log n).

- *Phantom*: an answer saw a value that is not the initial one and that no operation called before that
  answer (failed ones do not count) would have left behind.
- *Stale*: let R be the latest time by which an operation that leaves the value behind must have been done
  (the initial value: before everything; an unanswered one: no such time).  If another change was called after
  R and answered before the observer was called, it lies between every writer of the value and the observer in
  every order, so the value was gone.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from itertools import accumulate

from lab.linearizability.course import Course
from lab.linearizability.models import REGISTER
from lab.linearizability.operation import NEVER, Operation, Value, seen_by


def impossible(course: Course) -> int | None:
    """The rank of the first answer that these conditions rule out, if any."""
    return next(_ruled_out(course), None) if course.model.name == REGISTER else None


def _ruled_out(course: Course) -> Iterator[int]:
    writers = _writers(course)
    ended, latest_call = _ended_changes(course)
    for rank in course.observers():
        if course.guess is not None and rank == course.guess.rank:
            continue
        operation = course.answered[rank]
        done_by = [
            by
            for call, by, who in writers[seen_by(operation)]
            if call <= operation.answer and who is not operation
        ]
        if not done_by:
            yield rank
            continue
        before = bisect_left(ended, operation.call)
        if before and latest_call[before - 1] > max(done_by):
            yield rank


def _writers(course: Course) -> dict[Value, list[tuple[float, float, Operation | None]]]:
    """Who leaves which value behind: called when, done by when."""
    writers: dict[Value, list[tuple[float, float, Operation | None]]] = defaultdict(list)
    writers[course.model.initial].append((-NEVER, -NEVER, None))
    for operation in course.answered:
        if operation.changes:
            writers[operation.value].append((operation.call, operation.answer, operation))
    for operation in course.unanswered:
        writers[operation.value].append((operation.call, NEVER, operation))
    return writers


def _ended_changes(course: Course) -> tuple[list[float], list[float]]:
    """When answered changes ended, in order, and the latest call among those up to each."""
    changes = [operation for operation in course.answered if operation.changes]
    return [each.answer for each in changes], list(accumulate((each.call for each in changes), max))
