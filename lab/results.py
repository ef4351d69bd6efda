"""A run's folder, read again: the tables it ended with, its scenarios, and what JUnit says of its tests.

Nothing is counted or judged here.  The tables are those that the run itself made and recorded
(`lab.summary`), the verdicts those of its overview (`lab.report.index`), the totals pytest's own.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from lab.history import read
from lab.summary import Row, proven, stage_table

TOTALS = ("tests", "failures", "errors", "skipped")
SHOWN = ("lab.provider", "lab.kubernetes", "lab.profile")  # what tells one run of a matrix from another
BAD = ("failure", "error")
OVERVIEWS = ("scenarios/index.json", "index.json")  # of pytest, and of `thwlab run`
LEFT_OUT = "not-run.txt"  # what `make test` left out of this run, and why
WIDTH, MOST = 300, 50  # of a failure's text in letters, and of failures


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that is red, and the first line of why."""

    test: str
    kind: str
    why: str


@dataclass(frozen=True, slots=True)
class Suite:
    """One JUnit file; `unreadable` says why there is nothing else of it."""

    file: str
    totals: tuple[str, ...] = ()
    seconds: float = 0.0
    lab: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Felt:
    """One run of a scenario: its verdict, and what it came to in a sentence."""

    verdict: str
    scenario: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Results:
    """What is known of a run; of one that was ended in the middle there are stages and no parts."""

    run: str
    begun: bool
    ended: bool
    stages: tuple[Row, ...]
    parts: tuple[Row, ...]
    limits: tuple[str, ...]  # what was said of limits that were not judged
    suites: tuple[Suite, ...]
    left_out: tuple[str, ...] = ()
    scenarios: tuple[Felt, ...] = ()


def results_of(folder: Path) -> Results:
    """What the folder's records and JUnit files say.  Raises `OSError` if there is no such folder."""
    suites = tuple(_suite(path) for path in sorted(folder.iterdir()) if path.match("junit*.xml"))
    records = [record for path in sorted(folder.glob("records*.jsonl")) for record in read(path)]
    end = _end(read(folder / "records.jsonl")) if (folder / "records.jsonl").exists() else None
    name, begun = folder.resolve().name, bool(records)
    left = tuple((folder / LEFT_OUT).read_text().splitlines()) if (folder / LEFT_OUT).exists() else ()
    felt = tuple(each for place in OVERVIEWS for each in _felt(folder / place))
    if end is None:
        return Results(name, begun, False, tuple(_so_far(records)), (), (), suites, left, felt)
    stages, parts = _rows(end["stages"]), _rows(end["parts"])
    return Results(name, begun, True, stages, parts, tuple(end["limits"]), suites, left, felt)


def _felt(path: Path) -> Iterator[Felt]:
    """The runs that an overview lists; nothing where there is none."""
    if not path.exists():
        return
    try:
        index = json.loads(path.read_text())
        for each in index["runs"]:
            yield Felt(str(each["verdict"]), str(each["scenario"]), str(each["sentence"]))
        for each in index["skipped"]:
            yield Felt("skipped", str(each["scenario"]), str(each["why"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        yield Felt("unknown", path.name, f"{path} cannot be read: {type(error).__name__}: {error}")


def _end(records: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The last run's end in this folder; None if it has begun and not ended."""
    last = next((each for each in reversed(records) if each["kind"] in ("run", "end")), None)
    return last if last and last["kind"] == "end" else None


def _so_far(records: Sequence[dict[str, Any]]) -> Iterator[Row]:
    for each in records:
        if each["kind"] == "stage" and "mark" in each:
            yield Row(each["mark"], each["stage"], each["seconds"], _first_line(each["error"] or ""))


def _rows(recorded: Sequence[dict[str, Any]]) -> tuple[Row, ...]:
    return tuple(Row(**each) for each in recorded)


def _suite(path: Path) -> Suite:
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:  # its writer was killed
        return Suite(path.name, unreadable=str(error))
    found = root if root.tag == "testsuite" else root.find("testsuite")
    if found is None:
        return Suite(path.name, unreadable="it holds no testsuite")
    told = {each.get("name"): each.get("value", "") for each in found.iterfind("properties/property")}
    return Suite(
        path.name,
        tuple(f"{found.get(each, '?')} {each}" for each in TOTALS),
        float(found.get("time", 0)),
        tuple(told[each] for each in SHOWN if each in told),
        tuple(_failures(found)),
    )


def _failures(suite: ElementTree.Element) -> Iterator[Failure]:
    for case in suite.iter("testcase"):
        for each in case:
            if each.tag in BAD:
                name = f"{case.get('file') or case.get('classname')}::{case.get('name')}"
                yield Failure(name, each.tag, _first_line(each.get("message") or each.text or ""))


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:WIDTH]


def as_text(seen: Results) -> list[str]:
    """As the run itself ends, then the totals and what is red.  Pure."""
    lines = [f"run {seen.run}", *stage_table(seen.stages), *proven(seen.parts), *seen.limits]
    lines += [f"{each.verdict:8} {each.scenario:32} {each.sentence[:WIDTH]}" for each in seen.scenarios]
    lines += [_total(suite) for suite in seen.suites]
    lines += [f"{each.kind:8} {each.test}  {each.why}" for each in _red(seen)]
    return [*lines, *_remarks(seen)]


def as_markdown(seen: Results) -> list[str]:
    """The same for a page that shows Markdown.  Pure."""
    lines = [f"## Run {_cell(seen.run)}", ""]
    lines += [f"- {_cell(_total(suite))}" for suite in seen.suites]
    lines += [f"- {_cell(limit)}" for limit in seen.limits]
    lines += [f"- **{_cell(remark)}**" for remark in _remarks(seen)]
    lines += _table("What is red", ("", "test", "first line"), [(x.kind, x.test, x.why) for x in _red(seen)])
    felt = [(each.verdict, each.scenario, each.sentence[:WIDTH]) for each in seen.scenarios]
    lines += _table("What users would have felt", ("", "scenario", ""), felt)
    for title, rows in (("What was proven", seen.parts), ("Stages", seen.stages)):
        cells = [(row.mark, row.what, f"{row.seconds:.1f} s", row.detail) for row in rows]
        lines += _table(title, ("", "what", "time", ""), cells)
    return lines


def _total(suite: Suite) -> str:
    if suite.unreadable:
        return f"{suite.file} cannot be read: {suite.unreadable}"
    of = f" ({', '.join(suite.lab)})" if suite.lab else ""
    return f"{suite.file}{of}: {', '.join(suite.totals)}, {suite.seconds:.0f} s"


def _red(seen: Results) -> list[Failure]:
    return [each for suite in seen.suites for each in suite.failures][:MOST]


def _remarks(seen: Results) -> list[str]:
    """What a reader must not overlook."""
    more = sum(len(suite.failures) for suite in seen.suites) - MOST
    remarks = [f"{more} more are red; they are in the JUnit files"] if more > 0 else []
    remarks += seen.left_out
    if seen.begun and not seen.ended:
        remarks.append("the run goes on, or was ended before it could say what was proven")
    if not seen.begun and not seen.suites and not seen.scenarios:
        remarks.append("nothing was recorded")
    return remarks


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    if not rows:
        return []
    lines = [" | ".join(map(_cell, row)) for row in rows]
    return [
        "",
        f"### {title}",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
        *map("| {} |".format, lines),
    ]


def _cell(text: str) -> str:
    """Shown as it is: what would be markup, or end the cell, is none."""
    kept = text.replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    return "".join(f"\\{letter}" if letter in "|`*_[]" else letter for letter in " ".join(kept.split()))
