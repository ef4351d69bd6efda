"""Boxes that VMs have their disks over, and that `artifacts gc` passes over."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lab.artifacts.box import SHARED, BuiltBox
from lab.cli import artifacts
from lab.cli.app import cli
from lab.providers.vagrant.libvirt.boxes import boxes_in_use
from lab.providers.vagrant.libvirt.daemon import PrivateLibvirtd
from lab.providers.vagrant.libvirt.kvm import Kvm

# Of a daemon's process, and of one that sees this host's own boot folder.
DAEMONS = f"""\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
301 22 8:1 /root/.cache/thwlab/boxes/0ther {SHARED} ro,relatime - ext4 /dev/sda1 rw
"""
OURS = "23 1 8:1 /images /mnt/boxes rw - ext4 /dev/sda1 rw\ncut off\n"


def made(root: Path, name: str, box: BuiltBox | str) -> Path:
    """A lab's folder whose VMs are of that box; no daemon runs."""
    daemon = PrivateLibvirtd(name, root / name / "libvirt")
    daemon.directory.mkdir(parents=True)
    daemon.key.with_suffix(".pub").write_text("ecdsa x")
    daemon.vms.write_text(json.dumps(daemon._told(box, Kvm(False, "why"))))
    return root / name


def proc_with(root: Path, **mounts: str) -> Path:
    """A /proc with these processes, by what they see mounted."""
    for pid, told in mounts.items():
        (root / "proc" / pid.strip("p")).mkdir(parents=True)
        (root / "proc" / pid.strip("p") / "mountinfo").write_text(told)
    return root / "proc"


def test_a_labs_box_is_in_use_though_its_daemon_does_not_run(tmp_path: Path) -> None:
    labs = [
        made(tmp_path, "one", BuiltBox(tmp_path / "cache/boxes/0ne")),
        made(tmp_path, "plain", "debian/bookworm64"),
        tmp_path / "of-containers",
    ]
    assert boxes_in_use(labs, tmp_path / "no proc") == {"0ne"}


def test_what_a_running_daemon_sees_is_in_use_wherever_its_lab_is(tmp_path: Path) -> None:
    proc = proc_with(tmp_path, p7=DAEMONS, p8=OURS)
    (proc / "9").mkdir()
    assert boxes_in_use([], proc) == {"0ther"}


def test_the_box_of_a_lab_is_not_removed_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was, and with it kernel, initrd and every disk's other half."""
    boxes = tmp_path / "cache/boxes"
    for path in (boxes / "0ne", boxes / "0ld", tmp_path / "cache/roots/0ne"):
        path.mkdir(parents=True)
    images = [boxes / "0ld", boxes / "0ne", tmp_path / "cache/roots/0ne"]
    made(tmp_path / "state", "one", BuiltBox(boxes / "0ne"))
    monkeypatch.setattr(artifacts, "unneeded_images", lambda _: images)
    folders = {"THWLAB_STATE": str(tmp_path / "state"), "THWLAB_CACHE": str(tmp_path / "cache")}
    done = CliRunner(env=folders).invoke(cli, ["artifacts", "gc", "--yes"])
    assert done.exit_code == 0, done.output
    assert [path.exists() for path in images] == [False, True, False]
    assert "2 removed, others are in use" in done.output
