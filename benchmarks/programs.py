"""Ways to bring programs and images to VMs: a transfer to each, or a read-only disk that all of them have.

``sudo .venv/bin/python benchmarks/programs.py``; README.md beside this file says what is measured.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click

from lab.artifacts.prepare import supplies_of
from lab.artifacts.supplies import release_here
from lab.furnishing.furnish import UNPACK
from lab.furnishing.parcel import MIB, Parcel
from lab.laboratory import Laboratory
from lab.machine import Machine, on_each
from lab.opening import reopened
from lab.providers.vagrant.provider import VagrantProvider

PLACE, SEEN = "/var/tmp/thwlab-bench", "/run/thwlab-bench"  # on machines: what is brought, and the disk
LABEL, TARGET = "thwlab-bench", "vdz"
LIMIT = 900.0  # seconds for one machine
SPARE = 1.2  # of a file system's size, for itself
DISK_XML = """<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{0}'/>
<target dev='{1}' bus='virtio'/><readonly/><shareable/></disk>"""
MOUNT = 'mkdir -p "$1" && udevadm settle && mount -o ro LABEL="$2" "$1"'
COPY = 'mkdir -p "$2" && cd "$1" && xargs cp --parents -a -t "$2" && sync'
REMOVE = 'rm -rf "$1"; ! mountpoint -q "$2" || umount "$2"; sync; echo 3 >/proc/sys/vm/drop_caches'
Parcels = Mapping[str, Parcel]
Seconds = dict[str, float]
Way = Callable[[Laboratory, Parcels], Iterator[str]]


def transfer(lab: Laboratory, parcels: Parcels) -> Iterator[str]:
    """Packed for each kind of machine, sent to all at once, unpacked as it comes: what the product does."""
    packed = {mark: parcel.packed() for mark, parcel in kinds(parcels).items()}
    yield "packed"

    def give(machine: Machine) -> None:
        content = packed[parcels[machine.name].mark]
        machine.check("mkdir", "-p", PLACE, timeout=LIMIT)
        machine.check("sh", "-c", UNPACK, "sh", PLACE, "/mark", stdin=content, timeout=LIMIT)
        machine.check("sync", timeout=LIMIT)

    on_each(list(lab.machines.values()), give)
    yield "there"


def disk(lab: Laboratory, parcels: Parcels) -> Iterator[str]:
    """One image of all there is, attached to every VM: to be used there, or copied to the VM's own disk."""
    with image(parcels) as path, attached(lab, path):
        yield "made and attached"
        on_each(list(lab.machines.values()), lambda machine: said(machine, MOUNT, SEEN, LABEL))
        yield "usable"

        def copy(machine: Machine) -> None:
            names = "\n".join(f"./{entry.name}" for entry in parcels[machine.name].entries())
            said(machine, COPY, SEEN, PLACE, stdin=names.encode())

        on_each(list(lab.machines.values()), copy)
        yield "there"
        on_each(list(lab.machines.values()), clean)


WAYS: Mapping[str, Way] = {"transfer": transfer, "disk": disk}


def kinds(parcels: Parcels) -> dict[str, Parcel]:
    """By their mark; machines of the same roles are given the same."""
    return {parcel.mark: parcel for parcel in parcels.values()}


def said(machine: Machine, script: str, *words: str, stdin: bytes = b"") -> str:
    """What a script says there."""
    return machine.check("sh", "-c", script, "sh", *words, stdin=stdin, timeout=LIMIT)


def clean(machine: Machine) -> None:
    """As before, with nothing of it in memory."""
    said(machine, REMOVE, PLACE, SEEN)


@contextmanager
def image(parcels: Parcels) -> Iterator[Path]:
    """A file system with everything in it, of which every machine takes what it needs."""
    with tempfile.TemporaryDirectory(prefix="thwlab-bench-") as folder:
        tree, path = Path(folder) / "tree", Path(folder) / "disk"
        tree.mkdir()
        for parcel in kinds(parcels).values():
            unpack = ["tar", "-xzf", "-", "-C", str(tree), "--no-same-owner"]
            subprocess.run(unpack, input=parcel.packed(), check=True, timeout=LIMIT)
        size = sum(each.lstat().st_size for each in tree.rglob("*"))
        make = [
            "mkfs.ext4",
            "-q",
            "-L",
            LABEL,
            "-d",
            str(tree),
            str(path),
            f"{int(size * SPARE / MIB) + 16}M",
        ]
        subprocess.run(make, check=True, timeout=LIMIT)
        Path(folder).chmod(0o755)  # QEMU is another user
        yield path


@contextmanager
def attached(lab: Laboratory, path: Path) -> Iterator[None]:
    """The disk on every VM, until the end."""
    provider = lab.provider
    assert isinstance(provider, VagrantProvider)
    domains = [provider.project.domain(name) for name in lab.machines]
    xml = path.with_name("disk.xml")
    xml.write_text(DISK_XML.format(path, TARGET))

    def virsh(*words: str) -> None:
        subprocess.run(provider.host_argv(["virsh", "-q", *words]), check=True, timeout=LIMIT)

    try:
        for domain in domains:
            virsh("attach-device", domain, str(xml), "--live")
        yield
    finally:
        for domain in domains:
            virsh("detach-disk", domain, TARGET, "--live")


def timed(way: Way, lab: Laboratory, parcels: Parcels) -> Seconds:
    """Seconds from its begin to each of its steps; what it brought is gone again afterwards."""
    on_each(list(lab.machines.values()), clean)
    began = time.monotonic()
    steps = {step: time.monotonic() - began for step in way(lab, parcels)}
    on_each(list(lab.machines.values()), clean)
    return steps


@click.command()
@click.option(
    "--name", default="thw", show_default=True, help="The lab, whose VMs run at a libvirtd of ours."
)
@click.option("--rounds", default=3, show_default=True, help="Of each way; who goes first changes.")
def main(name: str, rounds: int) -> None:
    """Compare the ways on a lab that is up; what its VMs have already stays as it is."""
    lab = reopened(name)
    if not isinstance(lab.provider, VagrantProvider):
        raise click.ClickException(f"lab {name} has no VMs; thwlab --provider vagrant:libvirt up makes some")
    supplies = supplies_of(lab.topology, click.echo, release_here())
    parcels = {machine: Parcel(each.node.roles, supplies) for machine, each in lab.machines.items()}
    for parcel in kinds(parcels).values():
        click.echo(
            f"{sum(entry.size for entry in parcel.entries()) / MIB:.0f} MiB for {sorted(parcel.roles)}"
        )
    found: dict[str, list[Seconds]] = {way: [] for way in WAYS}
    for turn in range(rounds):
        for way in list(WAYS)[:: -1 if turn % 2 else 1]:
            found[way].append(timed(WAYS[way], lab, parcels))
            click.echo(f"{turn + 1} {way}: {told(found[way][-1:])}")
    for way, steps in found.items():
        click.echo(f"median of {rounds}, {way}: {told(steps)}")


def told(found: list[Seconds]) -> str:
    """Medians, by step."""
    return ", ".join(f"{step} {statistics.median(each[step] for each in found):.1f} s" for step in found[0])


if __name__ == "__main__":
    main()
