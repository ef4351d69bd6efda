"""Full and slow disks: on a btrfs of the test's own where root is there, else what scripts say."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_machines import cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.faults import disk as module
from lab.faults.disk import DiskFull, DiskSlow
from lab.machine import Platform, Substrate
from lab.wait import NotYet

NAME, OTHER = "k8s-master1", "k8s-master2"
VM = Platform(Substrate.VM, 2)
can_mount = (
    shutil.which("mkfs.btrfs") and not subprocess.run(["unshare", "-m", "true"], check=False).returncode
)


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two machines whose etcd lies on one btrfs, each in a subvolume of its own."""
    monkeypatch.setattr(module, "check_unit", lambda *_: None)
    image, pool = tmp_path / "image", tmp_path / "pool"
    pool.mkdir()
    with image.open("wb") as stream:
        stream.truncate(256 * 1024 * 1024)
    subprocess.run(["mkfs.btrfs", "-q", image], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, pool], check=True)
    try:
        machines = sandboxes(tmp_path, NAME, OTHER)
        for machine in machines.values():
            subprocess.run(["btrfs", "-q", "subvolume", "create", pool / machine.name], check=True)
            (pool / machine.name / "old").write_bytes(bytes(1024 * 1024))
            (machine.folder / "var/lib").mkdir(parents=True)
            (machine.folder / "var/lib/etcd").symlink_to(pool / machine.name)
        subprocess.run(["sync", "-f", pool], check=True)
        yield cluster_of(machines)
    finally:
        subprocess.run(["umount", pool], check=True)


def write(machine: Any) -> None:
    with (machine.folder / "var/lib/etcd/old").open("r+b") as stream:
        stream.write(b"x" * 100_000)
        stream.flush()


@pytest.mark.skipif(not can_mount, reason="needs root and btrfs-progs")
def test_one_machine_has_no_room_and_the_other_does_not_notice(shared: Any) -> None:
    fault, victim, other = DiskFull((NAME,)), shared.machines[NAME], shared.machines[OTHER]
    assert not fault.unavailable(shared)
    fault.heal(shared)
    fault.check_healed(shared)
    for _ in range(2):
        with pytest.raises(NotYet, match="there is still room"):
            fault.in_force(shared)
        fault.inject(shared)
        assert not fault.unavailable(shared), "a bound of our own is not somebody else's"
        assert "Disk quota exceeded" in fault.in_force(shared)
        with pytest.raises(OSError, match="quota"):
            write(victim)
        write(other)
        with pytest.raises(NotYet):
            fault.check_healed(shared)
        victim.calls()
        fault.heal(shared)
        assert victim.calls() == ["reset-failed etcd.service", "start --no-block etcd.service"]
        fault.check_healed(shared)
        write(victim)
    fault.heal(shared)


@pytest.mark.parametrize(
    ("said", "bites"),
    [
        ("dd: error writing '/x': No space left on device", True),
        ("dd: closing output file '/x': Disk quota exceeded", True),
        ("dd: failed to open '/x': Read-only file system", False),
        ("dd: failed to open '/x': No such file or directory", False),
        ("", False),
    ],
)
def test_only_want_of_room_is_evidence_of_a_full_disk(tmp_path: Path, said: str, bites: bool) -> None:
    """A write that fails for any other reason says nothing about room."""
    machine = sandboxes(tmp_path, NAME, programs={"dd": f'echo "{said}" >&2; exit 1'})[NAME]
    cluster, fault = cluster_of({NAME: machine}), DiskFull((NAME,))
    if bites:
        assert said in fault.in_force(cluster)
    else:
        with pytest.raises(NotYet, match="no want of room"):
            fault.in_force(cluster)


@pytest.mark.skipif(not can_mount, reason="needs root and btrfs-progs")
def test_quotas_of_others_are_left_alone(shared: Any, tmp_path: Path) -> None:
    fault, pool = DiskFull((NAME,)), tmp_path / "pool"
    subprocess.run(["btrfs", "quota", "enable", pool], check=True)
    assert "in use by others" in fault.unavailable(shared)
    fault.heal(shared)
    shown = subprocess.run(["btrfs", "qgroup", "show", pool], capture_output=True, check=False)
    assert shown.returncode == 0, "and not switched off"


def test_containers_go_one_at_a_time_and_need_btrfs(tmp_path: Path) -> None:
    machines = sandboxes(tmp_path, NAME, OTHER)
    for machine in machines.values():
        (machine.folder / "var/lib/etcd").mkdir(parents=True)
    lab = cluster_of(machines)
    assert "one machine at a time" in DiskFull((NAME, OTHER)).unavailable(lab)
    reason = DiskFull((NAME,)).unavailable(lab)
    assert not reason or "is not on btrfs" in reason or "does not tell" in reason or "in use" in reason
    assert not DiskFull((NAME, OTHER)).unavailable(cluster_of(machines, platform=VM))


DD = """\
for word; do case "$word" in of=*) out=${word#of=};; esac; done
if test -e "$HERE/var/lib/etcd/thwlab-filler"; then echo "dd: No space left on device" >&2; exit 1; fi
: >"$out"
"""


def test_a_vms_own_disk_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "check_unit", lambda *_: None)
    programs = {"dd": DD, "fallocate": 'for last; do :; done; : >"$last"', "sync": "true"}
    machines = sandboxes(tmp_path, NAME, programs=programs)
    (machines[NAME].folder / "var/lib/etcd").mkdir(parents=True)
    lab, fault = cluster_of(machines, platform=VM), DiskFull((NAME,))
    for _ in range(2):
        with pytest.raises(NotYet):
            fault.in_force(lab)
        fault.inject(lab)
        assert "No space left on device" in fault.in_force(lab)
        fault.heal(lab)
        fault.check_healed(lab)


def test_a_slow_disk_is_said_to_be_impossible_in_containers(tmp_path: Path) -> None:
    assert "containers share a disk" in DiskSlow((NAME,)).unavailable(cluster_of(sandboxes(tmp_path, NAME)))


@pytest.mark.parametrize(("seconds", "bites"), [("2.5", True), ("0.02", False)])
def test_a_slow_disk_is_measured(tmp_path: Path, seconds: str, bites: bool) -> None:
    programs = dict.fromkeys(("findmnt", "lsblk", "dd"), "true") | {"awk": f"echo {seconds}"}
    machines = sandboxes(tmp_path, NAME, programs=programs)
    for place in ("sys/fs/cgroup/system.slice/etcd.service", "var/lib/etcd"):
        (machines[NAME].folder / place).mkdir(parents=True)
    lab = cluster_of(machines, platform=VM)
    fault = DiskSlow((NAME,), writes=10)
    if bites:
        assert "20 synchronous writes from etcd's cgroup took 2.50 s" in fault.in_force(lab)
    else:
        with pytest.raises(NotYet, match=r"took 0\.02 s"):
            fault.in_force(lab)
