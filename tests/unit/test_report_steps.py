"""The steps of answers by phase: each by itself, of those who took it."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from made_histories import Asked, asked, made
from test_report_histories import silent_master

from lab.history import History
from lab.probes.catalogue import WORDS
from lab.report import as_json, write_html
from lab.report.observed import SECTIONS
from lab.report.page import milliseconds
from lab.report.steps import STEPS, steps_of


def stepping(question: str, *course: tuple[float, tuple[float, ...]], **more: Any) -> Asked:
    """A probe whose answers have these phases from when on."""
    probe, samples = asked(question, **more)
    return probe, tuple(
        replace(each, phases=[told for since, told in course if since <= each.scheduled][-1])
        for each in samples
    )


def rows(*probes: Asked) -> dict[str, dict[str, Any]]:
    history = made(*probes)
    (probe,) = history.probes.values()
    return {row["step"]: row for row in steps_of(history, probe)}


def test_each_step_has_its_own_time_in_each_phase() -> None:
    told = rows(
        stepping("api", (0, (0.001, 0.004, 0.010)), (10, (0.101, 0.104, 0.310)), (30, (0.001, 0.003, 0.005)))
    )
    assert list(told) == ["connect", "TLS", "first byte"]
    assert [told[step]["steady"]["median"] for step in told] == [0.001, 0.003, 0.006]
    assert [told[step]["fault"]["median"] for step in told] == [0.101, 0.003, 0.206]
    assert [told[step]["recovery"]["p99"] for step in told] == [0.001, 0.002, 0.002]


def test_the_slowest_hundredth_is_told() -> None:
    """Two of the 200 questions of the fault phase waited for TLS."""
    told = rows(
        stepping("api", (0, (0.001, 0.002)), (12, (0.001, 0.5)), (12.2, (0.001, 0.002)), (20, (0.001, 0.002)))
    )
    assert (told["TLS"]["fault"]["median"], told["TLS"]["fault"]["p99"]) == (0.001, 0.499)
    assert told["TLS"]["steady"]["p99"] == 0.001


def test_who_did_not_come_so_far_is_not_among_those_who_took_it() -> None:
    told = rows(
        stepping("api", (0, (0.001, 0.002, 0.003)), (10, (0.001,)), (20, ()), (30, (0.001, 0.002, 0.003)))
    )
    assert told["connect"]["fault"] == {"took": 100, "of": 200, "median": 0.001, "p99": 0.001}
    assert told["TLS"]["fault"] == {"took": 0, "of": 200, "median": None, "p99": None}


@pytest.mark.parametrize(
    ("question", "phases", "names"),
    [
        ("cluster-ip", (0.001, 0.001, 0.002), ["connect", "first byte"]),
        ("dns", (0.0, 0.002), ["answer"]),
        ("new-pod", (1.0, 2.0, 3.0), ["bound", "started", "answering"]),
        ("api", (0.1, 0.2, 0.3, 0.4), ["connect", "TLS", "first byte", "step 4"]),
        ("etcd-lease", (), []),
    ],
)
def test_steps_have_the_names_of_what_was_asked(
    question: str, phases: tuple[float, ...], names: list[str]
) -> None:
    assert list(rows(stepping(question, (0, phases)))) == names


def test_every_question_with_names_of_its_own_is_one() -> None:
    assert set(STEPS) < set(WORDS)


def test_a_run_that_ended_early_has_what_there_is() -> None:
    probe, samples = stepping("api", (0, (0.001, 0.002, 0.003)))
    history = replace(made((probe, samples)), phases={})
    assert steps_of(history, probe) == []


class Table(HTMLParser):
    """The cells of the rows that are about a step."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: dict[tuple[str | None, str | None], list[str]] = {}
        self.cells: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag == "tr":
            self.cells = None
            if "data-step" in told:
                self.cells = self.rows[told["data-probe"], told["data-step"]] = []
        if tag == "td" and self.cells is not None:
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tbody":
            self.cells = None

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data.strip()


def written(history: History, folder: Path) -> Table:
    write_html(history, [], {}, folder / "report.html")
    return Table((folder / "report.html").read_text())


def test_the_page_shows_what_the_json_has(tmp_path: Path) -> None:
    run = silent_master()
    document = as_json(run.history, run.findings, run.facts)
    table = written(run.history, tmp_path)
    shown = {
        (probe["name"], step["step"]): step
        for probe in document["probes"]
        if probe["question"] not in SECTIONS
        for step in probe["steps"]
    }
    assert shown
    assert set(table.rows) == set(shown)
    for place, step in shown.items():
        figures = [
            text
            for phase in ("steady", "fault", "recovery")
            for text in (
                milliseconds(step[phase]["median"]),
                milliseconds(step[phase]["p99"]),
                f"{step[phase]['took']} of {step[phase]['of']}",
            )
        ]
        assert table.rows[place][2:] == figures


def test_without_steps_there_is_no_table(tmp_path: Path) -> None:
    assert not written(made(asked()), tmp_path).rows
