"""Every fault's word: built from plain values, told to its last field, undone by scripts that are shell."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import test_programs
from component_files import CONTAINER
from fault_machines import PLAN

from lab.components.catalogue import components
from lab.faults.base import Fault, rebuilt
from lab.faults.catalogue import FAMILIES, FAULTS
from lab.faults.shell import ShellFault
from lab.faults.targets import words

PAGE = (Path(__file__).parents[2] / "docs/faults.md").read_text()
UNITS: dict[str, Any] = {"unit": "etcd"}
kinds = pytest.mark.parametrize("kind", FAULTS.values(), ids=FAULTS)


def built(kind: type[Fault]) -> Fault:
    needed = [f.name for f in dataclasses.fields(kind) if f.default is dataclasses.MISSING]
    return kind(("k8s-master1",), **{name: UNITS[name] for name in needed if name != "machines"})


def own_fields(kind: type[Fault]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind) if field.name != "machines"]


def test_no_two_faults_have_one_word() -> None:
    assert len(FAULTS) == sum(len(family) for family in FAMILIES)


def test_every_program_meets_every_fault_of_a_process_on_a_real_lab() -> None:
    """Nine programs and four faults; those that are tried twice are in another file."""
    asked = {(word, unit) for word in test_programs.FAULTS for unit in test_programs.PROGRAMS}
    assert len(asked) == 36
    assert test_programs.TRIED | set(test_programs.PAIRS) == asked
    known = {each.name for each in components(PLAN, CONTAINER)} | {"load-balancer", "coredns"}
    assert set(test_programs.PROGRAMS) <= known


@kinds
def test_a_record_brings_it_back(kind: type[Fault]) -> None:
    fault = built(kind)
    assert rebuilt(FAULTS, json.loads(json.dumps(fault.record()))) == fault


@kinds
def test_every_field_is_told_and_says_what_it_is(kind: type[Fault]) -> None:
    told = " ".join(
        each.__doc__ or "" for each in kind.__mro__ if issubclass(each, Fault) and each is not Fault
    )
    assert not [name for name in own_fields(kind) if f"`{name}`" not in told]
    hints = get_type_hints(kind, include_extras=True)
    numbers = [n for n in own_fields(kind) if get_type_hints(kind)[n] in (int, float)]
    without_unit = [name for name in numbers if len(get_args(hints[name])) != 2 and name != "times"]
    assert not without_unit, "a number needs a unit"


@kinds
def test_the_page_has_a_row_with_every_field(kind: type[Fault]) -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind.word}` |")]
    assert len(rows) == 1
    assert not [name for name in own_fields(kind) if f"`{name.replace('_', '-')}`" not in rows[0]]


def test_the_page_has_no_fault_that_is_gone() -> None:
    table = PAGE.partition("## The words")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)) == set(FAULTS)


def test_the_page_names_every_role() -> None:
    told = PAGE.partition("## Targets")[2].partition("\n## ")[0]
    roles = [word for word in words(PLAN) if word not in {node.name for node in PLAN.nodes}]
    assert not [role for role in roles if f"`{role}`" not in told]


@kinds
def test_what_victims_run_is_shell_that_systemd_leaves_as_it_is(kind: type[Fault]) -> None:
    fault = built(kind)
    for script in (*fault.undo(), *(fault.mending() if isinstance(fault, ShellFault) else ())):
        assert script.machine == "k8s-master1"
        subprocess.run(["sh", "-n"], input=script.text, text=True, check=True, timeout=10)
        assert "${" not in script.text, "systemd would put its own value there"
        assert "$$" not in script.text, "systemd would make one of the two"


@kinds
def test_what_lasts_is_ended_by_whom_the_page_says(kind: type[Fault]) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{kind.word}` |"))
    healer = row.split("|")[-3].strip()
    timers = built(kind).undo()
    assert healer == ("victim" if timers else "host" if kind.lasts else "itself")
    assert kind.lasts or not timers, "a timer would clear away what proves it"
