"""Several plans of one program by one start of Python: a process each, and one end for all."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.probes import prober, several
from lab.wait import NotYet, wait_until

Begin = Callable[..., "subprocess.Popen[str]"]
WAITS = """
import os, signal, sys, threading, time
def work(plan):
    stop = threading.Event()
    told = lambda: (signal.sigwait({signal.SIGTERM}), None if plan.get("hangs") else stop.set())
    threading.Thread(target=told, daemon=True).start()
    with open(plan["output"], "w") as out:
        print(os.getpid(), file=out)
    if plan.get("fails"):
        raise OSError("no such address")
    if plan.get("input"):
        threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    stop.wait(60)
    with open(plan["output"], "a") as out:
        print("ended", file=out)
"""


@pytest.fixture
def begin(tmp_path: Path) -> Begin:
    """Begin one plan for each of these words; return once those that write have written."""

    def begun(*words: str, **more: object) -> "subprocess.Popen[str]":
        program = tmp_path / "program.py"
        program.write_text(WAITS)
        for word in words:
            output = str(tmp_path / f"{word}.out")
            (tmp_path / f"{word}.plan").write_text(json.dumps({"output": output, word: True, **more}))
        plans = [str(tmp_path / f"{word}.plan") for word in words]
        argv = [sys.executable, "-I", several.__file__, str(program), *plans]
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for word in words:
            wait_until(f"{word} to be at work", lambda word=word: pid_of(tmp_path, word), timeout=10)
        return process

    return begun


def pid_of(folder: Path, word: str) -> int:
    path = folder / f"{word}.out"
    if not path.exists() or not path.read_text().strip():
        raise NotYet("it has written nothing")
    return int(path.read_text().split()[0])


def said(folder: Path, word: str) -> list[str]:
    return (folder / f"{word}.out").read_text().split()[1:]


def test_each_is_a_process_of_its_own_and_all_end_when_they_are_told(begin: Begin, tmp_path: Path) -> None:
    process = begin("one", "two")
    assert len({process.pid, pid_of(tmp_path, "one"), pid_of(tmp_path, "two")}) == 3
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10)[1] == ""
    assert process.returncode == 0
    assert said(tmp_path, "one") == said(tmp_path, "two") == ["ended"]


def test_the_end_of_their_input_is_the_end_of_all(begin: Begin, tmp_path: Path) -> None:
    process = begin("one", "two", input=True)
    assert process.stdin
    process.stdin.close()
    assert process.wait(10) == 0
    assert said(tmp_path, "one") == said(tmp_path, "two") == ["ended"]


def test_one_that_fails_is_named_and_ends_the_others(begin: Begin, tmp_path: Path) -> None:
    process = begin("one", "fails")
    told = process.communicate(timeout=10)[1]
    assert process.returncode == 1
    assert "OSError: no such address" in told
    assert told.endswith("fails ended with 1\n")
    assert said(tmp_path, "one") == ["ended"]


def test_one_that_is_killed_is_named_and_ends_the_others(begin: Begin, tmp_path: Path) -> None:
    process = begin("one", "two")
    os.kill(pid_of(tmp_path, "one"), signal.SIGKILL)
    assert process.communicate(timeout=10)[1] == "one ended with -9\n"
    assert process.returncode == 1
    assert said(tmp_path, "two") == ["ended"]


def test_one_that_does_not_end_in_time_is_killed(begin: Begin, tmp_path: Path) -> None:
    process = begin("one", "hangs")
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=several.GRACE + 10)[1] == "hangs ended with -9\n"
    assert said(tmp_path, "one") == ["ended"]


def ask_nobody(folder: Path, names: list[str]) -> "subprocess.Popen[bytes]":
    """Probers at work, of a port where nobody answers."""
    for name in names:
        plan = {
            "ask": "dns", "name": "x", "address": "127.0.0.1", "port": 9, "interval": 0.05, "deadline": 0.2,
            "until-input-ends": True, "output": str(folder / f"{name}.out"),
        }  # fmt: skip
        (folder / f"{name}.plan").write_text(json.dumps(plan))
    plans = [str(folder / f"{name}.plan") for name in names]
    argv = [sys.executable, "-I", several.__file__, prober.__file__, *plans]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until("all to ask", lambda: check_lines(folder, names, 3), timeout=20)
    return process


def test_probers_end_together_with_whoever_began_them(tmp_path: Path) -> None:
    """Though a program between them and us is killed, which cannot tell them."""
    process = ask_nobody(tmp_path, ["one", "two"])
    process.kill()
    process.wait()
    assert process.stdin
    process.stdin.close()
    wait_until("both to end", lambda: check_ended(tmp_path, ["one", "two"]), timeout=10)


def test_who_is_told_to_end_twice_at_once_ends(tmp_path: Path) -> None:
    """By its input, and by a signal since another ended (`test_no_handler_of_its_own_thread...`)."""
    names = [f"prober{number}" for number in range(24)]
    process = ask_nobody(tmp_path, names)
    assert process.communicate(timeout=20)[1] == b""
    assert process.returncode == 0
    check_ended(tmp_path, names)


def check_lines(folder: Path, names: list[str], count: int) -> None:
    for name in names:
        path = folder / f"{name}.out"
        if not path.exists() or len(path.read_text().splitlines()) < count:
            raise NotYet(f"{name} has not written {count} lines")


def check_ended(folder: Path, names: list[str]) -> None:
    for name in names:
        if '"ended"' not in (folder / f"{name}.out").read_text():
            raise NotYet(f"{name} is at work")
