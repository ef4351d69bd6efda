"""The tables at the end of a run: how long each stage took, and what was proven part by part."""

import textwrap
from collections import Counter
from collections.abc import Iterable

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


def stage_table(outcomes: Iterable[Outcome]) -> list[str]:
    """One line per stage, in the order in which they ended."""
    return [f"{mark(each):8} stage {each.stage:16} {each.seconds:6.1f} s{_why(each)}" for each in outcomes]


def _why(outcome: Outcome) -> str:
    """Of a stage that did not stop the tests: what it saw, or what it put right."""
    said = flat(outcome.error).splitlines()[0][:WIDTH] if outcome.tolerated else remark(outcome)
    return f"  {said}" if said else ""


def proven(reports: Iterable[pytest.TestReport]) -> list[str]:
    """One line per test file of the lab: its outcomes and its seconds."""
    counts: dict[str, Counter[str]] = {}
    seconds: Counter[str] = Counter()
    for report in reports:
        part = report.nodeid.split("::")[0]
        seconds[part] += report.duration  # type: ignore[assignment]
        if report.when == "call" or report.outcome != "passed":
            kind = "error" if report.failed and report.when != "call" else report.outcome
            counts.setdefault(part, Counter())[kind] += 1
    return [_line(part, counts[part], seconds[part]) for part in sorted(counts)]


def _line(part: str, found: Counter[str], seconds: float) -> str:
    worst = next(kind for kind in ("failed", "error", "passed", "skipped") if found[kind])
    detail = ", ".join(f"{number} {kind}" for kind, number in found.items())
    return f"{MARKS[worst]:8} {part:44} {seconds:6.1f} s  {detail}"
