"""A program at work beside the lab: its lines are kept, and how it ended is told."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from lab.probes.hosted import Hosted, parsed
from lab.wait import NotYet, wait_until

Begin = Callable[[str], Hosted]
READ = "import json, sys; plan = json.load(open(sys.argv[1])); out = open(plan['output'], 'w')\n"


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Begin a program of these lines; it has read its plan."""

    def started(lines: str) -> Hosted:
        path = tmp_path / "program.py"
        path.write_text(READ + lines)
        program = ModuleType("program")
        program.__file__ = str(path)
        cluster: Any = SimpleNamespace(lab=SimpleNamespace(provider=SimpleNamespace(host_argv=list)))
        return Hosted(cluster, [program], tmp_path, {"asked": {"told": 7}})

    return started


def ended(program: Hosted) -> str:
    """How it ended, of itself."""

    def look() -> str:
        if trouble := program.trouble():
            return trouble
        raise NotYet("it is at work")

    return wait_until("the program to end", look, timeout=10)


def test_its_lines_are_kept_until_its_input_closes(begin: Begin) -> None:
    program = begin("print(json.dumps(plan['told']), file=out, flush=True); sys.stdin.read()")
    assert program.trouble() == ""
    program.finish()
    assert program.lines("asked") == [7]
    assert program.trouble() == "ended with 0: "


def test_one_that_ends_by_itself_is_trouble_with_its_last_words(begin: Begin) -> None:
    assert ended(begin("sys.exit('no such address')")) == "ended with 1: no such address"


def test_one_that_does_not_end_is_killed(begin: Begin) -> None:
    program = begin("import time; print('[1]', file=out, flush=True); time.sleep(60)")
    wait_until("its line", lambda: program.lines("asked") or _not_yet(), timeout=10)
    program.finish(0.1)
    assert program.trouble() == "ended with -9: "
    assert program.lines("asked") == [[1]]


def _not_yet() -> None:
    raise NotYet("it has written nothing")


def test_a_line_that_was_cut_off_is_left_out() -> None:
    assert parsed('{"a": 1}\n{"a": 2}\n{"a"') == [{"a": 1}, {"a": 2}]
    assert parsed("") == []
