"""A program without processor time: in a real cgroup where the kernel's are of version 1, else by systemd."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_machines import cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.faults import cpu as module
from lab.faults.cpu import Starve
from lab.wait import NotYet, wait_until

NAME = "k8s-master1"
CGROUPS = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()]
V1 = any(name == "cpu" and hierarchy != "0" for name, hierarchy, *_ in CGROUPS)


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A machine whose etcd never rests."""
    monkeypatch.setattr(module, "check_unit", lambda *_: None)
    machine = sandboxes(tmp_path, NAME)[NAME]
    machine.run("systemctl", "start", "etcd")
    loop = subprocess.Popen(["nice", "-n", "19", "sh", "-c", "while :; do :; done"])
    procs = machine.folder / "sys/fs/cgroup/system.slice/etcd.service/cgroup.procs"
    idle = procs.read_text()
    procs.write_text(f"{loop.pid}\n")
    yield cluster_of({NAME: machine})
    loop.kill()
    loop.wait()
    procs.write_text(idle)
    machine.end()


def await_(check: Any) -> Any:
    return wait_until("it", check, timeout=20)


@pytest.mark.skipif(os.geteuid() != 0 or not V1, reason="needs root and cgroups of version 1")
def test_it_has_to_wait_and_is_free_again_twice(busy: Any) -> None:
    fault, machine = Starve((NAME,), "etcd", percent=2), busy.machines[NAME]
    procs = "sys/fs/cgroup/system.slice/etcd.service/cgroup.procs"
    alone = (machine.folder / procs).read_text()
    assert not fault.unavailable(busy)
    fault.heal(busy)
    fault.check_healed(busy)
    for _ in range(2):
        with pytest.raises(NotYet, match="is not bound"):
            fault.in_force(busy)
        fault.inject(busy)
        assert "had to wait in" in await_(lambda: fault.in_force(busy))
        assert "all 1 processes of etcd are bound" in fault.still_in_force(busy)
        with Path(machine.folder / procs).open("a") as stream:
            stream.write(f"{os.getpid()}\n")  # as one started anew, which the count knows nothing of
        assert fault.in_force(busy)
        with pytest.raises(NotYet, match="1 of 2 processes of etcd are not bound"):
            fault.still_in_force(busy)
        (machine.folder / procs).write_text(alone)
        with pytest.raises(NotYet, match="is still bound"):
            fault.check_healed(busy)
        fault.heal(busy)
        fault.check_healed(busy)
        assert machine.left() == []
        assert str(machine.folder) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.skipif(os.geteuid() != 0 or not V1, reason="needs root and cgroups of version 1")
def test_what_has_nothing_to_do_never_has_to_wait(busy: Any) -> None:
    machine = busy.machines[NAME]
    procs = machine.folder / "sys/fs/cgroup/system.slice/etcd.service/cgroup.procs"
    procs.write_text((machine.folder / "units/etcd/pid").read_text())  # it only sleeps
    fault = Starve((NAME,), "etcd", percent=2)
    fault.inject(busy)
    with pytest.raises(NotYet, match="never had to wait yet"):
        fault.in_force(busy)
    fault.heal(busy)
    fault.check_healed(busy)


def test_where_systemd_can_it_does_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_unit", lambda *_: None)
    machine = sandboxes(tmp_path, NAME, programs={"stat": "echo cgroup2fs"})[NAME]
    machine.run("systemctl", "start", "etcd")
    lab, fault = cluster_of({NAME: machine}), Starve((NAME,), "etcd", percent=7)
    counter = machine.folder / "sys/fs/cgroup/system.slice/etcd.service/cpu.stat"
    counter.write_text("nr_periods 9\nnr_throttled 3\n")
    machine.calls()
    fault.inject(lab)
    assert machine.calls() == ["set-property --runtime etcd.service CPUQuota=7%"]
    dropin = machine.folder / "run/systemd/system.control/etcd.service.d/50-CPUQuota.conf"
    dropin.parent.mkdir(parents=True)
    dropin.touch()
    with pytest.raises(NotYet, match="never had to wait yet"):
        fault.in_force(lab)
    counter.write_text("nr_periods 19\nnr_throttled 8\n")
    assert "had to wait in 5 periods, at 7 %" in fault.in_force(lab)
    limit = counter.with_name("cpu.max")
    limit.write_text("7000 100000\n")
    assert "all 2 processes of etcd are bound" in fault.still_in_force(lab)
    limit.write_text("max 100000\n")
    with pytest.raises(NotYet, match="2 of 2 processes of etcd are not bound"):
        fault.still_in_force(lab)
    with pytest.raises(NotYet, match="is still bound"):
        fault.check_healed(lab)
    fault.heal(lab)
    assert machine.calls() == ["set-property --runtime etcd.service CPUQuota=", "daemon-reload"]
    fault.check_healed(lab)
    fault.heal(lab)
    assert machine.calls() == []
    machine.end()


def test_no_such_unit_is_said(tmp_path: Path) -> None:
    lab = cluster_of(sandboxes(tmp_path, NAME))
    assert Starve((NAME,), "kubelet").unavailable(lab) == f"{NAME}: no unit kubelet"
