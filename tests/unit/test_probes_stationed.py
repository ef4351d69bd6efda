"""Probers of a machine: begun, looked at and ended together, each named when something is wrong with it."""

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fixed import guide_topology

from lab.errors import LabError
from lab.machine import File, Result
from lab.probes import stationed
from lab.probes.question import Probe
from lab.probes.stationed import There
from lab.probes.workload import Workload

PLAN = guide_topology()
SYSTEMD_RUN = """\
for word; do case $word in --unit=*) unit=${word#--unit=};; esac; done
case $unit in *bad*) echo "no such user" >&2; exit 1;; esac
echo "$@" >"$HERE/units/$unit"
"""
SYSTEMCTL = """\
echo "$@" >>"$HERE/calls"
case $1 in is-active)
  for unit; do :; done
  [ -e "$HERE/units/$unit" ] || { echo inactive; exit 3; }
  echo active;;
esac
"""


class Host:
    """A machine whose programs are stand-ins in a folder of this host."""

    name = "k8s-worker1"

    def __init__(self, folder: Path) -> None:
        self.folder, self.commands, self.files = folder, 0, {}
        (folder / "units").mkdir()
        stand_ins = {
            "systemd-run": SYSTEMD_RUN,
            "systemctl": SYSTEMCTL,
            "journalctl": "echo last words of $2",
        }
        for name, body in stand_ins.items():
            (folder / name).write_text(f"#!/bin/sh\n{body}")
            (folder / name).chmod(0o755)

    def apply(self, files: list[File]) -> frozenset[str]:
        self.files = {file.path: file for file in files}
        return frozenset(self.files)

    def run(self, *argv: str, timeout: float = 60) -> Result:
        self.commands += 1
        env = {"PATH": f"{self.folder}:{os.environ['PATH']}", "HERE": str(self.folder)}
        done = subprocess.run(argv, capture_output=True, env=env, timeout=timeout)
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(stationed, "PLACE", str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    return Host(tmp_path)


def probe(name: str, *, pod: bool = False) -> Probe:
    return Probe(f"{name}@k8s-worker1", name, 0.05, {"ask": "tcp"}, "k8s-worker1", pod=pod)


def begun(machine: Any, *probes: Probe) -> list[There]:
    workload = Workload("10.0.0.9", 30080, {"k8s-worker1": 4711})
    clocks: Any = SimpleNamespace(of=lambda _: None)
    return stationed.by_machine(stationed.begin(machine, probes, workload, 90.0, clocks))["k8s-worker1"]


def test_all_are_begun_by_one_command_each_as_its_own_unit(machine: Any) -> None:
    running = begun(machine, probe("dns"), probe("cluster-ip", pod=True))
    assert machine.commands == 1
    assert sorted(path.rpartition("/")[2] for path in machine.files) == [
        "cluster-ip@k8s-worker1.plan",
        "dns@k8s-worker1.plan",
        "prober.py",
    ]
    assert {machine.files[path].mode for path in machine.files if path.endswith(".plan")} == {0o600}
    units = {path.name: path.read_text() for path in (machine.folder / "units").iterdir()}
    assert set(units) == {each.unit for each in running}
    assert "--property=RuntimeMaxSec=90 " in units["thwlab-probe-dns-k8s-worker1"]
    assert "nsenter" not in units["thwlab-probe-dns-k8s-worker1"]
    assert "nsenter --net=/proc/4711/ns/net python3 -I " in units["thwlab-probe-cluster-ip-k8s-worker1"]


def test_one_that_cannot_be_begun_is_named_with_what_systemd_said(machine: Any) -> None:
    with pytest.raises(
        LabError, match="thwlab-probe-bad-k8s-worker1 could not be started: no such user"
    ) as told:
        begun(machine, probe("dns"), probe("bad"))
    assert "probe-dns" not in str(told.value)


def test_all_are_looked_at_by_one_command_and_are_idle_until_they_wrote(machine: Any) -> None:
    running = begun(machine, probe("dns"), probe("node-port"))
    machine.commands = 0
    assert stationed.idle(machine, running) == ["dns@k8s-worker1", "node-port@k8s-worker1"]
    assert machine.commands == 1
    Path(running[0].output).write_text("{}\n")
    assert stationed.idle(machine, running) == ["node-port@k8s-worker1"]
    Path(running[1].output).write_text("{}\n")
    assert stationed.idle(machine, running) == []


def test_one_that_has_ended_is_named_with_its_last_words_though_it_wrote(machine: Any) -> None:
    running = begun(machine, probe("dns"), probe("node-port"))
    for each in running:
        Path(each.output).write_text("{}\n")
    (machine.folder / "units" / running[1].unit).unlink()
    last = f"last words of {running[1].unit}"
    said = f"node-port@k8s-worker1: the prober on k8s-worker1 ended: {last}"
    with pytest.raises(LabError, match=said):
        stationed.idle(machine, running)
    assert (running[0].trouble(), running[1].trouble()) == ("", said)


def test_a_machine_that_does_not_answer_leaves_them_idle(
    machine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = begun(machine, probe("dns"))
    monkeypatch.setattr(machine, "run", lambda *_, **__: Result(None))
    assert stationed.idle(machine, running) == ["dns@k8s-worker1"]


def test_all_are_asked_to_end_by_one_command(machine: Any) -> None:
    running = begun(machine, probe("dns"), probe("node-port"))
    machine.commands = 0
    stationed.stop(machine, running)
    assert machine.commands == 1
    last = (machine.folder / "calls").read_text().splitlines()[-1]
    assert last == f"stop --no-block {running[0].unit} {running[1].unit}"
