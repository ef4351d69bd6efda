"""The report on a run from its records alone, so that any stored run can have a new one."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.history import Injection, history
from lab.ownership import adopt
from lab.report.document import Document, as_json
from lab.report.facts import Record, beside, mapping
from lab.report.page import write_html
from lab.scenario.facts import AFTER, BEFORE
from lab.scenario.judging import Judgement, told
from lab.scenario.loading import Scenario
from lab.scenario.spent import Spent
from lab.topology import Profile

HTML, JSON = "report.html", "report.json"
_LAB = ("provider", "machines", "kernel", "cores", "load")  # of what is known of the host


def write_run(folder: Path, records: Sequence[Record], scenario: Scenario, judgement: Judgement) -> Document:
    """Write `report.html` and `report.json` beside the records of a run, and return the latter."""
    facts = {
        **facts_of(records, scenario),
        "reasons": judgement.invalid,
        "files": [name for name in beside(folder, HTML) if name != JSON],
    }
    seen = told(records)
    document = as_json(seen, judgement.findings, facts)
    (folder / JSON).write_text(json.dumps(document, indent=1) + "\n", encoding="ascii")
    adopt(folder / JSON)
    write_html(seen, judgement.findings, facts, folder / HTML)
    return document


def facts_of(records: Sequence[Record], scenario: Scenario | None = None) -> dict[str, Any]:
    """What the records of a run say about it beside its history; the scenario tells what must break."""
    of: dict[str, list[Record]] = {}
    for record in records:
        if record["kind"] in _KINDS:
            of.setdefault(record["kind"], []).append(record)
    known = {each["name"]: each["value"] for each in of.get("fact", ())}
    last = {kind: each[-1] for kind, each in of.items()}
    found = {
        **_named(scenario, last.get("scenario", {}), _profile(known)),
        "run": _run(last, known),
        "reasons": last.get("verdict", {}).get("invalid", ()),
        "versions": _part(known, "versions."),
        "settings": _settings(known),
        "logs": list(_logs(mapping(known, "logs"), _injections(records))),
        "probers": {
            each["probe"]: {"priority": each.get("priority"), "cpu": each.get("cpu")}
            for each in of.get("prober", ())
        },
        "notes": [{"at": each["at"], "text": each.get("text", "")} for each in of.get("note", ())],
    }
    return {name: value for name, value in found.items() if value}


_KINDS = {"fact", "run", "scenario", "verdict", "prober", "note"}


def _named(scenario: Scenario | None, told: Record, profile: str) -> dict[str, Any]:
    if scenario is None:
        return {"scenario": told.get("name", "")}
    expected = scenario.expect.get(Profile(profile), ()) if profile else ()
    return {"scenario": scenario.name, "about": scenario.about, "expected": expected}


def _profile(known: Record) -> str:
    return str(mapping(known, "plan").get("profile", ""))


def _run(last: Mapping[str, Record], known: Record) -> dict[str, Any]:
    host = mapping(known, "host")
    told = {
        "began": last.get("run", {}).get("wall"),
        "seed": last.get("scenario", {}).get("seed"),
        "profile": _profile(known),
        **{name: host.get(name) for name in _LAB},
        "time": Spent(dict(spent)).told if (spent := mapping(known, "spent")) else None,
    }
    return {name: value for name, value in told.items() if value not in (None, "")}


def _part(known: Record, prefix: str) -> dict[str, Any]:
    plan = mapping(known, "plan")
    return {name.removeprefix(prefix): value for name, value in plan.items() if name.startswith(prefix)}


def _settings(known: Record) -> dict[str, Any]:
    """The whole plan but its versions, and what the machines run on."""
    rest = {name: value for name, value in mapping(known, "plan").items() if not name.startswith("versions.")}
    return {**rest, **({"host": host} if (host := mapping(known, "host")) else {})}


def _injections(records: Sequence[Record]) -> tuple[Injection, ...]:
    return history([each for each in records if each["kind"] == "injection"]).injections


def _logs(logs: Record, injections: Sequence[Injection]) -> Iterator[dict[str, Any]]:
    """An excerpt for each fault and machine; what lies near no fault is one of none."""
    for machine, lines in logs.items():
        timed = list(_timed(lines))
        near = {each.number: [line for line in timed if _is_near(line[0], each)] for each in injections}
        taken = {line for some in near.values() for line in some}
        rest = [line for line in timed if line not in taken]
        for number, some in (*near.items(), (None, rest)):
            if some:
                yield _excerpt(machine, number, some)


def _timed(lines: Any) -> Iterator[tuple[float, str]]:
    """The lines that have a time; what else a record may hold does not stop a report."""
    for line in lines if isinstance(lines, list | tuple) else ():
        if isinstance(line, list | tuple) and len(line) == 2 and isinstance(line[0], int | float):
            yield float(line[0]), str(line[1])


def _is_near(at: float, injection: Injection) -> bool:
    moments = (injection.begun, injection.heal_begun)
    return any(moment is not None and -BEFORE <= at - moment <= AFTER for moment in moments)


def _excerpt(machine: str, incident: int | None, lines: Sequence[tuple[float, str]]) -> dict[str, Any]:
    return {
        "machine": machine,
        "source": "journal",
        "incident": incident,
        "begin": lines[0][0],
        "end": max(at for at, _ in lines),
        "lines": [f"{at:8.3f}  {said}" for at, said in lines],
    }
