"""What a client asked, what it was told, and when: a closed interval on one clock."""

import json
from collections.abc import Hashable
from dataclasses import dataclass
from enum import StrEnum

from lab.errors import LabError

NEVER = float("inf")  # when an operation of unknown outcome returns


class Action(StrEnum):
    """What was asked."""

    READ = "read"
    WRITE = "write"
    CAS = "cas"
    APPEND = "append"


class Outcome(StrEnum):
    """What the client knows: it was done, it was certainly not done, or neither."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Word:
    """A value that is neither number, text nor nil, by its spelling: `:red`, `true`, `1.5`.

    It equals nothing but itself, where Python would hold `True` for 1 and 1.0 for 1.
    """

    text: str

    def __str__(self) -> str:
        return self.text


Value = int | float | str | Word | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of one client on one key.

    `call` is when it was sent and `answer` when its answer was there, in nanoseconds of one monotonic
    clock; both ends belong to the interval, so operations that touch were at work at once.  Without an
    answer (`UNKNOWN`) it may take effect at any time after `call`, or never; `answer` means nothing then.

    `value` is what was read, written or appended, of a compare-and-swap the new value; `expected` is its
    old one. `line` and `asked_on` say where answer and question stand in a file, 0 for nowhere.
    """

    action: Action
    value: Value
    call: int
    answer: int = 0
    outcome: Outcome = Outcome.OK
    expected: Value = None
    key: Hashable = None
    process: Hashable = None
    line: int = 0
    asked_on: int = 0

    def __post_init__(self) -> None:
        if self.outcome is Outcome.OK and self.answer < self.call:
            raise LabError(f"{self} was answered at {self.answer}, before it was asked at {self.call}")

    @property
    def returned(self) -> float:
        """When it was over, for all that is known."""
        return self.answer if self.outcome is Outcome.OK else NEVER

    @property
    def changes(self) -> bool:
        """Whether it may change the state."""
        return self.action is not Action.READ

    @property
    def observes(self) -> bool:
        """Whether its success says something about the state."""
        return self.action in (Action.READ, Action.CAS)

    @property
    def effect(self) -> tuple[Action, Value, Value]:
        """Two operations of the same effect can stand for one another."""
        return self.action, self.expected, self.value

    def __str__(self) -> str:
        if self.action is Action.CAS:
            return f"cas {shown(self.expected)} to {shown(self.value)}"
        return f"{self.action} {shown(self.value)}"


def seen_by(operation: Operation) -> Value:
    """What a read or a compare-and-swap found in a register, if it succeeded."""
    return operation.expected if operation.action is Action.CAS else operation.value


def shown(value: Value) -> str:
    """A value as histories are written: text in quotes, None as nil."""
    if value is None:
        return "nil"
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
    return "".join(each if each.isprintable() else f"\\u{ord(each):04x}" for each in text)
