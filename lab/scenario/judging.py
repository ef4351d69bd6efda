"""From the records of a run to its verdict; needs no lab, so any stored run can be judged again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any

from lab.errors import ConfigError
from lab.history import History, Recorder, history, read
from lab.invariants.expectation import verdict_of
from lab.invariants.finding import Finding, Verdict
from lab.invariants.validity import reasons
from lab.linearizability import Action, Operation, Outcome, judge, register
from lab.scenario.loading import Scenario
from lab.topology import Profile

CUT_SHORT = "cut-short"  # the fact that says why a run has no end


class Status(IntEnum):
    """What every command that judges ends with; 2 is bad input."""

    HELD = 0
    BROKEN = 1
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one run comes to.  `invalid` has a line for each reason why it proves nothing."""

    scenario: str
    findings: tuple[Finding, ...]
    verdict: Verdict
    why: tuple[str, ...]
    invalid: tuple[str, ...]

    @property
    def status(self) -> Status:
        """Broken counts also where the run is invalid besides; unknown and invalid are no pass."""
        if self.verdict is Verdict.BROKEN:
            return Status.BROKEN
        return Status.HELD if self.verdict is Verdict.HELD and not self.invalid else Status.UNKNOWN

    @property
    def word(self) -> str:
        """The verdict, with the run's invalidity, in a word or two."""
        return f"{self.verdict}, run invalid" if self.invalid else str(self.verdict)


def broken_in(judgement: Judgement) -> frozenset[str]:
    """The invariants that it found broken."""
    return frozenset(each.invariant for each in judgement.findings if each.verdict is Verdict.BROKEN)


def judged(records: Sequence[Mapping[str, Any]], scenario: Scenario) -> Judgement:
    """Judge a run by its records.  Pure.

    Of one that was cut short nothing is known: answers were on their way, and what had to break had not had
    its time.
    """
    seen = told(records)
    findings = tuple(invariant.judge(seen) for invariant in scenario.judged)
    if seen.facts.get(CUT_SHORT):
        findings = tuple(each.unknown("the run was cut short") for each in findings)
    profile = Profile(seen.facts.get("plan", {}).get("profile", Profile.HARDENED))
    verdict, why = verdict_of(findings, scenario.expect.get(profile, ()))
    invalid = tuple(reasons(seen, scenario.judged, _planned(records, scenario)))
    return Judgement(scenario.name, findings, verdict, tuple(why), invalid)


def _planned(records: Sequence[Mapping[str, Any]], scenario: Scenario) -> int:
    """How many faults were to be done: a plan that is done again may have fewer than its scenario."""
    kept = (record.get("steps") for record in records if record["kind"] == "scenario")
    return next((len(steps) for steps in kept if steps is not None), len(scenario.faults))


def told(records: Sequence[Mapping[str, Any]]) -> History:
    """The history of the records, with what the checker says of its registers."""
    seen = history(records)
    operations = [record for record in records if record["kind"] == "operation"]
    return replace(seen, facts={**seen.facts, "linearizable": linearizable(operations)})


def linearizable(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The verdict on each register's history, and the first operation that no order explains.  Pure."""
    found = judge([_operation(record) for record in records], register())
    if not found.usable:  # clients that nobody answered have seen nothing, right or wrong
        return {}
    return {
        str(each.key).rsplit("/", 1)[-1]: {
            "verdict": str(each.verdict),
            **({"culprit": str(each.culprit.operation)} if each.culprit else {}),
        }
        for each in found.keys
    }


def _operation(record: Mapping[str, Any]) -> Operation:
    return Operation(
        Action(record["f"]),
        record.get("value"),
        record["invoked"],
        record["returned"],
        Outcome(record["outcome"]),
        expected=record.get("old"),
        key=record["key"],
        process=record["process"],
    )


def write(recorder: Recorder, judgement: Judgement) -> None:
    """Add the findings to the run's own records."""
    recorder.write_all("finding", [finding.record() for finding in judgement.findings])
    recorder.write(
        "verdict",
        scenario=judgement.scenario,
        verdict=judgement.verdict,
        why=judgement.why,
        invalid=judgement.invalid,
        status=int(judgement.status),
    )


def records_of(folder: Path) -> list[dict[str, Any]]:
    """The records of a stored run; `ConfigError` if there are none that can be read."""
    path = folder / "records.jsonl" if folder.is_dir() else folder
    try:
        found = read(path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(str(path), [f"{path}: cannot be read: {why}"]) from error
    if not any(record.get("kind") == "scenario" for record in found):
        raise ConfigError(str(path), [f"{path}: holds no run of a scenario"])
    return found
