"""The tables at the end of a run: how long each stage took, and what was proven part by part."""

import textwrap
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from lab.bringup import Outcome, mark, remark
from lab.errors import flat

MARKS = {"passed": "proven", "failed": "FAILED", "error": "ERROR", "skipped": "skipped"}


WIDTH = 110


def heading(effective: Iterable[tuple[str, str, str]]) -> list[str]:
    """Each value and where it came from, as few lines as possible."""
    values = ", ".join(f"{name}={value} ({origin})" for name, value, origin in effective)
    return textwrap.wrap(
        f"lab: {values}", WIDTH, subsequent_indent="     ", break_long_words=False, break_on_hyphens=False
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A stage, or a test file: how it went, in how many seconds, and what more there is to say."""

    mark: str
    what: str
    seconds: float
    detail: str


def stage_rows(outcomes: Iterable[Outcome]) -> list[Row]:
    """One for each stage, in the order in which they ended."""
    return [Row(mark(each), each.stage, each.seconds, _why(each)) for each in outcomes]


def stage_table(rows: Iterable[Row]) -> list[str]:
    """A line for each stage."""
    return [
        f"{row.mark:8} stage {row.what:16} {row.seconds:6.1f} s{f'  {row.detail}' if row.detail else ''}"
        for row in rows
    ]


def _why(outcome: Outcome) -> str:
    """Of a stage that did not stop the tests: what it saw, or what it put right."""
    return flat(outcome.error).splitlines()[0][:WIDTH] if outcome.tolerated else remark(outcome)


def proven_rows(reports: Iterable[pytest.TestReport]) -> list[Row]:
    """One for each test file of the lab: its outcomes and its seconds."""
    counts: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for report in reports:
        part = report.nodeid.split("::")[0]
        seconds[part] += report.duration  # type: ignore[assignment]
        if report.when == "call" or report.outcome != "passed":
            kind = "error" if report.failed and report.when != "call" else report.outcome
            counts.setdefault(part, Counter())[kind] += 1
    return [_row(part, counts[part], seconds[part]) for part in sorted(counts)]


def proven(rows: Iterable[Row]) -> list[str]:
    """A line for each test file."""
    return [f"{row.mark:8} {row.what:44} {row.seconds:6.1f} s  {row.detail}" for row in rows]


def _row(part: str, found: Counter[str], seconds: float) -> Row:
    worst = next(kind for kind in ("failed", "error", "passed", "skipped") if found[kind])
    return Row(MARKS[worst], part, seconds, ", ".join(f"{number} {kind}" for kind, number in found.items()))
