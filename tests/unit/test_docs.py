"""What the documents promise is there: links, settings, tests, commands."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from lab.cli.app import HOME
from lab.plan import load_topology
from lab.planfile import MachineFile, NetworkFile, PlanFile, TuningFile
from lab.settings import SETTINGS, Setting
from lab.stages import stages_for
from lab.strictyaml import Schema

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")])
COVERAGE = (ROOT / "docs/coverage.md").read_text()
NAMED = re.compile(r"`((?:unit/)?test_\w+\.py)(?:::(test_\w+))?`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def targets(page: Path) -> list[str]:
    """What the page links to in this repository."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target for target in found if not target.startswith(("http://", "https://", "mailto:"))]


def anchors(page: Path) -> set[str]:
    """The page's headings as links name them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@cache
def functions_of(name: str) -> frozenset[str]:
    """The test functions of a file as coverage.md names it; empty if it is not there."""
    path = ROOT / "tests" / (name if name.startswith("unit/") else f"e2e/{name}")
    if not path.exists():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def lacking(text: str) -> list[str]:
    """The tests that a text names and that do not exist; rows that are in work may be ahead of them."""
    lines = [line for line in text.splitlines() if not line.rstrip().endswith("| in work |")]
    named = [found for line in lines for found in NAMED.findall(line)]
    return [f"{file}::{test}" for file, test in named if not is_there(file, test)]


def is_there(file: str, test: str) -> bool:
    """Whether the file holds the test, or any test if none is named."""
    found = functions_of(file)
    return test in found if test else bool(found)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in targets(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{name_of(page)} links to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{target} has no such heading"


def test_every_page_can_be_found_from_the_readme() -> None:
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in targets(ROOT / "README.md")}
    assert not [name_of(page) for page in PAGES if page not in linked and page.name != "README.md"]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_in_the_readmes_table(setting: Setting) -> None:
    row = f"| `{setting.option}` | `{setting.variable}` | `{setting.ini}` |"
    rows = [line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith(row)]
    assert len(rows) == 1
    assert not [choice for choice in setting.choices if choice and f"`{choice}`" not in rows[0]]


def test_the_readmes_table_has_no_setting_that_is_gone() -> None:
    options = re.findall(r"^\| `(--lab-[\w-]+)`", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(options) == sorted(setting.option for setting in SETTINGS)


@pytest.mark.parametrize(
    ("schema", "prefix"),
    [
        (PlanFile, ""),
        (NetworkFile, "network."),
        (MachineFile, "machines.NAME."),
        (TuningFile, "tuning."),
    ],
)
def test_every_key_of_a_plan_is_explained(schema: type[Schema], prefix: str) -> None:
    text = (ROOT / "docs/plans.md").read_text()
    keys = [
        field.replace("_", "-")
        for field in schema.model_fields
        if field not in ("network", "machines", "tuning")
    ]
    assert not [key for key in keys if f"| `{prefix}{key}` |" not in text]


def test_how_a_lab_grows_is_told_once() -> None:
    chapters = re.split(r"^##+ ", (ROOT / "docs/plans.md").read_text(), flags=re.MULTILINE)
    assert len([chapter for chapter in chapters if "--grow" in chapter]) == 1


def test_every_test_that_coverage_names_exists() -> None:
    assert not lacking(COVERAGE)


def test_a_name_that_does_not_exist_is_noticed_unless_it_is_in_work() -> None:
    assert lacking("| x | `test_etcd.py::test_of_nothing` | written |") == ["test_etcd.py::test_of_nothing"]
    assert lacking("| x | `test_of_nothing.py` | written |") == ["test_of_nothing.py::"]
    assert not lacking("| x | `test_of_nothing.py` | in work |")


@pytest.mark.parametrize("path", sorted(ROOT.glob("tests/e2e/test_*.py")), ids=lambda path: path.name)
def test_every_e2e_file_is_in_coverage(path: Path) -> None:
    assert path.name in {name for name, _ in NAMED.findall(COVERAGE)}


def test_the_picture_of_the_stages_is_theirs() -> None:
    picture = (ROOT / "docs/architecture.md").read_text().partition("## The stages")[2].split("```text\n")[1]
    drawn = {}
    for line in picture.split("```")[0].splitlines():
        names, _, needs = line.partition("<-")
        drawn |= dict.fromkeys(names.split(), frozenset(needs.replace(",", " ").split()))
    assert drawn == {stage.name: set(stage.needs) for stage in stages_for(load_topology())}


def test_every_command_that_is_shown_exists() -> None:
    shown = {
        command
        for page in PAGES
        for command in re.findall(r"\bthwlab (?:--[\w-]+ \S+ )*([a-z]+)\b", code_of(page))
    }
    assert {"up", "down", "status"} <= shown
    assert not shown - set(HOME), "shown in a document, and no command of thwlab"


def code_of(page: Path) -> str:
    """Only what is set as code."""
    text = page.read_text()
    indented = re.findall(r"^ {4}.+$", text, re.MULTILINE)
    return "\n".join([*indented, *re.findall(r"`([^`\n]+)`", text)])
