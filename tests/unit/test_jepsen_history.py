"""What Jepsen's events mean, and which of them are refused."""

import pytest

from lab.errors import ConfigError
from lab.jepsen import load
from lab.linearizability import Action, Outcome, Word


def lines(*events: str) -> str:
    return "\n".join(f"{{{event}}}" for event in events)


INVOKE = ":process 0 :type :invoke :f :write :value 1"


def test_events_become_operations_with_their_lines_and_order() -> None:
    history = load(
        lines(
            INVOKE,
            ":process 1 :type :invoke :f :read",
            ":process :nemesis :type :info :f :kill",
            ":process 1 :type :ok :f :read :value 1",
            ":process 0 :type :ok :f :write :value 1",
        ),
        "x",
        "register",
    )
    write, read = history.operations
    assert (write.action, write.call, write.answer, write.asked_on, write.line) == (Action.WRITE, 1, 5, 1, 5)
    assert (read.action, read.value, read.call, read.answer, read.process) == (Action.READ, 1, 2, 4, 1)
    assert (history.events, history.others, history.keyed) == (5, 1, False)


def test_info_and_an_open_end_are_unknown_and_fail_is_not_done() -> None:
    history = load(
        lines(
            INVOKE,
            ":process 0 :type :info :f :write :value 1 :error :timeout",
            ":process 1 :type :invoke :f :cas :value [1 2]",
            ":process 2 :type :invoke :f :read",
            ':process 2 :type :fail :f :read :value nil :error [:x #{1} #object[a.B 0x1f "c"]]',
        ),
        "x",
        "register",
    )
    assert [each.outcome for each in history.operations] == ["unknown", "unknown", "failed"]
    assert (history.operations[1].expected, history.operations[1].value) == (1, 2)
    assert history.count(Outcome.UNKNOWN) == 2


def test_keys_are_recognised_by_their_shape() -> None:
    history = load(
        lines(
            ":process 0 :type :invoke :f :read :value [:k nil]",
            ":process 0 :type :ok :f :read :value #jepsen.independent.Tuple [:k 3]",
            ":process 0 :type :invoke :f :cas :value [9 [3 4]]",
        ),
        "x",
        "register",
    )
    assert [each.key for each in history.operations] == [Word(":k"), 9]
    assert (history.operations[0].value, history.operations[1].expected) == (3, 3)
    assert history.keyed


def test_numbers_names_and_truth_are_not_mixed_up() -> None:
    values = ["1", "1.0", "true", '"1"', ":1"]
    events = [f":process {at} :type :invoke :f :write :value {value}" for at, value in enumerate(values)]
    assert len({each.value for each in load(lines(*events), "x", "register").operations}) == len(values)


def test_a_missing_string_reads_as_an_empty_one() -> None:
    events = ":process 0 :type :invoke :f :read", ":process 0 :type :ok :f :read :value nil"
    assert load(lines(*events), "x", "append").operations[0].value == ""


@pytest.mark.parametrize(
    ("line", "says", "events"),
    [
        (2, "process 0 is still at work on line 1", [INVOKE, INVOKE]),
        (2, "nothing under way", [INVOKE, ":process 1 :type :ok :f :write"]),
        (1, "nothing under way", [":process 1 :type :info :f :write"]),
        (3, "dead since the :info on line 2", [INVOKE, ":process 0 :type :info :f :write", INVOKE]),
        (3, "nothing under way", [INVOKE, *[":process 0 :type :info :f :write"] * 2]),
        (2, ":read ends what began as :write on line 1", [INVOKE, ":process 0 :type :ok :f :read"]),
        (2, "is not what line 1 asked for", [INVOKE, ":process 0 :type :ok :f :write :value 2"]),
        (1, "`:type :begin` is none of", [":process 0 :type :begin :f :read"]),
        (1, '`:type "ok"` is none of', [':process 0 :type "ok" :f :read']),
        (1, "neither a number nor a name", [':process "a" :type :ok :f :read']),
        (1, "must be a name such as :read", [":process 0 :type :invoke :f 3"]),
        (1, "an event without :f", [":process 0 :type :invoke"]),
        (1, "must be [old new]", [":process 0 :type :invoke :f :cas :value 3"]),
        (1, "only numbers, text, nil and names", [":process 0 :type :invoke :f :write :value [1 [2 3]]"]),
        (1, "only numbers, text, nil and names", [":process 0 :type :invoke :f :write :value {:a 1}"]),
        (2, "has a key, unlike", [INVOKE, ":process 1 :type :invoke :f :read :value [1 nil]"]),
        (
            2,
            "has no key, unlike",
            [":process 0 :type :invoke :f :read :value [1 nil]", INVOKE.replace("0", "1")],
        ),
        (
            1,
            "`:f :add` is not known to the model register (:read, :write, :cas)",
            [":process 0 :type :invoke :f :add"],
        ),
        (1, "Elle does", [":process 0 :type :invoke :f :txn :value []"]),
        (1, "Elle does", [":type :ok :f :txn :value [[:r :x [1]]]"]),
        (1, "no model of locks", [":process 0 :type :invoke :f :release"]),
    ],
)
def test_what_cannot_be_judged_is_refused_with_its_line(line: int, says: str, events: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        load(lines(*events), "x", "register")
    assert f"line {line}: " in str(refused.value)
    assert says in str(refused.value)


def test_an_answer_for_another_key_is_refused() -> None:
    events = ":process 0 :type :invoke :f :read :value [1 nil]", ":process 0 :type :ok :f :read :value [2 3]"
    with pytest.raises(ConfigError, match="line 2: an answer for key 2, and line 1 asked for 1"):
        load(lines(*events), "x", "register")
