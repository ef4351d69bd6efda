"""The HTML page of a run: whole, harmless, small, and with the figures of its findings."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from test_report_histories import ALL, Made, hostile, many, nothing, silent_master

from lab.report import as_json, write_html
from lab.report.page import embedded

VOID = {"meta", "br", "input"}
MANY, WORST = 600_000, 2_600_000  # bytes of a page with 100,000 samples: as they are, and at the very worst


class Page(HTMLParser):
    """What is in the page: elements, their attributes, texts of rows; `wrong` is what is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[str] = []
        self.rows: list[tuple[dict[str, str | None], list[str]]] = []
        self.feed(text)
        self.close()
        self.wrong += [f"{tag} is not closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if len({name for name, _ in attrs}) != len(attrs):
            self.wrong.append(f"{tag} has an attribute twice")
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append((dict(attrs), []))
        if tag == "td":
            self.rows[-1][1].append("")

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"{tag} is closed and was not open")

    def handle_data(self, data: str) -> None:
        if "td" in self.open:
            self.rows[-1][1][-1] += data


def written(run: Made, folder: Path) -> str:
    write_html(run.history, run.findings, run.facts, folder / "report.html")
    return (folder / "report.html").read_text()


def inside(page: str, name: str) -> Any:
    found = re.search(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


@pytest.mark.parametrize("name", ALL)
def test_the_page_is_well_formed(name: str, tmp_path: Path) -> None:
    assert not Page(written(ALL[name](), tmp_path)).wrong


def test_what_is_not_well_formed_would_be_noticed() -> None:
    assert Page("<p><b></p></b>").wrong
    assert Page("<p>").wrong


@pytest.mark.parametrize("name", ALL)
def test_figures_are_those_of_the_findings(name: str, tmp_path: Path) -> None:
    run = ALL[name]()
    told = {each["invariant"]: each for each in as_json(run.history, run.findings, run.facts)["findings"]}
    rows = [row for row in Page(written(run, tmp_path)).rows if "data-invariant" in row[0]]
    assert len(rows) == len(run.findings)
    for attributes, (_, invariant, measured, wanted, *_) in rows:
        finding = told[str(attributes["data-invariant"])]
        assert invariant == finding["invariant"]
        assert (measured, wanted) == (finding["measured"], finding["wanted"])
        assert attributes["data-value"] == ("" if finding["value"] is None else str(finding["value"]))
        assert attributes["data-limit"] == str(finding["limit"])


@pytest.mark.parametrize("name", ALL)
def test_the_page_has_the_document_inside_that_it_was_made_from(name: str, tmp_path: Path) -> None:
    run = ALL[name]()
    assert inside(written(run, tmp_path), "report") == as_json(run.history, run.findings, run.facts)


@pytest.mark.parametrize("name", ALL)
def test_the_page_asks_no_network(name: str, tmp_path: Path) -> None:
    page = Page(written(ALL[name](), tmp_path))
    loads = {
        value
        for _, attributes in page.tags
        for key, value in attributes.items()
        if key in ("src", "srcset", "action")
    }
    assert not loads
    links = [attributes["href"] or "" for tag, attributes in page.tags if tag == "a"]
    assert all(link.startswith("./") for link in links)
    assert "link" not in {tag for tag, _ in page.tags}
    policy = next(a["content"] or "" for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert "http:" not in policy


def test_programs_and_styles_fetch_nothing() -> None:
    folder = Path(__file__).parents[2] / "lab/report/templates"
    for path in folder.iterdir():
        text = path.read_text()
        assert not re.findall(
            r"https?://|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|import\(|innerHTML|eval\(", text
        ), path.name


def test_the_policy_lets_in_exactly_what_is_there(tmp_path: Path) -> None:
    page = written(silent_master(), tmp_path)
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert base64.b64encode(hashlib.sha256(content.encode()).digest()).decode() in page


def test_hostile_texts_are_inert(tmp_path: Path) -> None:
    text = written(hostile(), tmp_path)
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"img", "b"}
    assert not [
        name for _, attributes in page.tags for name in attributes if name.startswith("on") or name == "style"
    ]
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert not re.findall("[\u202a-\u202e\u2066-\u2069\u200e\u200f]", text)


def test_json_cannot_end_its_element() -> None:
    told = embedded({"</script>": "<!--", "&": "\u2028"})
    assert not set("<>&\u2028") & set(told)
    assert json.loads(told) == {"</script>": "<!--", "&": "\u2028"}


def test_100000_samples_stay_small(tmp_path: Path) -> None:
    assert len(written(many(), tmp_path)) < MANY
    assert len(written(many(alternating=True), tmp_path)) < WORST


def test_a_run_without_anything_says_so_everywhere(tmp_path: Path) -> None:
    page = written(nothing(), tmp_path)
    assert page.count("no data:") >= 6
    assert "not one question was asked" in page


def test_files_beside_the_report_are_linked(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").touch()
    run = silent_master()
    write_html(run.history, run.findings, None, tmp_path / "report.html")
    assert 'href="./records.jsonl"' in (tmp_path / "report.html").read_text()


def test_a_second_report_does_not_link_to_itself(tmp_path: Path) -> None:
    run = nothing()
    for _ in range(2):
        write_html(run.history, run.findings, None, tmp_path / "report.html")
    assert "./report.html" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("still", "said"),
    [
        ("yes", "still in force at 30.00 s: because"),
        ("no", "no longer in force at 30.00 s: because"),
        ("unknown", "nobody knows whether still in force at 30.00 s: because"),
    ],
)
def test_whether_a_fault_was_still_in_force_stands_beside_its_evidence(
    tmp_path: Path, still: str, said: str
) -> None:
    made = silent_master()
    first = replace(made.history.injections[0], looked=30.0, still=still, seen="because")
    run = replace(made, history=replace(made.history, injections=(first,)))
    cells = [cell for _, row in Page(written(run, tmp_path)).rows for cell in row]
    assert [cell for cell in cells if said in cell]
