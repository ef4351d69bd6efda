"""Stored runs judged again, by the scenario as it was then; needs no lab."""

from pathlib import Path

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


def _is_of_scenario(folder: Path) -> bool:
    try:
        return bool(records_of(folder))
    except ConfigError:
        return False
