"""The program that takes files on a machine, as a file of ours: what it may use, and what it is given.

What it does there is in `test_machine`.
"""

import ast
import io
import subprocess
import sys
from pathlib import Path

import pytest

from lab import receiver, transfer
from lab.errors import OutputLost
from lab.machine import File, Result
from lab.transfer import Carried

THERE = {"__future__", "os", "stat", "sys", "time"}  # what Python itself has loaded, or as good as


def test_the_receiver_is_sent_as_it_lies_in_the_package() -> None:
    sent: list[tuple[str, ...]] = []
    transfer.receive(lambda argv: sent.append(tuple(argv)) or Result(0))
    assert sent == [("python3", "-c", Path(receiver.__file__).read_text(), "0.000")]


def test_the_receiver_is_of_the_oldest_machines_python_and_imports_next_to_nothing() -> None:
    """Debian 11's; each further module costs a slow machine more than the files do."""
    found: set[str] = set()
    for each in ast.parse(transfer.RECEIVER, feature_version=(3, 9)).body:
        if isinstance(each, ast.ImportFrom):
            found.add(each.module or "")
        elif isinstance(each, ast.Import):
            found.update(alias.name for alias in each.names)
    assert found == THERE


def test_the_receiver_loads_no_more_than_it_names() -> None:
    program = (
        "import sys, os, stat, time; before = {*sys.modules}\n"
        f"exec({transfer.RECEIVER!r}, {{'__name__': 'receiver'}})\n"
        "print(*sorted({*sys.modules} - before))"
    )
    argv = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == ["__future__"]


def test_stream_and_receiver_understand_each_other(tmp_path: Path) -> None:
    files = [File(str(tmp_path / "a b"), b"1\n\n", 0o640), File(str(tmp_path / "ä"), b"", 0o600)]
    text, count = transfer.stream(files, {"/nowhere/x.service": [File(str(tmp_path / "first"), b"2")]})
    planned = list(receiver.listed(stream := io.BytesIO(text)))
    assert [(each.path.decode(), each.mode, each.size, each.anyway) for each in planned] == [
        (str(tmp_path / "first"), 0o644, 1, False),
        (str(tmp_path / "a b"), 0o640, 3, True),
        (str(tmp_path / "ä"), 0o600, 0, True),
    ]
    assert [bytes.fromhex(sake.decode()) for sake in planned[0].sakes] == [b"/nowhere/x.service"]
    assert (stream.read(), count) == (b"21\n\n", 3)


def test_a_report_is_written_and_left() -> None:
    assert transfer.report("+/a\0-/b c\0+/-d\0") == Carried(frozenset({"/a", "/-d"}), frozenset({"/b c"}))
    assert transfer.report("-/a\0\0+seen\0\0") == Carried(left=frozenset({"/a"}), seen="+seen\0\0")
    assert transfer.report("\0seen") == Carried(seen="seen")
    assert transfer.report("") == Carried()


def test_a_lost_report_is_asked_for_so_often_and_with_the_time_that_went_by() -> None:
    asked: list[float] = []

    def losing(argv: object) -> Result:
        asked.append(float(list(argv)[-1]))  # type: ignore[call-overload]
        raise OutputLost("lost")

    with pytest.raises(OutputLost):
        transfer.receive(losing)
    assert len(asked) == transfer.REPORTS_LOST + 1
    assert asked[0] == 0
    assert all(0.1 <= each < 5 for each in asked[1:])
