"""The same findings for programs that read JUnit: a case for each, its numbers as properties."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as XML

from lab.ownership import adopt
from lab.report.document import Document
from lab.report.repeated import grouped, spread, valid
from lab.report.verdict import ABSENT

FAILURE, ERROR, SKIPPED = "failure", "error", "skipped"
_TOTALS = {FAILURE: "failures", ERROR: "errors", SKIPPED: "skipped"}
_ENDS = {"broken": FAILURE, "unknown": ERROR, "not-judged": SKIPPED}
_OVER_ALL = ("worst", "median", "spread", "unit", "bound", "runs", "measured", "never")
_NUMBERS = ("verdict", "value", "limit", "unit", "bound", "measured", "wanted")


@dataclass(frozen=True, slots=True)
class Case:
    """One finding as a test case; `end` is empty where it passed."""

    suite: str
    name: str
    end: str
    message: str
    properties: tuple[tuple[str, str], ...]


def properties(document: Document) -> list[tuple[str, str]]:
    """What a test that ran the scenario may record of itself: the verdict, and each finding's numbers."""
    told = [("verdict", document["verdict"]), ("sentence", document["sentence"])]
    told += [("reason", reason) for reason in document["reasons"]]
    told += _asking(document)
    for finding in document["findings"]:
        told += [(f"{finding['invariant']}: {name}", value) for name, value in _numbers(finding)]
    return told


def cases(document: Document) -> list[Case]:
    """A case for each finding, and one that the run proves something at all.

    Broken is a failure; unknown, and a run that is not valid, is an error; what was expected to break and
    did is passed.
    """
    suite = document["scenario"]
    reasons = document["reasons"]
    valid = Case(suite, "the run is valid", ERROR if reasons else "", "; ".join(reasons), ())
    return [valid, *(_case(suite, finding) for finding in document["findings"]), *_absent(document)]


def _case(suite: str, finding: dict[str, Any]) -> Case:
    said = f"{finding['verdict']}: {finding['measured']}, {finding['wanted']} wanted; {finding['text']}"
    end = _ENDS.get(finding["counts"], "")
    expected = "expected to break; " if finding["expected"] else ""
    return Case(suite, finding["invariant"], end, expected + said, tuple(_numbers(finding)))


def _absent(document: Document) -> Iterator[Case]:
    """What was expected to break and was not even judged."""
    judged = {finding["invariant"] for finding in document["findings"]}
    for line in document["why"]:
        name = line.removesuffix(ABSENT)
        if name != line and name not in judged:
            yield Case(document["scenario"], name, ERROR, line, ())


def _numbers(finding: dict[str, Any]) -> list[tuple[str, str]]:
    window = finding["window"]
    told = [(name, "" if finding[name] is None else str(finding[name])) for name in _NUMBERS]
    return [*told, ("window", f"{window['begin']} to {window['end']} s" if window else "")]


def write_junit(documents: Sequence[Document], path: Path) -> None:
    """A suite for each run, and one for each scenario with several, whose properties are what they come to.

    The latter has no cases, for each finding is one of its run already.
    """
    root = XML.Element("testsuites")
    for document in documents:
        _suite(root, document)
    for name, runs in grouped(documents).items():
        if len(runs) > 1:
            _repeated(root, name, runs)
    XML.indent(root)
    path.write_bytes(XML.tostring(root, encoding="utf-8", xml_declaration=True))
    adopt(path)


def _suite(root: XML.Element, document: Document) -> None:
    every = cases(document)
    counts = {total: sum(case.end == end for case in every) for end, total in _TOTALS.items()}
    told = {"name": document["scenario"], "tests": len(every), **counts}
    suite = XML.SubElement(root, "testsuite", {name: str(value) for name, value in told.items()})
    _properties(suite, [(name, document[name]) for name in ("verdict", "sentence")] + _asking(document))
    for case in every:
        element = XML.SubElement(suite, "testcase", {"classname": case.suite, "name": case.name})
        _properties(element, case.properties)
        if case.end:
            XML.SubElement(element, case.end, {"message": case.message})


def _asking(document: Document) -> list[tuple[str, str]]:
    """How late the fast probers were, and what all cost."""
    told = document["probers"]
    return [
        (f"probers: {name}", "" if told[name] is None else str(told[name]))
        for name in ("late", "each", "all")
    ]


def _repeated(root: XML.Element, name: str, runs: Sequence[Document]) -> None:
    rows = spread(runs)
    told = [("runs", str(len(runs))), ("invalid", str(len(runs) - len(valid(runs))))]
    for row in rows:
        values = ((each, row[each]) for each in _OVER_ALL)
        told += [
            (f"{row['invariant']}: {each}", "" if value is None else str(value)) for each, value in values
        ]
    totals = {"name": f"{name}, {len(runs)} runs", "tests": "0", **dict.fromkeys(_TOTALS.values(), "0")}
    _properties(XML.SubElement(root, "testsuite", totals), told)


def _properties(parent: XML.Element, told: Sequence[tuple[str, str]]) -> None:
    if told:
        inside = XML.SubElement(parent, "properties")
        for name, value in told:
            XML.SubElement(inside, "property", {"name": name, "value": value})
