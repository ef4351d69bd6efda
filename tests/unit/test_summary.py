"""The tables at the end of a run."""

from typing import Any

import pytest

from lab.bringup import Blocked, Outcome, StageFailed
from lab.summary import heading, proven, proven_rows, stage_rows, stage_table


def report(
    nodeid: str, when: Any = "call", outcome: Any = "passed", duration: float = 1.0
) -> pytest.TestReport:
    return pytest.TestReport(nodeid, ("f", 1, "t"), {}, outcome, None, when, duration=duration)


def test_a_stage_is_ok_failed_or_blocked() -> None:
    rows = stage_rows(
        [Outcome("etcd", 3.21), Outcome("api", 60.0, StageFailed("x")), Outcome("dns", 0.0, Blocked("x"))]
    )
    assert stage_table(rows) == [
        "ok       stage etcd                3.2 s",
        "FAILED   stage api                60.0 s",
        "blocked  stage dns                 0.0 s",
    ]


def test_a_part_counts_each_test_once_and_all_of_its_seconds() -> None:
    reports = [
        report("t/test_a.py::x", "setup", duration=2.0),
        report("t/test_a.py::x"),
        report("t/test_a.py::x", "teardown"),
        report("t/test_a.py::y", outcome="failed"),
        report("t/test_b.py::z", "setup", "failed"),
        report("t/test_c.py::z", "setup", "skipped"),
    ]
    lines = proven(proven_rows(reports))
    assert [line.split()[:2] for line in lines] == [
        ["FAILED", "t/test_a.py"], ["ERROR", "t/test_b.py"], ["skipped", "t/test_c.py"],
    ]  # fmt: skip
    assert lines[0].endswith("5.0 s  1 passed, 1 failed")
    assert lines[1].endswith("1 error")


def test_a_part_without_outcomes_has_no_line() -> None:
    assert proven_rows([report("t/test_a.py::x", "setup")]) == []
    assert proven_rows([]) == []


def test_a_passed_test_with_a_broken_teardown_is_an_error() -> None:
    lines = proven(proven_rows([report("a.py::x"), report("a.py::x", "teardown", "failed")]))
    assert lines[0].startswith("ERROR")


def test_the_heading_has_all_values_in_lines_that_fit() -> None:
    lines = heading((f"name{n}", "value", "where it came from") for n in range(9))
    assert lines[0].startswith("lab: name0=value (where it came from), name1=")
    assert all(len(line) <= 110 for line in lines)
    assert sum(line.count("=value") for line in lines) == 9
