"""etcd's revisions as a judge of their own, and that the two judges agree."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.linearizability import Action, Operation, Outcome, Verdict, judge, register
from lab.linearizability.revisions import Revised, check_revisions, verdict_of


def write(value: int, call: int, answer: int, mod: int, version: int) -> Revised:
    return Revised(Operation(Action.WRITE, value, call, answer), mod, mod, version)


def read(value: int | None, call: int, answer: int, revision: int, mod: int, version: int) -> Revised:
    return Revised(Operation(Action.READ, value, call, answer), revision, mod, version)


def rules(*records: Revised) -> set[str]:
    return {each.rule for each in check_revisions(records)}


ONE, TWO = write(1, 0, 1, 5, 1), write(2, 2, 3, 6, 2)


def test_a_true_history_breaks_no_rule() -> None:
    swap = Revised(Operation(Action.CAS, 3, 4, 5, expected=2), 7, 7, 3)
    assert not rules(ONE, TWO, swap, read(3, 6, 7, 9, 7, 3), read(None, 0, 0, 4, 0, 0))


@pytest.mark.parametrize(
    ("rule", "records"),
    [
        ("unique", [ONE, write(2, 0, 3, 5, 2)]),
        ("order", [ONE, write(2, 2, 3, 4, 1)]),
        ("order", [read(None, 0, 1, 5, 0, 0), write(1, 2, 3, 5, 1)]),
        ("version", [ONE, write(2, 2, 3, 6, 3)]),
        ("version", [ONE, write(2, 2, 3, 6, 1)]),
        ("monotone", [ONE, TWO, read(1, 4, 5, 5, 5, 1)]),
        ("monotone", [read(None, 0, 1, 8, 0, 0), read(None, 2, 3, 7, 0, 0)]),
        ("latest", [ONE, TWO, read(1, 4, 5, 6, 5, 1)]),
        ("latest", [ONE, read(None, 2, 3, 5, 0, 0)]),
        ("value", [ONE, read(2, 2, 3, 5, 5, 1)]),
        ("value", [ONE, read(7, 2, 3, 6, 6, 2)]),
        ("value", [read(1, 0, 1, 3, 0, 0)]),
        ("swap", [ONE, Revised(Operation(Action.CAS, 3, 4, 5, expected=2), 6, 6, 2)]),
    ],
)
def test_each_rule_is_noticed(rule: str, records: list[Revised]) -> None:
    assert rule in rules(*records)


def test_a_write_of_unknown_outcome_explains_one_missing_version() -> None:
    unknown = Revised(Operation(Action.WRITE, 9, 0, outcome=Outcome.UNKNOWN))
    late = write(2, 2, 3, 7, 3)
    assert not rules(ONE, unknown, late, read(9, 1, 2, 6, 6, 2))
    assert rules(ONE, unknown, write(2, 2, 3, 8, 4)) == {"version"}
    assert rules(ONE, replace(unknown, operation=replace(unknown.operation, outcome=Outcome.FAILED)), late)


def test_a_history_without_an_answer_proves_nothing() -> None:
    assert verdict_of([]) is Verdict.UNKNOWN
    assert verdict_of([Revised(Operation(Action.WRITE, 9, 0, outcome=Outcome.UNKNOWN))]) is Verdict.UNKNOWN
    assert verdict_of([ONE]) is Verdict.HELD


@st.composite
def recorded(draw: st.DrawFn, changes: list[Action]) -> list[Revised]:
    """What clients of one key saw: etcd as it should be, but for reads that an older state may answer."""
    past = [(1, 0, 0, None)]  # revision of the store, mod_revision and version of the key, value
    records = []
    stale = draw(st.booleans())
    for at in range(draw(st.integers(2, 12))):
        call, answer = 4 * at - draw(st.integers(0, 14)), 4 * at + draw(st.integers(0, 14))
        revision, mod, version, value = past[-1]
        action = draw(st.sampled_from([Action.READ, *changes]))
        outcome = draw(st.sampled_from([Outcome.OK] * 4 + [Outcome.UNKNOWN]))
        if action is Action.READ:
            if stale:
                revision, mod, version, value = draw(st.sampled_from(past[-3:]))
            operation = Operation(action, value, call, answer, outcome)
            records.append(Revised(operation, revision, mod, version))
            continue
        expected = value if action is Action.CAS else None
        operation = Operation(action, at, call, answer, outcome, expected)
        records.append(Revised(operation, revision + 1, revision + 1, version + 1))
        if outcome is Outcome.OK or draw(st.booleans()):
            past.append((revision + 1, revision + 1, version + 1, at))
    return records


@settings(max_examples=400, deadline=None)
@given(recorded([Action.CAS]))
def test_both_judges_agree_where_values_tell_the_order(records: list[Revised]) -> None:
    """Swaps do: each names the value before it.  Of writes at the same time only revisions tell."""
    operations = [record.operation for record in records]
    assert verdict_of(records) is judge(operations, register()).verdict


@settings(max_examples=400, deadline=None)
@given(recorded([Action.WRITE, Action.CAS]))
def test_what_the_revisions_allow_the_search_allows(records: list[Revised]) -> None:
    if verdict_of(records) is Verdict.HELD:
        assert judge([record.operation for record in records], register()).verdict is Verdict.HELD


@settings(max_examples=150, deadline=None)
@given(recorded([Action.WRITE, Action.CAS]), st.data())
def test_an_acknowledged_write_that_was_lost_is_found_by_both(
    records: list[Revised], data: st.DataObject
) -> None:
    """The store forgets its last write, which it acknowledged, and a later reader sees the one before."""
    operations = [record.operation for record in records]
    end = max(operation.answer for operation in operations) + 10
    top = max(record.revision for record in records) + 1
    held, lost = write(1000, end, end + 1, top, 50), write(1001, end + 2, end + 3, top + 1, 51)
    after = read(1000, end + 4, end + 5, top + data.draw(st.integers(0, 1)), top, 50)
    both = [held, lost, after]
    assert verdict_of(both) is Verdict.BROKEN
    assert judge([*operations, *(each.operation for each in both)], register()).verdict is Verdict.BROKEN
