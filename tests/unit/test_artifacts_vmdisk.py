"""The disk of Incus' and LXD's VMs: what it is made of, and that a firmware finds what it needs on it."""

import os
import shutil
import struct
import subprocess
import uuid
from pathlib import Path

import pytest

from lab.artifacts import prepare, rootfs, vmdisk
from lab.artifacts.box import VM as BOX
from lab.artifacts.diskimage import write_filesystem
from lab.artifacts.fetch import Programs
from lab.artifacts.vmdisk import END, ESP_AT, LOADER, OVER_ROOT, ROOT_AT, ROOT_UUID, SECTOR, VM
from lab.errors import LabError
from lab.plan import load_topology
from lab.topology import Versions

NONE = Programs([])
TOOLS = ("mkfs.ext4", "sgdisk", "mformat", "mcopy", "mdir", "debugfs")
needs_tools = pytest.mark.skipif(
    any(shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None for tool in TOOLS),
    reason=f"not all of {', '.join(TOOLS)} are installed",
)


@pytest.fixture
def versions() -> Versions:
    return load_topology().versions


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """As much of a root as a disk is made from."""
    path = tmp_path / "root"
    for name, text in {
        LOADER: "the loader",
        "boot/vmlinuz-6.1": "the kernel",
        "boot/initrd.img-6.1": "the initrd",
        "etc/os-release": "ID=debian\n",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_its_key_follows_what_goes_in(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    before = vmdisk.disk_key("bookworm", NONE, versions)
    assert vmdisk.disk_key("bookworm", NONE, versions) == before
    assert vmdisk.disk_key("trixie", NONE, versions) != before
    over = tmp_path / "over"
    shutil.copytree(OVER_ROOT, over)
    (over / "usr/local/lib/thwlab/agent").write_text("another\n")
    changes = {"RECIPE": 0, "ENABLED": {}, "SIZE_GIB": 9, "VM": rootfs.Kind(), "OVER_ROOT": over, "TEXTS": {}}
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(vmdisk, name, value)
            assert vmdisk.disk_key("bookworm", NONE, versions) != before, name


def test_its_base_is_neither_a_containers_nor_the_boxs() -> None:
    assert len({rootfs.base_key("bookworm", kind) for kind in (VM, BOX, rootfs.CONTAINER)}) == 3


def test_it_heeds_the_power_button_and_leaves_ssh_alone() -> None:
    assert "systemd-logind.service" not in VM.masked, "a daemon shuts a VM down by its power button"
    assert "ssh.service" in VM.masked


def test_disks_of_other_inputs_are_unneeded_and_its_base_is_kept(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    for module in (vmdisk, prepare, rootfs):
        monkeypatch.setattr(module, "debian_suite", lambda: "bookworm")
    needed = vmdisk.disk_key("bookworm", NONE, versions)
    for name in (needed, "0ld", "0ld.lock", f"{needed}.lock"):
        (tmp_path / "disks" / name).mkdir(parents=True)
    assert vmdisk.unneeded_disks(tmp_path, NONE, versions) == [tmp_path / "disks" / "0ld"]
    bases = [rootfs.base_name("bookworm", kind) for kind in (VM, BOX, rootfs.CONTAINER)]
    (tmp_path / "bases").mkdir()
    for name in (*bases, "bookworm-0ld.tar"):
        (tmp_path / "bases" / name).touch()
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(prepare, "fetch", lambda *_, **__: NONE)
    monkeypatch.setattr(prepare, "unneeded_sets", lambda *_: [])
    monkeypatch.setattr(prepare, "unneeded_boxes", lambda *_: [])
    found = {path.name for path in prepare.unneeded_images(load_topology())}
    assert found == {"bookworm-0ld.tar", "0ld"}


def test_who_is_not_root_is_told_what_builds_it(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    monkeypatch.setattr(vmdisk, "debian_suite", lambda: "bookworm")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root\n  remedy: sudo .* thwlab artifacts fetch --image"):
        vmdisk.build_disk(tmp_path, NONE, versions)


def test_what_the_firmware_reads_leaves_the_root(root: Path, tmp_path: Path) -> None:
    boot = vmdisk.gather_boot(root, tmp_path / "esp")
    assert (boot / "EFI/BOOT/BOOTX64.EFI").read_text() == "the loader"
    assert (boot / "vmlinuz").read_text() == "the kernel"
    assert not list((root / "boot").iterdir())
    entry = (boot / "loader/entries/thwlab.conf").read_text()
    assert {"linux /vmlinuz", "initrd /initrd"} <= set(entry.splitlines())
    assert f"root=UUID={ROOT_UUID}" in entry
    assert "console=ttyS0" in entry
    assert "net.ifnames=0" in entry, "the planned network file is for eth0"
    assert (boot / "loader/loader.conf").read_text().startswith("default thwlab.conf")


@needs_tools
def test_a_disk_has_both_partitions_where_they_belong(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin:/sbin")
    disk, boot = tmp_path / "disk.raw", vmdisk.gather_boot(root, tmp_path / "esp")
    write_filesystem(root, disk, 1, offset=ROOT_AT, spare=END, uuid=ROOT_UUID)
    vmdisk.make_bootable(disk, boot)
    (kind_1, first_1, last_1), (_, first_2, last_2) = partitions(disk)
    assert kind_1 == uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"), "what UEFI looks for"
    assert (first_1 * SECTOR, (last_1 + 1) * SECTOR) == (ESP_AT, ROOT_AT)
    assert first_2 * SECTOR == ROOT_AT
    assert (1 << 30) - END <= (last_2 + 1) * SECTOR < 1 << 30, "the file system ends inside its partition"
    names = told("mdir", "-i", f"{disk}@@{ESP_AT}", "-b", "-/", "::")
    assert {"::/vmlinuz", "::/initrd", "::/EFI/BOOT/BOOTX64.EFI"} <= set(names.split())
    assert "ID=debian" in told("debugfs", "-R", "cat /etc/os-release", f"{disk}?offset={ROOT_AT}")
    checked = tmp_path / "root.ext4"
    told("dd", f"if={disk}", f"of={checked}", "bs=1M", f"skip={ROOT_AT >> 20}", "conv=sparse", "status=none")
    told("e2fsck", "-f", "-n", str(checked))


def told(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


def partitions(disk: Path) -> list[tuple[uuid.UUID, int, int]]:
    """Type, first and last sector of each, as the table has them."""
    with disk.open("rb") as file:
        assert file.read(2 * SECTOR)[SECTOR : SECTOR + 8] == b"EFI PART"
        entries = [file.read(128) for _ in range(128)]
    found = [(uuid.UUID(bytes_le=each[:16]), *struct.unpack("<QQ", each[32:48])) for each in entries]
    return [each for each in found if each[0].int]
