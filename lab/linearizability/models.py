"""What a register and an appended string do with an operation.  Pure."""

from dataclasses import dataclass

from lab.errors import LabError
from lab.linearizability.operation import Action, Operation, Outcome, Value

REGISTER, APPEND = "register", "append"
_ACTIONS = {
    REGISTER: frozenset({Action.READ, Action.WRITE, Action.CAS}),
    APPEND: frozenset({Action.READ, Action.WRITE, Action.APPEND}),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A kind of object by its name, and what it holds before anything was written."""

    name: str
    initial: Value

    @property
    def actions(self) -> frozenset[Action]:
        """What it can be asked to do."""
        return _ACTIONS[self.name]

    def check(self, operation: Operation) -> None:
        """Raise `LabError` if the operation is none of this model's."""
        if operation.action not in self.actions:
            raise LabError(f"the model {self.name} knows no {operation.action}: {operation}")
        if self.name == APPEND and not isinstance(operation.value, str) and operation.outcome is Outcome.OK:
            raise LabError(f"the model append holds text: {operation}")


def register(initial: Value = None) -> Model:
    """A register: read, write, compare-and-swap."""
    return Model(REGISTER, initial)


def append(initial: str = "") -> Model:
    """A string: read, write (replaces it), append (at its end)."""
    return Model(APPEND, initial)


def accepts(state: Value, operation: Operation) -> bool:
    """Whether the object in that state could have answered so."""
    if operation.action is Action.READ:
        return operation.value == state
    return operation.action is not Action.CAS or operation.expected == state


def after(state: Value, operation: Operation) -> Value:
    """The state once the operation was done, in a state that accepts it."""
    if operation.action is Action.READ:
        return state
    if operation.action is Action.APPEND:
        return f"{state}{operation.value}"
    return operation.value
