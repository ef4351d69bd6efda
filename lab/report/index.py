"""The page and the JSON over several runs: each one's verdict, what it turns on, where its report is."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.report.document import SCHEMA, Document
from lab.report.facts import link
from lab.report.page import rendered, write
from lab.report.plain import plain
from lab.report.repeated import gravest, grouped, spread, valid
from lab.report.verdict import GRAVITY


@dataclass(frozen=True, slots=True)
class Entry:
    """A run's report, and where it lies, relative to the index."""

    document: Document
    report: str


def index_json(
    entries: Sequence[Entry], title: str = "", skipped: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """All runs in their order, and for each scenario that ran more than once how its runs differ.  Pure.

    ``skipped`` are scenarios that this machine cannot do, with the reason: they are listed, and no pass.
    """
    groups = grouped([entry.document for entry in entries])
    outcomes = Counter(gravest([run["verdict"] for run in runs]) for runs in groups.values())
    found: dict[str, Any] = plain(
        {
            "schema": SCHEMA,
            "title": title or "Failover scenarios",
            "verdict": gravest(list(outcomes)),
            "sentence": _sentence(outcomes, len(groups), len(skipped or {})),
            "runs": [_run(entry) for entry in entries],
            "skipped": [{"scenario": name, "why": why} for name, why in (skipped or {}).items()],
            "repeated": [
                {
                    "scenario": name,
                    "verdict": gravest([run["verdict"] for run in runs]),
                    "runs": len(runs),
                    "invalid": len(runs) - len(valid(runs)),
                    "invariants": spread(runs),
                }
                for name, runs in groups.items()
                if len(runs) > 1
            ],
        }
    )
    return found


def _run(entry: Entry) -> dict[str, Any]:
    document = entry.document
    decides = next((f for f in document["findings"] if f["invariant"] == document["decisive"]), None)
    names = ("invariant", "measured", "wanted", "value", "limit", "unit", "verdict")
    return {
        **{name: document[name] for name in ("scenario", "about", "verdict", "sentence", "reasons")},
        "decisive": {name: decides[name] for name in names} if decides else None,
        "report": link(entry.report),
    }


def _sentence(outcomes: Counter[str], scenarios: int, skipped: int) -> str:
    told = [f"{outcomes[word]} {word}" for word in GRAVITY if outcomes[word]]
    ran = (
        f"{scenarios} scenario{'s' * (scenarios != 1)}: {', '.join(told)}"
        if scenarios
        else "no scenario was run"
    )
    return f"{ran}; {skipped} skipped." if skipped else f"{ran}."


def write_index(
    entries: Sequence[Entry], path: Path, title: str = "", skipped: Mapping[str, str] | None = None
) -> None:
    """The page over these runs, and beside it the same for programs, of the same name with `.json`."""
    index = index_json(entries, title, skipped)
    write(path, rendered("index.html.j2", ("index.js",), index=index))
    write(path.with_suffix(".json"), json.dumps(index, indent=1) + "\n")
