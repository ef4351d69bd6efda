"""The JSON of a run: its verdict in a sentence, its numbers, its texts; the same in JUnit; and many runs.

After a change that is meant: `THWLAB_GOLDEN=write pytest tests/unit/test_report.py`, then read `git diff`.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as XML

import pytest
from made_histories import KILL, asked, made
from test_report_histories import ALL, EVIL, Made, silent_master, two_leaders

from lab.history import Span
from lab.invariants.finding import Finding, Unit, Verdict, shown
from lab.report import Entry, as_json, cases, index_json, properties, write_index, write_junit
from lab.report.document import Document
from lab.report.facts import beside, link, rows
from lab.report.plain import HIDDEN, plain
from lab.report.repeated import lines, spread
from lab.report.verdict import judge, measured

GOLDEN = Path(__file__).parent / "golden" / "report"
HELD, BROKEN, UNKNOWN, NOT_JUDGED = Verdict.HELD, Verdict.BROKEN, Verdict.UNKNOWN, Verdict.NOT_JUDGED


def document(run: Made) -> Document:
    return as_json(run.history, run.findings, run.facts)


def finding(verdict: Verdict = HELD, value: float | None = 3.0, **more: Any) -> Finding:
    told: dict[str, Any] = {
        "invariant": "recovery of api",
        "limit": 10.0,
        "unit": Unit.SECONDS,
        "window": Span(10, 60),
        "text": "api",
    }
    return Finding(verdict=verdict, value=value, **(told | more))


def only(*findings: Finding, **facts: Any) -> Document:
    return as_json(made(), findings, {"scenario": "made", **facts})


@pytest.mark.parametrize("make", [silent_master, two_leaders], ids=lambda make: make.__name__)
def test_the_document_is_the_one_that_was_read(make: Callable[[], Made]) -> None:
    path = GOLDEN / f"{make.__name__.replace('_', '-')}.json"
    now = json.dumps(document(make()), indent=1, ensure_ascii=False) + "\n"
    if os.environ.get("THWLAB_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(now)
    assert now == path.read_text()


@pytest.mark.parametrize("name", ALL)
def test_every_number_is_the_findings_own(name: str) -> None:
    run = ALL[name]()
    told = document(run)["findings"]
    assert len(told) == len(run.findings)
    for each, found in zip(told, run.findings, strict=True):
        assert (each["value"], each["limit"], each["unit"]) == (found.value, found.limit, found.unit)
        assert each["measured"] == measured(found)
        assert each["wanted"].endswith(shown(found.limit, found.unit))
        assert each["verdict"] == found.verdict


# -- the verdict -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "expected", "reasons", "outcome", "said"),
    [
        (
            [finding()],
            (),
            (),
            "held",
            "Held: 1 of 1 invariant came out as wanted; the nearest to its limit is",
        ),
        ([finding(BROKEN, 12.5)], (), (), "broken", "recovery of api: 12.50 s, at most 10.00 s wanted."),
        ([finding(BROKEN, 12.5)], (), ("late",), "broken", "Besides, the run is invalid, for late."),
        ([finding()], (), ("late", "few"), "invalid", "proves nothing, for late (and 1 more reason)."),
        ([finding(UNKNOWN, None)], (), ("late",), "invalid", "Invalid: "),
        ([finding(UNKNOWN, None)], (), (), "unknown", "Unknown: 1 of 1 invariant could not be judged"),
        ([], (), (), "unknown", "Unknown: nothing was judged."),
        ([finding(BROKEN, 12.5)], ("recovery of api",), (), "held", "10.00 s wanted, as expected."),
        ([finding(HELD)], ("recovery of api",), (), "broken", "wanted, and it should have broken."),
        ([finding()], ("other",), (), "unknown", "Expected to break and never judged: 1."),
        ([finding(NOT_JUDGED), finding(invariant="x")], (), (), "held", "the machines are emulated: 1."),
    ],
)
def test_the_verdict_is_one_sentence(
    findings: list[Finding], expected: tuple[str, ...], reasons: tuple[str, ...], outcome: str, said: str
) -> None:
    judged = judge(findings, expected, reasons)
    assert judged.outcome == outcome
    assert said in judged.sentence


def test_the_finding_that_decides_is_the_one_farthest_beyond_its_limit() -> None:
    some = [
        finding(BROKEN, 12.0),
        finding(BROKEN, 0.5, invariant="availability", limit=0.99, unit=Unit.SHARE, bound="at-least"),
        finding(HELD, 9.9, invariant="near"),
    ]
    assert only(*some)["decisive"] == "availability"
    assert only(*some, finding(BROKEN, None, invariant="never"))["decisive"] == "never"
    assert (
        only(some[2], finding(HELD, None, invariant="nothing failed", bound="at-least"))["decisive"] == "near"
    )


# -- texts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nsecretpart\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nsecretpart cut off",
        "Authorization: Bearer secretpart.abc",
        "eyJhbGciOiJSUzI1NiJ9.secretpart.c2ln",
        "token=secretpart",
        'client-secret: "secretpart and more"',
        "https://user:secretpart@example.org/",
        "abcdef.0123456789secret",
    ],
)
def test_secrets_are_not_shown(secret: str) -> None:
    told = json.dumps(plain({"text": f"before {secret} after"}))
    assert "secretpart" not in told
    assert "0123456789secret" not in told
    assert HIDDEN in told
    assert "before" in told


def test_what_is_named_like_a_secret_has_no_value() -> None:
    settings = {"apiserver": {"bootstrap-token": "hush-hush", "token-auth-file": "/a/path"}}
    told = only(finding(), settings=settings, run={"password": "hush-hush"})
    assert "hush-hush" not in json.dumps(told)
    assert [row["value"] for row in told["settings"]] == [HIDDEN, "/a/path"]


def test_a_key_in_a_log_is_seen_although_it_has_several_lines() -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", "c2VjcmV0", "-----END PRIVATE KEY-----", "last line"]
    (log,) = only(finding(), logs=[{"machine": "m", "lines": lines}])["logs"]
    assert "c2VjcmV0" not in log["text"]
    assert "last line" in log["text"]


def test_what_one_does_not_see_has_a_name() -> None:
    assert plain("a\u202eb\x1b[31mc\u200bd\nß") == "a‹U+202E›b‹U+001B›[31mc‹U+200B›d\nß"


def test_numbers_that_json_has_not_are_nothing() -> None:
    assert plain([float("nan"), float("inf"), 1.5, True]) == [None, None, 1.5, True]


def test_a_fact_of_another_shape_does_not_stop_the_report() -> None:
    odd = dict.fromkeys(("run", "versions", "settings", "logs", "files", "notes", "probers"), 7)
    told = only(finding(), **odd)
    assert told["settings"] == told["logs"] == told["files"] == []


def test_a_long_excerpt_is_cut_and_says_so() -> None:
    (log,) = only(finding(), logs=[{"lines": ["x" * 900] * 250}])["logs"]
    assert log["left_out"] == 50
    assert max(map(len, log["text"].splitlines())) < 510


def test_settings_may_be_in_groups_and_have_origins() -> None:
    told = rows({"a": 1, "b": {"c": {"value": 2, "origin": "plan.yaml:3"}}})
    assert told == [
        {"name": "a", "value": 1, "origin": ""},
        {"name": "b / c", "value": 2, "origin": "plan.yaml:3"},
    ]


@pytest.mark.parametrize("name", ["/etc/shadow", "../x", "a/../../x", ""])
def test_no_link_leads_out_of_the_runs_folder(name: str) -> None:
    assert link(name) is None


def test_a_link_is_a_path_whatever_it_looks_like() -> None:
    found = link("javascript:alert(1)")
    assert found is not None
    assert found["href"] == "./javascript%3Aalert%281%29"


def test_what_lies_beside_a_report_is_found(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("report.html", "records.jsonl", "logs/a b.txt"):
        (tmp_path / name).touch()
    assert beside(tmp_path, "report.html") == ["logs/a b.txt", "records.jsonl"]
    assert beside(tmp_path / "nowhere", "report.html") == []


# -- JUnit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
def test_junit_has_the_same_numbers(name: str, tmp_path: Path) -> None:
    told = document(ALL[name]())
    write_junit([told], tmp_path / "junit.xml")
    suite = XML.parse(tmp_path / "junit.xml").getroot()[0]
    by_name = {case.attrib["name"]: case for case in suite.iter("testcase")}
    for each in told["findings"]:
        numbers = {p.attrib["name"]: p.attrib["value"] for p in by_name[each["invariant"]].iter("property")}
        assert numbers["value"] == ("" if each["value"] is None else str(each["value"]))
        assert (numbers["limit"], numbers["measured"]) == (str(each["limit"]), each["measured"])
    assert int(suite.attrib["failures"]) == len(
        [c for c in suite.iter("testcase") if c.find("failure") is not None]
    )
    assert int(suite.attrib["tests"]) == len(by_name)


@pytest.mark.parametrize(
    ("verdict", "expected", "end"),
    [
        (HELD, (), ""),
        (BROKEN, (), "failure"),
        (UNKNOWN, (), "error"),
        (NOT_JUDGED, (), "skipped"),
        (BROKEN, ("recovery of api",), ""),
        (HELD, ("recovery of api",), "failure"),
    ],
)
def test_a_case_ends_as_its_finding_counts(verdict: Verdict, expected: tuple[str, ...], end: str) -> None:
    told = cases(only(finding(verdict), expected=expected))
    assert [case.end for case in told] == ["", end]


def test_a_run_that_proves_nothing_is_an_error_even_if_all_held() -> None:
    first, second = cases(only(finding(), reasons=["late", "few"]))
    assert (first.end, first.message, second.end) == ("error", "late; few", "")


def test_what_was_to_break_and_was_not_judged_is_an_error() -> None:
    told = cases(only(finding(), expected=["other"]))
    assert [(case.name, case.end) for case in told[2:]] == [("other", "error")]


def test_properties_have_every_number() -> None:
    told = dict(properties(only(finding(BROKEN, 12.5), reasons=["late"])))
    assert told["verdict"] == "broken"
    assert told["recovery of api: value"] == "12.5"
    assert told["recovery of api: window"] == "10 to 60 s"
    assert told["reason"] == "late"


# -- many runs -------------------------------------------------------------------------------------------


def test_repeated_runs_have_worst_median_and_spread() -> None:
    runs = [only(finding(value=value)) for value in (3.0, 7.0, 4.0)]
    (row,) = spread(runs)
    assert (row["worst"], row["median"], row["spread"]) == (7.0, 4.0, 4.0)
    assert (row["worst_shown"], row["median_shown"]) == ("7.00 s", "4.00 s")


def test_the_worst_share_is_the_least() -> None:
    share = {"unit": Unit.SHARE, "bound": "at-least", "limit": 0.9}
    (row,) = spread([only(finding(value=value, **share)) for value in (0.91, 0.99)])
    assert row["worst"] == 0.91


def test_one_value_has_no_spread() -> None:
    (row,) = spread([only(finding())])
    assert (row["worst"], row["spread"], row["spread_shown"]) == (3.0, None, "nothing")


def test_what_never_came_is_worse_than_any_number() -> None:
    (row,) = spread([only(finding()), only(finding(BROKEN, None))])
    assert (row["worst"], row["worst_shown"], row["measured"], row["runs"]) == (None, "never", 1, 2)
    assert row["verdicts"] == {"held": 1, "broken": 1}


def test_what_never_came_counts_in_the_median_and_the_spread_too() -> None:
    """Left out it would flatter: the median of three runs, two of them without an end, is no end."""
    (row,) = spread([only(finding(value=3.0)), *[only(finding(BROKEN, None))] * 2])
    assert (row["median"], row["median_shown"], row["never"]) == (None, "never", 2)
    assert (row["spread"], row["spread_shown"]) == (None, "endless")
    (row,) = spread([*[only(finding(value=3.0))] * 2, only(finding(BROKEN, None))])
    assert (row["median"], row["worst_shown"]) == (3.0, "never")


def test_a_run_that_proves_nothing_is_in_none_of_the_numbers() -> None:
    runs = [only(finding(value=3.0)), only(finding(value=5.0)), only(finding(value=90.0), reasons=["late"])]
    (row,) = spread(runs)
    assert (row["worst"], row["runs"]) == (5.0, 2)
    assert list(lines(runs)) == [
        "made, 3 runs, 1 of them invalid and left out:",
        "  recovery of api: median 4.00 s, worst 5.00 s, spread 2.00 s (n=2); at most 10.00 s wanted",
    ]


def test_programs_get_the_same_numbers_over_all_runs_as_the_page(tmp_path: Path) -> None:
    runs = [only(finding(value=value)) for value in (3.0, 7.0, 4.0)]
    write_index(
        [Entry(run, f"{number}/report.html") for number, run in enumerate(runs)], tmp_path / "index.html"
    )
    (told,) = json.loads((tmp_path / "index.json").read_text())["repeated"]
    (row,) = told["invariants"]
    assert (row["worst"], row["median"], row["spread"]) == (7.0, 4.0, 4.0)
    for word in ("worst_shown", "median_shown", "spread_shown"):
        assert row[word] in (tmp_path / "index.html").read_text()
    write_junit(runs, tmp_path / "junit.xml")
    suite = XML.parse(tmp_path / "junit.xml").getroot()[-1]
    assert suite.get("name") == "made, 3 runs"
    found = {each.get("name"): each.get("value") for each in suite.iter("property")}
    assert found["recovery of api: worst"] == "7.0"
    assert (found["recovery of api: median"], found["recovery of api: spread"]) == ("4.0", "4.0")


def entries() -> list[Entry]:
    held, broken = only(finding()), only(finding(BROKEN, 12.5), scenario="other")
    bad = only(finding(value=4.0), reasons=["late"])
    return [Entry(held, "1/report.html"), Entry(bad, "2/report.html"), Entry(broken, "3/report.html")]


def test_an_index_has_each_run_with_what_it_turns_on() -> None:
    told = index_json(entries())
    assert [(run["verdict"], run["decisive"]["measured"]) for run in told["runs"]] == [
        ("held", "3.00 s"),
        ("invalid", "4.00 s"),
        ("broken", "12.50 s"),
    ]
    assert told["verdict"] == "broken"
    assert told["sentence"] == "2 scenarios: 1 broken, 1 invalid."
    assert [(each["scenario"], each["runs"]) for each in told["repeated"]] == [("made", 2)]


def test_an_index_of_nothing_is_no_pass() -> None:
    told = index_json([], skipped={"clock": "containers share the clock"})
    assert (told["verdict"], told["sentence"]) == ("unknown", "no scenario was run; 1 skipped.")


def test_the_index_page_links_to_every_report_and_says_what_was_skipped(tmp_path: Path) -> None:
    evil = Entry(only(finding(invariant=EVIL, text=EVIL), scenario=EVIL), "4/report.html")
    write_index([*entries(), evil], tmp_path / "index.html", skipped={"clock": EVIL})
    page = (tmp_path / "index.html").read_text()
    assert all(f'href="./{number}/report.html"' in page for number in (1, 2, 3, 4))
    assert "clock" in page
    assert "<img" not in page
    assert "12.50 s" in page


def test_faults_are_told_as_they_were_done() -> None:
    told = as_json(made(asked(), injections=[replace(KILL, healed=None)]), [])["faults"]
    assert (told[0]["asked"], told[0]["machines"], told[0]["healed"]) == (
        "k8s-master1",
        ["k8s-master1"],
        None,
    )
