"""Stored runs judged again, by the scenario as it was then; needs no lab."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import ConfigError
from lab.scenario.judging import Judgement, judged, records_of
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, remembered


def rejudged(folder: Path, known: Known) -> tuple[Scenario, Judgement]:
    """The scenario of a stored run and what the run comes to; `ConfigError` if there is none."""
    records = records_of(folder)
    told = next(record for record in records if record["kind"] == "scenario")
    scenario = remembered(told["text"], told["source"], known)
    return scenario, judged(records, scenario)


def judged_below(folder: Path, known: Known) -> list[Judgement]:
    """Every run below a folder, or the folder's own, in the order of their names; invalid ones too."""
    places = sorted(path.parent for path in folder.rglob("records.jsonl"))
    return [rejudged(place, known)[1] for place in places if _is_of_scenario(place)]


HOST = ("provider", "machines", "cores")  # of what a run writes down of it


def plans_below(folder: Path) -> list[dict[str, str]]:
    """What each of these runs was on: its plan's values, the provider and the machines, by name."""
    places = sorted(path.parent for path in folder.rglob("records.jsonl"))
    return [_plan(records_of(place)) for place in places if _is_of_scenario(place)]


def _plan(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    facts = {each["name"]: each["value"] for each in records if each["kind"] == "fact"}
    host = {f"host.{name}": value for name, value in facts.get("host", {}).items() if name in HOST}
    return {name: str(value) for name, value in {**facts.get("plan", {}), **host}.items()}


def _is_of_scenario(folder: Path) -> bool:
    try:
        return bool(records_of(folder))
    except ConfigError:
        return False
