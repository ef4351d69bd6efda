"""The probers of one machine are asked, ended and read by one command each; its shell is this host's."""

import os
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from fake_lab import FakeMachine

from lab.errors import LabError
from lab.machine import Result
from lab.plan import load_topology
from lab.probes import vantage
from lab.probes.catalogue import probes
from lab.probes.clocks import Clock, Reading
from lab.probes.crew import Look, OnMachine, crews
from lab.probes.vantage import There, unit_of
from lab.probes.workload import Workload
from lab.topology import Node

WORKER = "k8s-worker1"
SYSTEMCTL = """#!/bin/sh
echo "$@" >>"$0.said"
[ "$1" = is-active ] || exit 0
shift
for unit; do cat "$0.$unit" 2>/dev/null || echo inactive; done
"""


class Worker(FakeMachine):
    """Runs commands here, with a systemctl that only takes notes."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Node(WORKER, IPv4Address("192.168.100.21"), frozenset()))
        self.systemctl, self.commands = folder / "systemctl", 0
        self.systemctl.write_text(SYSTEMCTL)
        self.systemctl.chmod(0o755)

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.commands += 1
        env = {"PATH": f"{self.systemctl.parent}:{os.environ['PATH']}"}
        done = subprocess.run(argv, input=stdin, capture_output=True, env=env, timeout=10, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def said(self) -> list[str]:
        return Path(f"{self.systemctl}.said").read_text().splitlines()


class Off(Worker):
    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        raise LabError(f"{WORKER} is not running")


class Silent(Worker):
    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        return Result(None)


def three(machine: Worker) -> list[There]:
    asked = probes(load_topology(), Workload("10.0.0.10", 30080, {}), ("dns", "cluster-ip", "dns-kept"))
    of = Clock(lambda: Reading(0.0, 0.0))
    found = [There(each, machine, of, unit_of(each)) for each in asked if each.at == WORKER]
    assert len(found) == 3
    return found


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    (tmp_path / "files").mkdir()
    monkeypatch.setattr(vantage, "PLACE", str(tmp_path / "files"))
    return Worker(tmp_path)


def at_work(each: There, text: str = '{"ready": 1.0}\n') -> None:
    machine: Any = each.machine
    Path(f"{machine.systemctl}.{unit_of(each.probe)}").write_text("active\n")
    Path(each.output).write_text(text)


def test_one_look_tells_who_ended_and_who_did_not_begin(worker: Worker) -> None:
    working, waiting, dead = three(worker)
    at_work(working)
    at_work(waiting, "")
    crew = OnMachine([working, waiting, dead])
    look = crew.look()
    assert look.idle == (waiting.probe.name, dead.probe.name)
    (said,) = look.dead
    assert said.startswith(f"the probers on {WORKER}: {dead.unit} ended")
    at_work(waiting)
    at_work(dead)
    before = worker.commands
    assert crew.look() == Look((), ())
    assert worker.commands == before + 1


def test_who_cannot_be_asked_in_time_is_neither_dead_nor_at_work(tmp_path: Path) -> None:
    crew = OnMachine(three(Silent(tmp_path)))
    assert crew.look() == Look((), tuple(each.probe.name for each in crew.probers))


def test_of_those_that_one_unit_began_it_is_said_once_that_it_ended(worker: Worker) -> None:
    probers = [replace(each, unit="one") for each in three(worker)]
    for each in probers:
        Path(each.output).write_text("{}\n")
    crew = OnMachine(probers)
    look = crew.look()
    assert (len(look.dead), look.idle) == (1, ())
    crew.stop()
    crew.told()
    assert worker.said()[-2:] == ["stop --no-block one", "stop one"]


def test_they_are_told_to_end_and_read_by_one_command_each(worker: Worker) -> None:
    probers = three(worker)
    at_work(probers[0], '{"ready": 1.0}\n{"ended": 2.0}\n')
    at_work(probers[1], '{"ready": 1.0}\n{"schedu')  # killed amid a line
    crew = OnMachine(probers)
    units = " ".join(each.unit for each in reversed(probers))
    crew.stop()
    told = crew.told()
    assert told == [([{"ready": 1.0}, {"ended": 2.0}], ""), ([{"ready": 1.0}], ""), ([], "")]
    assert worker.said() == [f"stop --no-block {units}", f"stop {units}"]
    assert worker.commands == 2
    assert not any(Path(each.output).exists() for each in probers), "what was read is removed"


def test_of_a_machine_that_is_off_each_of_them_says_so(tmp_path: Path) -> None:
    crew = OnMachine(three(Off(tmp_path)))
    crew.stop()
    wanted = f"nothing came back from its program: {WORKER} is not running"
    assert crew.told() == [([], wanted)] * 3


def test_there_is_one_crew_for_each_machine(worker: Worker) -> None:
    probers = three(worker)
    assert [list(each.probers) for each in crews(probers)] == [probers]
    assert crews([]) == []


def sample(at: float, outcome: str) -> str:
    return f'{{"scheduled": {at}, "sent": {at}, "answered": {at}, "outcome": "{outcome}", "said": ""}}\n'


def test_what_was_not_answered_up_to_now_is_told_of_each_by_one_command(worker: Worker) -> None:
    probers = three(worker)
    at_work(
        probers[0], '{"ready": 1.0}\n' + sample(1.0, "ok") + sample(2.0, "failed") + sample(3.0, "unknown")
    )
    at_work(probers[1], '{"ready": 1.0}\n' + sample(1.0, "ok"))
    before = worker.commands
    told = OnMachine(probers).failed()
    assert [[line["scheduled"] for line in lines] for lines in told] == [[2.0, 3.0], [], []]
    assert worker.commands == before + 1


def test_nothing_is_known_of_who_cannot_be_asked_or_is_amid_a_line(worker: Worker, tmp_path: Path) -> None:
    probers = three(worker)
    at_work(probers[0], sample(1.0, "failed") + '{"scheduled": 2.')
    assert OnMachine(probers).failed() == [[], [], []]
    assert OnMachine(three(Off(tmp_path))).failed() == [[], [], []]
