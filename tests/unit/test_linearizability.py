"""The checker on histories written by hand: intervals, outcomes, keys, budget, and long ones."""

import random

import pytest

from lab.errors import LabError
from lab.linearizability import Action, Operation, Outcome, Verdict, append, judge, register, worst
from lab.linearizability.course import course_of
from lab.linearizability.quick import impossible


def write(value: int, call: int, answer: int, key: str = "k") -> Operation:
    return Operation(Action.WRITE, value, call, answer, key=key)


def read(value: int | None, call: int, answer: int, key: str = "k") -> Operation:
    return Operation(Action.READ, value, call, answer, key=key)


def unknown(value: int, call: int) -> Operation:
    return Operation(Action.WRITE, value, call, outcome=Outcome.UNKNOWN, key="k")


def verdict(*operations: Operation) -> Verdict:
    return judge(operations, register()).verdict


def test_broken_beats_unknown_beats_held() -> None:
    assert worst([Verdict.HELD, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert worst([Verdict.UNKNOWN, Verdict.BROKEN, Verdict.HELD]) is Verdict.BROKEN
    assert worst([]) is Verdict.HELD


def test_operations_that_touch_were_at_work_at_once() -> None:
    assert verdict(write(1, 0, 5), read(None, 5, 6)) is Verdict.HELD
    assert verdict(write(1, 0, 5), read(None, 6, 7)) is Verdict.BROKEN


def test_an_unknown_write_may_take_effect_late_or_never() -> None:
    late = read(1, 100, 101), read(2, 102, 103)
    assert verdict(write(1, 0, 1), unknown(2, 2), *late) is Verdict.HELD
    assert verdict(write(1, 0, 1), unknown(2, 2), *late, read(1, 104, 105)) is Verdict.BROKEN
    assert verdict(write(1, 0, 1), unknown(2, 2), read(1, 100, 101)) is Verdict.HELD


def test_a_failed_write_was_never_done_and_a_failed_read_says_nothing() -> None:
    failed = Operation(Action.WRITE, 2, 2, 3, Outcome.FAILED, key="k")
    assert verdict(write(1, 0, 1), failed, read(2, 4, 5)) is Verdict.BROKEN
    assert verdict(write(1, 0, 1), Operation(Action.READ, 9, 2, 3, Outcome.FAILED, key="k")) is Verdict.HELD


def test_keys_are_judged_by_themselves_and_the_broken_one_is_named() -> None:
    found = judge(
        [write(1, 0, 1, "a"), write(2, 2, 3, "b"), read(2, 4, 5, "a"), read(2, 6, 7, "b")], register()
    )
    assert [each.key for each in found.keys] == ["a", "b"]
    assert [each.key for each in found.broken] == ["a"]
    assert found.verdict is Verdict.BROKEN


def test_nothing_answered_is_unknown() -> None:
    assert judge([], register()).verdict is Verdict.UNKNOWN
    assert verdict(unknown(1, 0)) is Verdict.UNKNOWN


def test_a_spent_budget_is_unknown() -> None:
    found = judge([*(write(n % 3, 0, 100) for n in range(9)), *reads(20, 3)], register(), budget=5)
    assert found.verdict is Verdict.UNKNOWN
    assert [each.key for each in found.undecided] == ["k"]


def reads(count: int, values: int) -> list[Operation]:
    return [read(n % values, 2 * n, 2 * n + 1) for n in range(count)]


def test_what_a_model_does_not_know_is_an_error() -> None:
    with pytest.raises(LabError, match="register knows no append"):
        judge([Operation(Action.APPEND, "a", 0, 1)], register())
    with pytest.raises(LabError, match="append holds text"):
        judge([Operation(Action.APPEND, 3, 0, 1)], append())
    with pytest.raises(LabError, match="before it was asked"):
        write(1, 5, 4)


@pytest.mark.parametrize(
    ("operations", "rank"),
    [
        ([write(1, 0, 1), read(7, 2, 3)], 1),
        ([read(1, 0, 1), write(1, 2, 3)], 0),
        ([write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)], 2),
        ([write(1, 0, 1), read(None, 2, 3)], 1),
        ([write(1, 0, 3), write(2, 2, 4), read(1, 5, 6)], None),
        ([unknown(1, 0), write(2, 2, 3), read(1, 4, 5)], None),
    ],
)
def test_lost_and_invented_values_need_no_search(operations: list[Operation], rank: int | None) -> None:
    assert impossible(course_of(operations, register())) == rank


def long_history(count: int, seed: int) -> list[Operation]:
    """One key, ten clients, few values: a true register, with one of twenty outcomes unknown."""
    dice = random.Random(seed)
    state: int | None = None
    operations = []
    for at in range(count):
        call, answer = 10 * at - dice.randint(0, 49), 10 * at + dice.randint(0, 49)
        is_read, value = dice.random() < 0.5, dice.randint(1, 4)
        outcome = Outcome.OK if dice.random() < 0.95 else Outcome.UNKNOWN
        action = Action.READ if is_read else Action.WRITE
        operations.append(Operation(action, state if is_read else value, call, answer, outcome, key="k"))
        if not is_read and (outcome is Outcome.OK or dice.random() < 0.5):
            state = value
    return operations


def test_a_long_history_of_one_key_is_decided() -> None:
    operations = long_history(2000, 1)
    assert judge(operations, register()).verdict is Verdict.HELD
    wrong = read(99, 10 * 1900, 10 * 1900 + 5)
    (key,) = judge([*operations, wrong], register()).broken
    assert key.culprit is not None
    assert key.culprit.operation is wrong
    assert key.culprit.first


def test_strings_that_are_overwritten_unseen_are_decided() -> None:
    """Fifty clients at once, most of whose appends nobody reads: the order of those cannot matter."""
    appends = [Operation(Action.APPEND, f"x {n} y", 0, 100, key="k") for n in range(50)]
    clear = Operation(Action.WRITE, "", 0, 100, key="k")
    seen = [
        Operation(Action.READ, "x 7 y", 101, 102, key="k"),
        Operation(Action.READ, "x 7 yx 7 y", 103, 104, key="k"),
    ]
    assert judge([*appends, clear, seen[0]], append()).verdict is Verdict.HELD
    (key,) = judge([*appends, clear, *seen], append()).broken
    assert key.culprit is not None
    assert key.culprit.operation is seen[1]
