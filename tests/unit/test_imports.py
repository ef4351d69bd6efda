"""The one direction of imports, and what has no place in the package."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A module may import what stands in an earlier line, or in its own.
ORDER = (
    "errors disks wait background ownership rights secrecy signatures locks users",
    "mistakes yamlreader strictyaml",
    "tuning topology growth versions planfile planrules plan history",
    "artifacts pki kubeconfig",
    "receiver transfer machine carrying",
    "providers",
    "http kubeapi components addons furnishing",
    "state debts laboratory bringup",
    "joining",
    "acts",
    "stages automatic choice opening",
    "leftovers",
    "verify cluster health limits collect heartbeat settings turns vanished",
    "session summary results teller guard",
    "probes faults",
    "invariants linearizability",
    "jepsen",
    "scenario",
    "report",
    "failover",
    "doctor plugin cli",
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names.split()}
ONLY = {"invariants": {"history", "errors"}, "linearizability": {"history", "errors"}}
MODULES = sorted((ROOT / "lab").rglob("*.py"))


def part(path: Path) -> str:
    """The module or package directly below `lab`."""
    return path.relative_to(ROOT / "lab").parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """The parts of `lab` that a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "lab":
            names = [f"lab.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names = [node.module or ""]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("lab."))


def called(tree: ast.Module, name: str) -> bool:
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(isinstance(func, ast.Name) and func.id == name for func in calls)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    if path.name == "__init__.py" and path.parent.name == "lab":
        return
    here = part(path)
    assert here in RANK, f"lab.{here} has no place in the order of imports"
    used = set(imported(ast.parse(path.read_text()))) - {here}
    assert not {name for name in used if RANK.get(name, 99) > RANK[here]}
    if here in ONLY:
        assert used <= ONLY[here]


def test_no_part_is_a_drawer() -> None:
    assert not {path.stem for path in MODULES} & {"util", "utils", "common", "helpers", "manager"}


def test_only_wait_sleeps() -> None:
    sleepers = [
        path.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and node.attr == "sleep")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "sleep" for alias in node.names))
    ]
    assert set(sleepers) <= {"wait.py"}


def test_nothing_prints() -> None:
    assert not [path.name for path in MODULES if called(ast.parse(path.read_text()), "print")]
