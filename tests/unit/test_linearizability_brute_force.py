"""The checker agrees with brute force on small random histories: in verdict, culprit and possible states."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.linearizability import Action, Model, Operation, Outcome, Verdict, append, judge, register
from lab.linearizability.culprit import STATES
from lab.linearizability.models import accepts, after
from lab.linearizability.operation import Value


def states_after(operations: Sequence[Operation], state: Value) -> Iterator[Value]:
    """The last state of every order that real time allows, one by one: nothing is left out or remembered."""
    if all(operation.outcome is Outcome.UNKNOWN for operation in operations):
        yield state
    for first in operations:
        if not any(other.returned < first.call for other in operations) and accepts(state, first):
            yield from states_after([each for each in operations if each is not first], after(state, first))


def explained(operations: Sequence[Operation], model: Model) -> bool:
    known = [each for each in operations if each.outcome is not Outcome.FAILED]
    return next(states_after(known, model.initial), model) is not model


def until(operations: Sequence[Operation], last: Operation) -> list[Operation]:
    """What was known when the last one was answered; whoever was answered at the same moment was not yet."""
    order = sorted((each for each in operations if each.outcome is Outcome.OK), key=lambda each: each.answer)
    known = order[: order.index(last) + 1]
    return [
        each if each in known or each.outcome is not Outcome.OK else replace(each, outcome=Outcome.UNKNOWN)
        for each in operations
        if each.call <= last.answer
    ]


@st.composite
def histories(
    draw: st.DrawFn, most: int, actions: Sequence[Action], values: Sequence[Value]
) -> list[Operation]:
    operations = []
    for process in range(draw(st.integers(1, most))):
        call, lasts = draw(st.integers(0, 12)), draw(st.integers(0, 6))
        outcome = draw(st.sampled_from([Outcome.OK] * 6 + [Outcome.UNKNOWN] * 3 + [Outcome.FAILED]))
        action = draw(st.sampled_from(actions))
        value, old = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        if action is Action.APPEND:
            value = draw(st.sampled_from(["a", "b", "ab"]))
        expected = old if action is Action.CAS else None
        operations.append(Operation(action, value, call, call + lasts, outcome, expected, process=process))
    return operations


@st.composite
def nearly_right(draw: st.DrawFn, most: int, actions: Sequence[Action], model: Model) -> list[Operation]:
    """What clients of one true object saw, and now and then one answer that is another's."""
    state, operations = model.initial, []
    for at in range(draw(st.integers(2, most))):
        action = draw(st.sampled_from(actions))
        fresh = (
            draw(st.sampled_from([at, at, 1])) if model.name == "register" else draw(st.sampled_from("abc"))
        )
        operation = Operation(action, fresh, 0, expected=state if action is Action.CAS else None)
        if action is Action.READ:
            operation = replace(operation, value=state)
        call, answer = 4 * at - draw(st.integers(0, 14)), 4 * at + draw(st.integers(0, 14))
        outcome = draw(st.sampled_from([Outcome.OK] * 4 + [Outcome.UNKNOWN]))
        operations.append(replace(operation, call=call, answer=answer, outcome=outcome, process=at))
        if outcome is Outcome.OK or draw(st.booleans()):
            state = after(state, operation)
    if draw(st.booleans()):
        one, other = (draw(st.integers(0, len(operations) - 1)) for _ in range(2))
        if operations[one].action is Action.READ:
            operations[one] = replace(operations[one], value=operations[other].value)
    return operations


REGISTERS = histories(8, [Action.READ, Action.READ, Action.WRITE, Action.CAS], [None, 1, 2, 3])
STRINGS = histories(6, [Action.READ, Action.READ, Action.APPEND], ["", "a", "b", "ab", "ba", "aab", "aba"])
OVERWRITTEN = histories(
    6, [Action.READ, Action.READ, Action.APPEND, Action.WRITE], ["", "a", "b", "ab", "ba"]
)


def compare(operations: list[Operation], model: Model) -> None:
    found = judge(operations, model)
    (key,) = found.keys
    assert key.verdict is (Verdict.HELD if explained(operations, model) else Verdict.BROKEN)
    if key.culprit is None:
        return
    guilty = key.culprit.operation
    seen = until(operations, guilty)
    assert key.culprit.first
    assert not explained(seen, model)
    earlier = [each for each in seen if each.outcome is Outcome.OK and each is not guilty]
    if earlier:
        assert explained(until(operations, max(earlier, key=lambda each: each.answer)), model)
    told = set(key.culprit.possible)
    possible = {
        value for value in candidates(operations, model) if explained(answered_by(seen, guilty, value), model)
    }
    assert told == possible if key.culprit.all_told else told < possible or len(told) == STATES


def answered_by(operations: list[Operation], guilty: Operation, value: Value) -> list[Operation]:
    instead = replace(guilty, action=Action.READ, value=value, expected=None)
    return [instead if each is guilty else each for each in operations]


def candidates(operations: list[Operation], model: Model) -> set[Value]:
    if model.name == "register":
        return {model.initial, *(each.value for each in operations)}
    changes = [each for each in operations if each.changes and each.outcome is not Outcome.FAILED]
    found: set[Value] = {model.initial}
    grow(changes, model.initial, found)
    return found


def grow(changes: list[Operation], state: Value, found: set[Value]) -> None:
    """Every string that some of the changes make in some order."""
    for each in changes:
        longer = after(state, each)
        found.add(longer)
        grow([other for other in changes if other is not each], longer, found)


@settings(max_examples=400, deadline=None)
@given(REGISTERS, st.sampled_from([None, 1]))
def test_registers_are_judged_as_by_brute_force(operations: list[Operation], initial: Value) -> None:
    compare(operations, register(initial))


@settings(max_examples=250, deadline=None)
@given(nearly_right(8, [Action.READ, Action.READ, Action.WRITE, Action.CAS], register()))
def test_registers_that_are_nearly_right_are_judged_as_by_brute_force(operations: list[Operation]) -> None:
    compare(operations, register())


@settings(max_examples=250, deadline=None)
@given(st.one_of(STRINGS, OVERWRITTEN))
def test_strings_are_judged_as_by_brute_force(operations: list[Operation]) -> None:
    compare(operations, append())


@settings(max_examples=250, deadline=None)
@given(nearly_right(7, [Action.READ, Action.READ, Action.APPEND, Action.APPEND, Action.WRITE], append()))
def test_strings_that_are_nearly_right_are_judged_as_by_brute_force(operations: list[Operation]) -> None:
    compare(operations, append())


@pytest.mark.parametrize("initial", [None, 7])
def test_the_brute_force_itself_knows_right_from_wrong(initial: Value) -> None:
    write = Operation(Action.WRITE, 1, 0, 1)
    model = register(initial)
    assert explained([write, Operation(Action.READ, 1, 2, 3)], model)
    assert not explained([write, Operation(Action.READ, initial, 2, 3)], model)
    assert explained([write, Operation(Action.READ, initial, 1, 3)], model)
