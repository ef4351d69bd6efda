"""From records to a verdict and a status, without a lab; what is stored is judged as it was."""

from pathlib import Path
from typing import Any

import pytest
from stored_runs import TEXT, stored

from lab.errors import ConfigError
from lab.history import Recorder, read
from lab.invariants.finding import Verdict
from lab.plan import load_topology
from lab.scenario.judging import Judgement, Status, judged, linearizable, records_of
from lab.scenario.known import Known
from lab.scenario.loading import remembered


def operation(process: int, f: str, invoked: int, returned: int, **more: Any) -> dict[str, Any]:
    told = {
        "process": process,
        "f": f,
        "key": "/x/r-1",
        "outcome": "ok",
        "invoked": invoked,
        "returned": returned,
    }
    return {**told, "kind": "operation", **more}


@pytest.mark.parametrize(
    ("verdict", "invalid", "status"),
    [
        (Verdict.HELD, (), Status.HELD),
        (Verdict.HELD, ("a prober was late",), Status.UNKNOWN),
        (Verdict.UNKNOWN, (), Status.UNKNOWN),
        (Verdict.BROKEN, (), Status.BROKEN),
        (Verdict.BROKEN, ("a prober was late",), Status.BROKEN),
    ],
)
def test_broken_counts_even_where_the_run_proves_nothing_and_nothing_else_is_a_pass(
    verdict: Verdict, invalid: tuple[str, ...], status: Status
) -> None:
    assert Judgement("x", (), verdict, (), invalid).status is status


def test_a_stale_read_is_found_and_named() -> None:
    told = [
        operation(1, "write", 0, 10, value="1"),
        operation(1, "write", 20, 30, value="2"),
        operation(2, "read", 40, 50, value="1"),
    ]
    assert linearizable(told) == {"r-1": {"verdict": "broken", "culprit": 'read "1"'}}
    told[2]["value"] = "2"
    assert linearizable(told) == {"r-1": {"verdict": "held"}}


def test_a_write_of_unknown_outcome_may_have_been_done_or_not() -> None:
    for seen in ("1", None):
        told = [
            operation(1, "write", 0, 10, value="1", outcome="unknown"),
            operation(2, "read", 40, 50, value=seen),
        ]
        assert linearizable(told)["r-1"]["verdict"] == "held"


@pytest.mark.parametrize(("failing", "verdict"), [(0, Verdict.HELD), (5, Verdict.BROKEN)])
def test_a_stored_run_is_judged_by_its_own_scenario(tmp_path: Path, failing: int, verdict: Verdict) -> None:
    records = records_of(stored(tmp_path, failing))
    scenario = remembered(TEXT, "made.yaml", Known(load_topology()))
    findings = {each.invariant: each for each in judged(records, scenario).findings}
    found = findings["availability of api during fault"]
    assert (found.verdict, found.value) == (verdict, (100 - failing) / 100)


def test_what_holds_no_run_is_bad_input(tmp_path: Path) -> None:
    Recorder(tmp_path / "records.jsonl")
    for path, why in ((tmp_path, "holds no run of a scenario"), (tmp_path / "nothing", "cannot be read")):
        with pytest.raises(ConfigError, match=why):
            records_of(path)
    assert [each["kind"] for each in read(tmp_path / "records.jsonl")] == ["run"]


def test_clients_that_nobody_answered_have_proved_nothing() -> None:
    told = [operation(1, "write", n * 10, n * 10 + 5, value=str(n), outcome="failed") for n in range(5)]
    assert linearizable(told) == {}


@pytest.mark.parametrize(("steps", "told"), [([2], "0 of 1"), ([1, 2], "0 of 2"), (None, "0 of 2"), ([], "")])
def test_a_plan_with_fewer_faults_than_its_scenario_is_judged_by_its_own(
    tmp_path: Path, steps: list[int] | None, told: str
) -> None:
    """As one that was made smaller; runs of before have no list and are judged by the scenario's."""
    fault = "  - {fault: move-leader, on: 'etcd:leader', at: 1s}\n"
    text = TEXT.replace("faults: []\n", f"faults:\n{fault}{fault}")
    scenario = remembered(text, "made.yaml", Known(load_topology()))
    records = records_of(stored(tmp_path, 0))
    if steps is not None:
        records = [{**each, "steps": steps} if each["kind"] == "scenario" else each for each in records]
    undone = [reason for reason in judged(records, scenario).invalid if "planned faults" in reason]
    assert undone == ([f"{told} planned faults were done"] if told else [])


@pytest.mark.parametrize("told", [{}, {"looked": 19.5, "still": "no", "seen": "m1: etcd is active"}])
def test_a_run_of_before_is_judged_by_what_it_has_of_its_faults(tmp_path: Path, told: dict[str, Any]) -> None:
    """Nobody asked then whether a fault was still in force; where somebody did, that counts."""
    recorder = Recorder(stored(tmp_path, 0) / "records.jsonl")
    times = {"begun": 10.0, "in_force": 10.2, "heal_begun": 19.6, "healed": 19.9}
    recorder.write(
        "injection",
        number=1,
        fault="stop",
        asked="etcd:leader",
        machines=["m1"],
        evidence="x",
        **times,
        **told,
    )
    text = TEXT.replace("[]", "[{fault: stop, unit: etcd, on: 'etcd:leader', for: 9s}]")
    found = judged(records_of(tmp_path), remembered(text, "made.yaml", Known(load_topology(), anywhere=True)))
    own = [each for each in found.findings if each.invariant.startswith("availability")]
    assert [each.verdict for each in own] == [Verdict.HELD]
    assert [reason.startswith("stop of etcd:leader: no longer in force") for reason in found.invalid] == (
        [True] if told else []
    )
    assert not told or found.invalid[0].endswith("m1: etcd is active")
