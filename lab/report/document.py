"""A run as JSON: the numbers of its findings, and what one must know to believe them.

The HTML shows this document and has it inside; JUnit is made from it.  `schema` rises when a name changes its
meaning or goes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from lab.history import History, Outcome, Probed, Span
from lab.invariants.finding import Finding
from lab.invariants.paths import holes_in
from lab.invariants.validity import lateness
from lab.report.budget import budget_of
from lab.report.facts import excerpts, links, mapping, rows, sequence
from lab.report.plain import plain
from lab.report.steps import steps_of
from lab.report.verdict import Weighed, judge, measured, wanted, weigh

SCHEMA = 1
Document = dict[str, Any]


def as_json(
    history: History, findings: Sequence[Finding], facts: Mapping[str, Any] | None = None
) -> Document:
    """The report on a run, all texts harmless.  ``facts`` go before those of the history."""
    known = {**history.facts, **(facts or {})}
    expected = [str(title) for title in sequence(known, "expected")]
    reasons = [str(reason) for reason in sequence(known, "reasons")]
    judged = judge(findings, expected, reasons)
    document: Document = plain(
        {
            "schema": SCHEMA,
            "scenario": known.get("scenario") or "unnamed run",
            "about": known.get("about") or "",
            "run": {row["name"]: row["value"] for row in rows(mapping(known, "run"))},
            "verdict": judged.outcome,
            "sentence": judged.sentence,
            "reasons": reasons,
            "why": judged.why,
            "decisive": judged.decisive.invariant if judged.decisive else None,
            "findings": [_finding(each) for each in weigh(findings, expected)],
            "phases": {name: asdict(span) for name, span in history.phases.items()},
            "faults": [asdict(each) for each in history.injections],
            "probes": [_probe(history, each, mapping(known, "probers")) for each in history.probes.values()],
            "probers": _probers(history, mapping(known, "probers")),
            "versions": rows(mapping(known, "versions")),
            "settings": rows(mapping(known, "settings")),
            "logs": excerpts(known),
            "notes": [each for each in sequence(known, "notes") if isinstance(each, Mapping)],
            "files": links(sequence(known, "files")),
        }
    )
    return document


def _finding(weighed: Weighed) -> dict[str, Any]:
    finding = weighed.finding
    return {
        **finding.record(),
        "measured": measured(finding),
        "wanted": wanted(finding),
        "expected": weighed.expected,
        "counts": weighed.counts,
    }


def _probers(history: History, costs: Mapping[str, Any]) -> dict[str, Any]:
    budget = budget_of(history, costs)
    numbers = {name: value for name, value in asdict(budget).items() if name != "over"}
    rounded = {
        name: round(value, 4) if isinstance(value, float) else value for name, value in numbers.items()
    }
    return {**rounded, "over": list(budget.over), "told": budget.line()}


_TOLD = ("name", "question", "at", "target", "interval", "deadline", "bound")


def _probe(history: History, probe: Probed, costs: Mapping[str, Any]) -> dict[str, Any]:
    samples = history.samples.get(probe.name, ())
    outcomes = [sample.outcome for sample in samples]
    cost = mapping(costs, probe.name)
    return {
        **{name: getattr(probe, name) for name in _TOLD},
        "asked": len(samples),
        **{outcome.value: outcomes.count(outcome) for outcome in Outcome},
        "missing": len(holes_in(samples, _whole(history), probe.interval)),
        "late": round(lateness(history, probe.name), 4),
        "lost": probe.lost,
        "priority": cost.get("priority"),
        "cpu": cost.get("cpu"),
        "steps": steps_of(history, probe),
    }


def _whole(history: History) -> Span:
    spans = history.phases.values()
    return Span(min(s.begin for s in spans), max(s.end for s in spans)) if spans else Span(0.0, 0.0)
