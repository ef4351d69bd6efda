"""The box of virtual machines that a lab's own libvirtd runs: the containers' root, and what a VM needs.

A kernel and its initrd lie beside the disk, for these VMs are started without a boot loader: name,
address and the lab's SSH key come by the kernel's command line, and nobody logs in to set them.
The box itself is tiny: its disk is a layer over the one in the cache, which no one needs to copy.
"""

import os
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from lab.artifacts.building import hash_of, run, working_folder
from lab.artifacts.debian import debian_suite
from lab.artifacts.diskimage import move_kernel, pack, write_filesystem
from lab.artifacts.fetch import Programs
from lab.artifacts.overlay import lay_over, texts_in
from lab.artifacts.rootfs import MASKED, Kind, assemble, base_key, build_base, root_key
from lab.errors import LabError
from lab.rights import as_root
from lab.topology import Versions

BOX_RECIPE = 1  # raised when this file makes something else of the same inputs
OVER_ROOT = Path(__file__).with_name("boxroot")  # files that lie over Debian's, as they are
PACKAGES = ("linux-image-cloud-amd64", "initramfs-tools", "lz4", "zstd")
EARLY = {
    # What an emulated VM needs to find its root and no more: a third of the size, half the time.
    "etc/initramfs-tools/conf.d/thwlab": "MODULES=list\nCOMPRESS=lz4\nBUSYBOX=n\n",
    "usr/share/initramfs-tools/modules.d/thwlab": "virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n",
}
OWN_UNITS = ("ssh.service",)  # which containers do without
VM = Kind(PACKAGES, EARLY, tuple(unit for unit in MASKED if unit not in OWN_UNITS))
ENABLED = {
    "multi-user.target.wants/ssh.service": "/lib/systemd/system/ssh.service",
    "multi-user.target.wants/thwlab-host-key.service": "/etc/systemd/system/thwlab-host-key.service",
    "sysinit.target.wants/thwlab-emulated.service": "/etc/systemd/system/thwlab-emulated.service",
    "sysinit.target.wants/systemd-network-generator.service": (
        "/lib/systemd/system/systemd-network-generator.service"
    ),
}
SIZE_GIB = 8  # of the disk as the guest sees it
SHARED = "/var/lib/libvirt/boot"  # where a lab's libvirtd sees the folder of the box

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class BuiltBox:
    """A box in the cache; everything lies in its folder."""

    folder: Path

    @property
    def name(self) -> str:
        """Vagrant's name for it; another box has another, for neither Vagrant nor libvirt replace one."""
        return f"thwlab/{self.folder.name}"

    @property
    def box(self) -> Path:
        """What Vagrant adds."""
        return self.folder / "thwlab.box"

    @property
    def disk(self) -> Path:
        """The root file system of every VM, which none of them writes to."""
        return self.folder / "root.raw"

    @property
    def kernel(self) -> Path:
        """What a VM starts."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """What the kernel finds its root with."""
        return self.folder / "initrd"


def box_key(suite: str, programs: Programs, versions: Versions) -> str:
    """What a box is made of, as a short hash."""
    root = [base_key(suite, VM), root_key(suite, programs, versions)]
    return hash_of([BOX_RECIPE, root, asdict(VM), texts_in(OVER_ROOT), ENABLED, SIZE_GIB, SHARED])


def build_box(
    cache: Path, programs: Programs, versions: Versions, report: Report = lambda _: None
) -> BuiltBox:
    """The box for these programs, their images imported; built unless the cache has it."""
    suite = debian_suite()
    built = BuiltBox(cache / "boxes" / box_key(suite, programs, versions))
    if built.box.exists():
        return built
    if os.geteuid() != 0:
        raise LabError(
            "the VMs' box is not in the cache, and building it needs root",
            remedy=as_root(f"THWLAB_CACHE={shlex.quote(str(cache))} thwlab artifacts fetch --image"),
        )
    built.folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(built.folder.with_suffix(".lock")):
        if not built.box.exists():
            base = build_base(cache, suite, report, VM)
            with working_folder(cache) as work:
                report("box: programs, container images, disk")
                assemble(work, base, programs, versions, VM)
                _fill(BuiltBox(work / "box"), work / "root")
                shutil.rmtree(built.folder, ignore_errors=True)
                (work / "box").rename(built.folder)
    return built


def unneeded_boxes(cache: Path, programs: Programs, versions: Versions) -> list[Path]:
    """Boxes in the cache that these programs and versions do not need."""
    needed = box_key(debian_suite(), programs, versions)
    found = (cache / "boxes").glob("*")
    return sorted(path for path in found if path.suffix != ".lock" and path.name != needed)


def _fill(built: BuiltBox, root: Path) -> None:
    built.folder.mkdir()
    lay_over(root, OVER_ROOT, ENABLED)
    move_kernel(root, built.kernel, built.initrd)
    # Without checksums of metadata, which cost an emulated processor much.
    write_filesystem(root, built.disk, SIZE_GIB, features="^metadata_csum")
    _pack(built)


def _pack(built: BuiltBox) -> None:
    """Vagrant's form: metadata, a Vagrantfile, and a disk that only names the one beside it."""
    layer = built.folder / "box.img"
    backing = f"{SHARED}/{built.disk.name}"
    run(
        "qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", backing,
        str(layer), f"{SIZE_GIB}G",
    )  # fmt: skip
    pack(layer, built.box, SIZE_GIB)
