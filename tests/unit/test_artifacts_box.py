"""The VMs' box: what it is made of, what is kept of old ones, and that nothing of it is half-made."""

import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import plain_box
import pytest

from lab.artifacts import box, rootfs
from lab.artifacts.box import OVER_ROOT, VM, BuiltBox
from lab.artifacts.diskimage import move_kernel, write_filesystem
from lab.artifacts.fetch import Programs
from lab.artifacts.overlay import lay_over
from lab.errors import LabError
from lab.plan import load_topology
from lab.topology import Versions

NONE = Programs([])
needs_qemu_img = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


@pytest.fixture
def versions() -> Versions:
    return load_topology().versions


@pytest.fixture
def built(tmp_path: Path) -> BuiltBox:
    folder = tmp_path / "box"
    folder.mkdir()
    return BuiltBox(folder)


def test_its_key_follows_what_goes_in(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    before = box.box_key("bookworm", NONE, versions)
    assert box.box_key("bookworm", NONE, versions) == before
    assert box.box_key("trixie", NONE, versions) != before
    over = tmp_path / "over"
    shutil.copytree(OVER_ROOT, over)
    (over / "etc/fstab").write_text("another\n")
    changes = {"BOX_RECIPE": 0, "ENABLED": {}, "SIZE_GIB": 9, "VM": rootfs.Kind(), "OVER_ROOT": over}
    for name, value in changes.items():
        with monkeypatch.context() as patch:
            patch.setattr(box, name, value)
            assert box.box_key("bookworm", NONE, versions) != before, name
    monkeypatch.setattr(Programs, "digest", lambda _: "another")
    assert box.box_key("bookworm", NONE, versions) != before


def test_a_vms_base_is_not_a_containers() -> None:
    assert rootfs.base_key("bookworm", VM) != rootfs.base_key("bookworm")
    assert rootfs.base_name("bookworm", VM) != rootfs.base_name("bookworm")


def test_a_vm_has_its_ssh_and_a_container_has_none() -> None:
    assert "ssh.service" in rootfs.MASKED
    assert "ssh.service" not in VM.masked


def test_boxes_of_other_inputs_are_unneeded(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    monkeypatch.setattr(box, "debian_suite", lambda: "bookworm")
    needed = box.box_key("bookworm", NONE, versions)
    for name in (needed, "0ld", "0ld.lock", f"{needed}.lock"):
        (tmp_path / "boxes" / name).mkdir(parents=True)
    assert box.unneeded_boxes(tmp_path, NONE, versions) == [tmp_path / "boxes" / "0ld"]


def test_who_is_not_root_is_told_what_builds_it(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    monkeypatch.setattr(box, "debian_suite", lambda: "bookworm")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"needs root\n  remedy: sudo .* thwlab artifacts fetch --image"):
        box.build_box(tmp_path / "a b", NONE, versions)
    assert not (tmp_path / "a b").exists()


def test_one_that_is_there_is_not_built_again(
    monkeypatch: pytest.MonkeyPatch, versions: Versions, tmp_path: Path
) -> None:
    monkeypatch.setattr(box, "debian_suite", lambda: "bookworm")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    there = BuiltBox(tmp_path / "boxes" / box.box_key("bookworm", NONE, versions))
    there.folder.mkdir(parents=True)
    there.box.touch()
    assert box.build_box(tmp_path, NONE, versions) == there
    assert there.name == f"thwlab/{there.folder.name}"


def test_every_unit_a_vm_starts_by_itself_is_ours_or_debians(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    lay_over(tmp_path, OVER_ROOT, box.ENABLED)
    lay_over(tmp_path, OVER_ROOT, box.ENABLED)  # also where a link is there already
    system = tmp_path / "etc/systemd/system"
    for link, target in box.ENABLED.items():
        assert (system / link).readlink() == Path(target)
        if target.startswith("/etc/"):
            assert (tmp_path / target.lstrip("/")).is_file(), target
    assert (tmp_path / "etc/fstab").read_text() == (OVER_ROOT / "etc/fstab").read_text()


def test_no_identity_is_in_the_files_we_add() -> None:
    names = {str(path.relative_to(OVER_ROOT)) for path in OVER_ROOT.rglob("*") if path.is_file()}
    assert not [name for name in names if "key" in name and not name.endswith(".service")]
    assert "etc/machine-id" not in names


def test_the_kernel_goes_beside_the_disk(built: BuiltBox, tmp_path: Path) -> None:
    boot = tmp_path / "root/boot"
    boot.mkdir(parents=True)
    (boot / "vmlinuz-6.1").write_text("kernel")
    (boot / "initrd.img-6.1").write_text("early")
    move_kernel(tmp_path / "root", built.kernel, built.initrd)
    assert (built.kernel.read_text(), built.initrd.read_text()) == ("kernel", "early")
    assert list(boot.iterdir()) == []


@pytest.mark.parametrize("kernels", [[], ["vmlinuz-6.1", "vmlinuz-6.2"]])
def test_none_or_two_kernels_are_no_box(built: BuiltBox, tmp_path: Path, kernels: list[str]) -> None:
    boot = tmp_path / "root/boot"
    boot.mkdir(parents=True)
    for name in kernels:
        (boot / name).touch()
    with pytest.raises(LabError, match=rf"left {len(kernels)} files boot/vmlinuz-\*, one was expected"):
        move_kernel(tmp_path / "root", built.kernel, built.initrd)


@needs_qemu_img
def test_vagrant_gets_a_disk_that_only_names_the_one_beside_it(built: BuiltBox) -> None:
    box._pack(built)
    with tarfile.open(built.box) as tar:
        assert tar.getnames() == ["metadata.json", "Vagrantfile", "box.img"]
        metadata = json.loads(tar.extractfile("metadata.json").read())  # type: ignore[union-attr]
    assert metadata == {"provider": "libvirt", "format": "qcow2", "virtual_size": box.SIZE_GIB}
    argv = ["qemu-img", "info", "-U", "--output=json", str(built.folder / "box.img")]
    told = json.loads(subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout)
    assert told["full-backing-filename"] == f"{box.SHARED}/{built.disk.name}"
    assert told["virtual-size"] == box.SIZE_GIB << 30
    assert built.box.stat().st_size < 1 << 20


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed")
def test_the_disk_holds_the_root_and_takes_no_more_than_that(built: BuiltBox, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hello").write_text("there\n")
    write_filesystem(tmp_path / "root", built.disk, box.SIZE_GIB, features="^metadata_csum")
    stat = built.disk.stat()
    assert stat.st_size == box.SIZE_GIB << 30
    assert stat.st_blocks * 512 < 256 << 20
    argv = ["debugfs", "-R", "cat /etc/hello", str(built.disk)]
    assert subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout == b"there\n"


@pytest.mark.skipif(shutil.which("mkfs.ext4") is None, reason="mkfs.ext4 is not installed")
def test_a_plain_boxs_disk_has_a_boot_loader_before_its_one_partition(tmp_path: Path) -> None:
    """As a BIOS and GRUB's first sector read them."""
    (tmp_path / "root").mkdir()
    (tmp_path / "root/hello").write_text("there\n")
    disk, first = tmp_path / "disk", plain_box.FIRST * plain_box.SECTOR
    write_filesystem(tmp_path / "root", disk, 1, offset=first)
    boot = bytearray(b"\xeb" * 512)
    boot[0x5C:0x64] = (1).to_bytes(8, "little")
    plain_box.write_boot(disk, bytes(boot), b"GRUB" * 200)
    data = disk.read_bytes()
    assert (data[:4], data[510:512], data[512:516]) == (b"\xeb" * 4, b"\x55\xaa", b"GRUB")
    entry = data[446:462]
    assert (entry[0], entry[4]) == (0x80, 0x83)
    assert int.from_bytes(entry[8:12], "little") == plain_box.FIRST
    assert int.from_bytes(entry[12:16], "little") * 512 + first == 1 << 30
    argv = ["debugfs", "-R", "cat /hello", f"{disk}?offset={first}"]
    assert subprocess.run(argv, capture_output=True, check=True, timeout=30).stdout == b"there\n"
