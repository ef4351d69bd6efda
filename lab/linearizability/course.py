"""One key's history, ready to be searched: what was answered in order of the answers, and what never was."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lab.linearizability.models import Model
from lab.linearizability.operation import Action, Operation, Outcome, Value

Effect = tuple[Action, Value, Value]


@dataclass(frozen=True)
class Guess:
    """Stands for an answer we do not know: accepts every state but those already `found`."""

    rank: int
    found: frozenset[Value] = frozenset()


@dataclass
class Course:
    """The operations on one key.  An index into `answered` is called a rank.

    Failed operations are not in it, for they never were done; nor are reads without an answer, for they say
    and change nothing.
    """

    model: Model
    answered: Sequence[Operation]  # by the time of their answers
    unanswered: Sequence[Operation]  # may change the state at any time after their call; by that call
    guess: Guess | None = None
    by_call: list[int] = field(init=False)  # ranks
    by_effect: dict[Effect, list[int]] = field(init=False)  # of the unanswered, by their call
    by_result: dict[Value, list[Effect]] = field(init=False)  # which of those effects leave a value behind

    def __post_init__(self) -> None:
        self.by_call = sorted(range(len(self.answered)), key=lambda rank: self.answered[rank].call)
        grouped: dict[Effect, list[int]] = defaultdict(list)
        for index, operation in enumerate(self.unanswered):
            grouped[operation.effect].append(index)
        self.by_effect = dict(grouped)
        results: dict[Value, list[Effect]] = defaultdict(list)
        for effect in self.by_effect:
            results[effect[2]].append(effect)
        self.by_result = dict(results)

    def observers(self) -> list[int]:
        """Ranks of those whose success says something about the state."""
        return [rank for rank, operation in enumerate(self.answered) if operation.observes]

    def until(self, rank: int, guess: Guess | None = None) -> "Course":
        """What was known when the answer of that rank had come: later answers are still open.

        If no order explains this much, none explains the whole.
        """
        end = self.answered[rank].answer
        open_yet = (operation for operation in self.answered[rank + 1 :] if operation.changes)
        unanswered = [operation for operation in (*self.unanswered, *open_yet) if operation.call <= end]
        unanswered.sort(key=lambda operation: operation.call)
        return Course(self.model, self.answered[: rank + 1], unanswered, guess)


def course_of(operations: Iterable[Operation], model: Model) -> Course:
    """Sort one key's operations out."""
    known = [operation for operation in operations if operation.outcome is not Outcome.FAILED]
    answered = sorted((each for each in known if each.outcome is Outcome.OK), key=lambda each: each.answer)
    open_yet = (each for each in known if each.outcome is Outcome.UNKNOWN and each.changes)
    return Course(model, answered, sorted(open_yet, key=lambda each: each.call))
