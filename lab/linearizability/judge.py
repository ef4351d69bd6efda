"""The judgement of a history: each key by itself, for what is linearizable by keys is linearizable."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from lab.linearizability.course import course_of
from lab.linearizability.culprit import Culprit, culprit, decide
from lab.linearizability.models import Model
from lab.linearizability.operation import Operation, Outcome
from lab.linearizability.verdict import Verdict, worst

BUDGET = 1_000_000  # steps for one search; about a second


@dataclass(frozen=True, slots=True)
class KeyJudgement:
    """What is known of one key, and after how many steps."""

    key: Hashable
    verdict: Verdict
    steps: int
    culprit: Culprit | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of all keys, in the order in which they were first used.

    `usable` counts the operations that were answered.  Where there is none the history proves nothing: it is
    unknown, whatever its keys say.
    """

    keys: tuple[KeyJudgement, ...]
    usable: int

    @property
    def verdict(self) -> Verdict:
        """Of all together: broken beats unknown beats held."""
        return worst(each.verdict for each in self.keys) if self.usable else Verdict.UNKNOWN

    @property
    def broken(self) -> tuple[KeyJudgement, ...]:
        """Those that no order explains."""
        return tuple(each for each in self.keys if each.verdict is Verdict.BROKEN)

    @property
    def undecided(self) -> tuple[KeyJudgement, ...]:
        """Those for which the budget did not suffice."""
        return tuple(each for each in self.keys if each.verdict is Verdict.UNKNOWN)


def judge(operations: Iterable[Operation], model: Model, *, budget: int = BUDGET) -> Judgement:
    """Judge a history against a model.

    Raises `LabError` for an operation the model does not know.
    """
    by_key: dict[Hashable, list[Operation]] = {}
    usable = 0
    for operation in operations:
        model.check(operation)
        by_key.setdefault(operation.key, []).append(operation)
        usable += operation.outcome is Outcome.OK
    return Judgement(tuple(_judged(key, of_key, model, budget) for key, of_key in by_key.items()), usable)


def _judged(key: Hashable, operations: list[Operation], model: Model, budget: int) -> KeyJudgement:
    course = course_of(operations, model)
    found = decide(course, budget)
    who = culprit(course, budget) if found.verdict is Verdict.BROKEN else None
    return KeyJudgement(key, found.verdict, found.steps, who)
