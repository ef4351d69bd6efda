"""The disk of the virtual machines that Incus or LXD run: the containers' root, a kernel, and a boot loader.

These daemons boot a VM by its firmware, so the disk has a GPT with two partitions: the one that UEFI reads,
with systemd-boot, kernel and initrd, and the root.  Their agent is not on it: each daemon brings its own.
"""

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock

from lab.artifacts.building import hash_of, run, working_folder
from lab.artifacts.debian import debian_suite
from lab.artifacts.diskimage import move_kernel, write_filesystem
from lab.artifacts.fetch import Programs
from lab.artifacts.overlay import lay_over, texts_in
from lab.artifacts.rootfs import MASKED, Kind, assemble, base_key, build_base, root_key
from lab.errors import LabError
from lab.rights import as_root
from lab.topology import Versions

RECIPE = 1  # raised when this file makes something else of the same inputs
OVER_ROOT = Path(__file__).with_name("vmroot")
# Debian's cloud kernel knows no 9p, and by nothing else does Incus offer its agent.
PACKAGES = ("linux-image-amd64", "systemd-boot-efi", "initramfs-tools", "lz4", "zstd")
EARLY = {
    "etc/initramfs-tools/conf.d/thwlab": "MODULES=list\nCOMPRESS=lz4\nBUSYBOX=n\n",
    "usr/share/initramfs-tools/modules.d/thwlab": (
        "virtio_pci\nvirtio_scsi\nsd_mod\nvirtio_blk\next4\ncrc32c_generic\n"
    ),
}
OWN_UNITS = ("systemd-logind.service",)  # heeds the power button, which is how a daemon asks for a shutdown
VM = Kind(PACKAGES, EARLY, tuple(unit for unit in MASKED if unit not in OWN_UNITS))
ENABLED = {"multi-user.target.wants/thwlab-agent.service": "/etc/systemd/system/thwlab-agent.service"}
SIZE_GIB = 8  # of the disk as the guest sees it
ROOT_UUID = "7a4c1d5e-0b0f-4c39-9d3e-6f1f0c5d2a61"  # the same on every disk; no machine has two
# The only interface is eth0, as in a container, so that both have the same network file.
LINE = f"root=UUID={ROOT_UUID} rw rootflags=noatime console=tty0 console=ttyS0 net.ifnames=0"
MIB = 1 << 20
ESP_AT, ROOT_AT = 1 * MIB, 128 * MIB
END = 1 * MIB  # for the second copy of the partition table
SECTOR = 512
LOADER = "usr/lib/systemd/boot/efi/systemd-bootx64.efi"
TEXTS = {
    "loader/loader.conf": "default thwlab.conf\ntimeout 0\n",
    "loader/entries/thwlab.conf": f"title thwlab\nlinux /vmlinuz\ninitrd /initrd\noptions {LINE}\n",
}

Report = Callable[[str], None]


def disk_key(suite: str, programs: Programs, versions: Versions) -> str:
    """What a disk is made of, as a short hash."""
    root = [base_key(suite, VM), root_key(suite, programs, versions)]
    layout = [SIZE_GIB, ESP_AT, ROOT_AT, END, LOADER, TEXTS]
    return hash_of([RECIPE, root, asdict(VM), texts_in(OVER_ROOT), ENABLED, layout])


def disk_in(cache: Path, key: str) -> Path:
    """Where the cache has the disk with this key, or will."""
    return cache / "disks" / key / "disk.qcow2"


def build_disk(cache: Path, programs: Programs, versions: Versions, report: Report = lambda _: None) -> Path:
    """The qcow2 for these programs, their images imported; built unless the cache has it."""
    suite = debian_suite()
    finished = disk_in(cache, disk_key(suite, programs, versions))
    if finished.exists():
        return finished
    if os.geteuid() != 0:
        raise LabError(
            "the VMs' disk is not in the cache, and building it needs root",
            remedy=as_root(f"THWLAB_CACHE={shlex.quote(str(cache))} thwlab artifacts fetch --image"),
        )
    folder = finished.parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not finished.exists():
            base = build_base(cache, suite, report, VM)
            with working_folder(cache) as work:
                report("VM disk: programs, container images, boot loader")
                assemble(work, base, programs, versions, VM)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                _fill(work).rename(finished)
    return finished


def unneeded_disks(cache: Path, programs: Programs, versions: Versions) -> list[Path]:
    """Disks in the cache that these programs and versions do not need."""
    needed = disk_key(debian_suite(), programs, versions)
    found = (cache / "disks").glob("*")
    return sorted(path for path in found if path.suffix != ".lock" and path.name != needed)


def _fill(work: Path) -> Path:
    root, raw, packed = work / "root", work / "disk.raw", work / "disk.qcow2"
    lay_over(root, OVER_ROOT, ENABLED)
    boot = gather_boot(root, work / "esp")
    write_filesystem(root, raw, SIZE_GIB, offset=ROOT_AT, spare=END, uuid=ROOT_UUID)
    make_bootable(raw, boot)
    run("qemu-img", "convert", "-O", "qcow2", str(raw), str(packed))
    return packed


def gather_boot(root: Path, boot: Path) -> Path:
    """What the firmware's partition holds, as a folder; the kernel leaves the root."""
    (boot / "EFI/BOOT").mkdir(parents=True)
    shutil.copyfile(root / LOADER, boot / "EFI/BOOT/BOOTX64.EFI")
    move_kernel(root, boot / "vmlinuz", boot / "initrd")
    for path, text in TEXTS.items():
        (boot / path).parent.mkdir(parents=True, exist_ok=True)
        (boot / path).write_text(text)
    return boot


def make_bootable(disk: Path, boot: Path) -> None:
    """Partitions around the root that is on the disk, and the firmware's filled; nothing is mounted."""
    first, end = ESP_AT // SECTOR, ROOT_AT // SECTOR
    run(
        "sgdisk",
        f"--new=1:{first}:{end - 1}", "--typecode=1:ef00", "--change-name=1:boot",
        f"--new=2:{end}:0", "--typecode=2:8304", "--change-name=2:root",
        str(disk),
    )  # fmt: skip
    inside = f"{disk}@@{ESP_AT}"
    run("mformat", "-i", inside, "-F", "-T", str(end - first), "-v", "BOOT", "::")
    run("mcopy", "-i", inside, "-s", *map(str, sorted(boot.iterdir())), "::")
