"""The same scenario several times: each invariant at worst, in the middle, and how far apart."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from lab.invariants.finding import Unit, shown
from lab.report.document import Document
from lab.report.verdict import GRAVITY, Outcome


def grouped(documents: Sequence[Document]) -> dict[str, list[Document]]:
    """The runs of each scenario, in their order."""
    found: dict[str, list[Document]] = {}
    for document in documents:
        found.setdefault(document["scenario"], []).append(document)
    return found


def gravest(outcomes: Sequence[str]) -> str:
    """What several runs come to; of none, nothing is known."""
    return min((Outcome(each) for each in outcomes), key=GRAVITY.index, default=Outcome.UNKNOWN).value


def spread(documents: Sequence[Document]) -> list[dict[str, Any]]:
    """For each invariant over all runs: worst, median and spread of its values, and how often which verdict.

    Spread is the greatest value less the least, and nothing where there are not two.  A run in which nothing
    could be measured has no value; where that run broke, it is the worst.
    """
    every: dict[str, list[dict[str, Any]]] = {}
    for document in documents:
        for finding in document["findings"]:
            every.setdefault(finding["invariant"], []).append(finding)
    return [_spread(name, findings) for name, findings in every.items()]


def _spread(name: str, findings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first = findings[0]
    values = [each["value"] for each in findings if each["value"] is not None]
    never = any(each["value"] is None and each["verdict"] == "broken" for each in findings)
    worst = (max if first["bound"] == "at-most" else min)(values, default=None)
    numbers = {
        "worst": None if never else worst,
        "median": median(values) if values else None,
        "spread": max(values) - min(values) if len(values) > 1 else None,
    }
    unit = Unit(first["unit"])
    told = {f"{each}_shown": _told(value, unit) for each, value in numbers.items()}
    verdicts = [each["verdict"] for each in findings]
    return {
        "invariant": name,
        "wanted": first["wanted"],
        "unit": first["unit"],
        "runs": len(findings),
        "measured": len(values),
        **numbers,
        **told,
        "verdicts": {word: verdicts.count(word) for word in dict.fromkeys(verdicts)},
    }


def _told(value: float | None, unit: Unit) -> str:
    return "nothing" if value is None else shown(value, unit)
