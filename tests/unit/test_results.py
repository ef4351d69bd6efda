"""A run's folder, read again, for a terminal and for the page of a CI job."""

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.cli.app import cli
from lab.history import Recorder
from lab.results import as_markdown, as_text, results_of
from lab.summary import Row

ETCD = Row("ok", "etcd", 2.86, "")
BROKEN = Row("BROKEN", "dns", 60.0, "no answer | from *10.0.0.2*")
PART = Row("FAILED", "tests/e2e/test_dns.py", 12.0, "3 passed, 1 failed")
LIMIT = "1 time limit was not judged"
JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="2" tests="9" time="51.4">
<properties>
<property name="lab.provider" value="incus:private"/><property name="lab.kubernetes" value="1.36.3"/>
<property name="lab.run" value="r1"/>
</properties>
<testcase file="tests/e2e/test_dns.py" name="test_a[x]">
<failure message="no answer&#10;more">all</failure></testcase>
<testcase classname="test_b" name="test_b"><error message="failed on setup with &lt;x&gt;"/></testcase>
<testcase file="tests/e2e/test_dns.py" name="test_c"><skipped message="not here"/></testcase>
</testsuite></testsuites>
"""


def recorded(folder: Path, *, end: bool = True) -> Recorder:
    recorder = Recorder(folder / "records.jsonl")
    recorder.write("stage", stage="etcd", mark="ok", seconds=2.86, error=None)
    recorder.write("stage", stage="dns", mark="FAILED", seconds=60.0, error="no answer\nsecond line")
    if end:
        recorder.write("end", stages=[asdict(ETCD), asdict(BROKEN)], parts=[asdict(PART)], limits=[LIMIT])
    return recorder


def thwlab(*args: str, **env: str) -> Result:
    clean: dict[str, str | None] = {name: None for name in os.environ if name.startswith("LAB_")}
    return CliRunner(env={**clean, **env}).invoke(cli, ["summary", *args])


def test_the_tables_are_the_recorded_ones(tmp_path: Path) -> None:
    recorded(tmp_path / "r1")
    seen = results_of(tmp_path / "r1")
    assert (seen.run, seen.ended, seen.stages, seen.parts) == ("r1", True, (ETCD, BROKEN), (PART,))


def test_of_a_run_that_was_killed_there_are_the_stages_and_the_warning(tmp_path: Path) -> None:
    recorded(tmp_path, end=False)
    seen = results_of(tmp_path)
    assert [(row.what, row.mark, row.detail) for row in seen.stages] == [
        ("etcd", "ok", ""), ("dns", "FAILED", "no answer"),
    ]  # fmt: skip
    for lines in (as_text(seen), as_markdown(seen)):
        assert any("before it could say what was proven" in line for line in lines)


def test_the_tables_of_an_earlier_run_in_the_folder_are_not_those_of_one_that_was_killed(
    tmp_path: Path,
) -> None:
    recorded(tmp_path)
    recorded(tmp_path, end=False)
    assert not results_of(tmp_path).ended


def test_a_run_that_a_test_started_in_the_middle_hides_no_end(tmp_path: Path) -> None:
    outer = recorded(tmp_path, end=False)
    Recorder(tmp_path / "records.jsonl")
    outer.write("end", stages=[], parts=[asdict(PART)], limits=[])
    assert results_of(tmp_path).parts == (PART,)


def test_workers_that_were_killed_have_their_stages_told(tmp_path: Path) -> None:
    Recorder(tmp_path / "records-gw0.jsonl").write("stage", stage="etcd", mark="ok", seconds=2.9, error=None)
    assert [row.what for row in results_of(tmp_path).stages] == ["etcd"]


def test_junit_gives_totals_and_what_is_red(tmp_path: Path) -> None:
    (tmp_path / "junit-e2e.xml").write_text(JUNIT)
    (suite,) = results_of(tmp_path).suites
    assert suite.totals == ("9 tests", "1 failures", "1 errors", "2 skipped")
    assert (suite.seconds, suite.lab) == (51.4, ("incus:private", "1.36.3"))
    assert [(each.test, each.kind, each.why) for each in suite.failures] == [
        ("tests/e2e/test_dns.py::test_a[x]", "failure", "no answer"),
        ("test_b::test_b", "error", "failed on setup with <x>"),
    ]


@pytest.mark.parametrize("text", ["", "<testsuites><testsuite", "<html/>"])
def test_a_junit_file_that_was_cut_off_is_told_and_hides_nothing(tmp_path: Path, text: str) -> None:
    recorded(tmp_path)
    (tmp_path / "junit-e2e.xml").write_text(text)
    lines = as_text(results_of(tmp_path))
    assert any(line.startswith("junit-e2e.xml cannot be read: ") for line in lines)
    assert any(line.startswith("FAILED   tests/e2e/test_dns.py") for line in lines)


def test_an_empty_folder_is_no_green_run(tmp_path: Path) -> None:
    assert as_text(results_of(tmp_path))[1:] == ["nothing was recorded"]


def test_markdown_has_each_row_and_no_cell_breaks_its_table(tmp_path: Path) -> None:
    recorded(tmp_path / "r1")
    (tmp_path / "r1/junit-e2e.xml").write_text(JUNIT)
    lines = as_markdown(results_of(tmp_path / "r1"))
    assert "| ok | etcd | 2.9 s |  |" in lines
    assert f"- {LIMIT}" in lines
    assert r"| BROKEN | dns | 60.0 s | no answer \| from \*10.0.0.2\* |" in lines
    assert r"| FAILED | tests/e2e/test\_dns.py | 12.0 s | 3 passed, 1 failed |" in lines
    assert r"| failure | tests/e2e/test\_dns.py::test\_a\[x\] | no answer |" in lines
    assert r"| error | test\_b::test\_b | failed on setup with &lt;x> |" in lines
    assert "- junit-e2e.xml (incus:private, 1.36.3): 9 tests, 1 failures, 1 errors, 2 skipped, 51 s" in lines


def test_so_many_failures_are_shown_and_the_rest_counted(tmp_path: Path) -> None:
    cases = "".join(f'<testcase name="t{n}"><failure message="x"/></testcase>' for n in range(52))
    (tmp_path / "junit-e2e.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    lines = as_text(results_of(tmp_path))
    assert sum(line.startswith("failure ") for line in lines) == 50
    assert lines[-1].startswith("2 more are red")


def test_the_command_shows_the_newest_run_or_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "artifacts/r1")
    recorded(tmp_path / "artifacts/r2")
    (tmp_path / "artifacts/latest").symlink_to("r2")
    assert thwlab().output.startswith("run r2\n")
    assert thwlab(LAB_RUN="r1").output.startswith("run r1\n")
    assert thwlab("artifacts/r1", "--markdown").output.startswith("## Run r1\n")
    assert thwlab("r3").exit_code == 2


def test_the_command_needs_no_lab_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    assert "there is no folder artifacts/latest" in thwlab().output
    assert list(tmp_path.iterdir()) == []


def overview(path: Path) -> None:
    runs = [
        {"scenario": "etcd-bridge", "verdict": "held", "sentence": "Held: 10 of 10; the nearest is 3.2 s."},
        {"scenario": "master-silent", "verdict": "invalid", "sentence": "Invalid: a prober was | late."},
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    skipped = [{"scenario": "clock-stepped", "why": "no clock of its own"}]
    path.write_text(json.dumps({"runs": runs, "skipped": skipped}))


@pytest.mark.parametrize("place", ["scenarios/index.json", "index.json"], ids=["pytest", "thwlab run"])
def test_each_scenario_is_told_with_its_verdict(tmp_path: Path, place: str) -> None:
    overview(tmp_path / place)
    lines = as_text(results_of(tmp_path))
    assert lines[1].split(maxsplit=2) == ["held", "etcd-bridge", "Held: 10 of 10; the nearest is 3.2 s."]
    assert [line.split()[:2] for line in lines[2:]] == [
        ["invalid", "master-silent"],
        ["skipped", "clock-stepped"],
    ]
    page = as_markdown(results_of(tmp_path))
    assert "| invalid | master-silent | Invalid: a prober was \\| late. |" in page


def test_an_overview_that_was_cut_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"runs": [')
    (line,) = as_text(results_of(tmp_path))[1:]
    assert line.startswith("unknown")
    assert f"{tmp_path / 'index.json'} cannot be read" in line
