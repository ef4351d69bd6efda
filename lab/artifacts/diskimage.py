"""Disks of VMs and the boxes around them, without loop devices: mkfs writes a file system from a folder."""

import json
import shutil
import tarfile
from pathlib import Path

from lab.artifacts.building import run
from lab.errors import LabError

BOX_VAGRANTFILE = 'Vagrant.configure("2") { |config| }\n'


def write_filesystem(
    root: Path, disk: Path, gib: int, *, offset: int = 0, spare: int = 0, features: str = "", uuid: str = ""
) -> None:
    """A sparse file with an ext4 of what is in ``root``, from ``offset`` bytes on; the rest stays empty.

    So do the last ``spare`` bytes.
    """
    with disk.open("ab") as file:
        file.truncate(gib << 30)
    extended = "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"
    argv = ["mkfs.ext4", "-q", "-F", "-d", str(root), "-m", "0", "-E", f"{extended},offset={offset}"]
    argv += ["-O", features] if features else []
    argv += ["-U", uuid] if uuid else []
    run(*argv, str(disk), f"{((gib << 30) - offset - spare) >> 10}k")


def move_kernel(root: Path, kernel: Path, initrd: Path) -> None:
    """Out of the root: who starts the VM reads them, the VM never does."""
    for pattern, target in (("vmlinuz-*", kernel), ("initrd.img-*", initrd)):
        found = sorted((root / "boot").glob(pattern))
        if len(found) != 1:
            raise LabError(f"Debian's packages left {len(found)} files boot/{pattern}, one was expected")
        shutil.move(found[0], target)
        target.chmod(0o644)


def pack(image: Path, box: Path, gib: int) -> None:
    """Vagrant's form of a box for libvirt: metadata, a Vagrantfile, and the qcow2 as its disk."""
    metadata = {"provider": "libvirt", "format": "qcow2", "virtual_size": gib}
    texts = {"metadata.json": json.dumps(metadata), "Vagrantfile": BOX_VAGRANTFILE}
    for name, text in texts.items():
        (box.parent / name).write_text(text)
    part = box.with_suffix(".part")
    with tarfile.open(part, "w") as tar:
        for name in texts:
            tar.add(box.parent / name, arcname=name)
        tar.add(image, arcname="box.img")
    part.rename(box)
