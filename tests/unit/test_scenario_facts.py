"""What programs said around a fault, as a run keeps it; the shell and its awk are this host's."""

import os
import subprocess
import time
from pathlib import Path
from typing import Any

from fake_lab import FakeMachine

from lab.history import Recorder, read
from lab.machine import Result
from lab.plan import load_topology
from lab.scenario.facts import ALIKE, LINES, record_logs

WORKER = "k8s-worker1"
ENDED = "kubelet[77]: E1127 22:13:29.736224 bootstrap.go:267] client certificate in /x is expired: yesterday"


class Telling(FakeMachine):
    """Its journal is this text."""

    def __init__(self, folder: Path, lines: list[str]) -> None:
        super().__init__(load_topology().node(WORKER))
        self.path = folder
        now = time.time()
        journal = [f"{now + n / 1000:.6f} {WORKER} {line}" for n, line in enumerate(lines)]
        (folder / "journal").write_text("".join(f"{line}\n" for line in journal))
        program = folder / "journalctl"
        program.write_text(f'#!/bin/sh\nexec cat "{folder}/journal"\n')
        program.chmod(0o755)

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        env = {"PATH": f"{self.path}:{os.environ['PATH']}"}
        done = subprocess.run(argv, input=stdin, capture_output=True, env=env, timeout=10, check=False)
        return Result(done.returncode, done.stdout, done.stderr)


def told(tmp_path: Path, lines: list[str]) -> list[str]:
    cluster: Any = type("Lab", (), {"machines": {WORKER: Telling(tmp_path, lines)}})
    recorder = Recorder(tmp_path / "records.jsonl")
    record_logs(cluster, recorder, [0.0])
    (fact,) = [each["value"] for each in read(recorder.path) if each["kind"] == "fact"]
    found = fact.get(WORKER, [])
    assert found == sorted(found)
    return [said for _, said in found]


def mirror(number: int) -> str:
    return f'kubelet[77]: E1127 22:13:{number:02}.8 77 kubelet.go:3596] "not registered" pod="8ec{number}fb8"'


def test_what_is_said_once_is_not_lost_among_what_is_said_all_the_time(tmp_path: Path) -> None:
    """A kubelet that was locked out said why, and then 400 lines of another kind."""
    kept = told(tmp_path, [ENDED, *(mirror(number) for number in range(2 * LINES))])
    assert f"{WORKER} {ENDED}" in kept
    assert len(kept) == 1 + ALIKE + 1
    assert kept[-1].endswith(f"(the last of {2 * LINES} alike)")


def test_what_differs_in_more_than_numbers_is_all_kept_up_to_the_limit(tmp_path: Path) -> None:
    words = [f"{chr(97 + n // 26 % 26)}{chr(97 + n % 26)}" for n in range(LINES + 10)]
    kept = told(tmp_path, [f'etcd[9]: {{"level":"warn","msg":"{word}"}}' for word in words])
    assert len(kept) == LINES
    assert words[-1] in kept[-1]


def test_what_is_no_complaint_is_left_out(tmp_path: Path) -> None:
    assert told(tmp_path, ["kubelet[77]: I1127 22:13:29.7 77 server.go:1] started"]) == []
