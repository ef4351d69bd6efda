"""What is sent to a machine: one compressed tar, by its roles and what it lacks; same input, same bytes."""

import gzip
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lab.artifacts.building import hash_of
from lab.artifacts.importing import importer
from lab.artifacts.packages import INDEX, Package
from lab.artifacts.rootfs import LINKS, PACKAGES, PLACES
from lab.artifacts.supplies import Supplies
from lab.topology import Role

SCRIPT = Path(__file__).with_name("furnish.sh")
STAGING = "var/cache/thwlab"
IMPORTING = "/run/thwlab-import"
# busybox is for the image of agnhost, made here; on a machine it would have the initrd made anew: minutes.
NOT_INSTALLED = frozenset({"busybox-static"})
INSTALLED = tuple(name for name in PACKAGES if name not in NOT_INSTALLED)
RECIPE = 1  # raised when this file makes something else of the same inputs
MASTER, ETCD, WORKER, ADMIN = Role.CONTROL_PLANE, Role.ETCD, Role.WORKER, Role.ADMIN
# Whoever is named in none runs on workers.
ROLES: Mapping[str, frozenset[Role]] = {
    "etcd": frozenset({ETCD}),
    "etcdutl": frozenset({ETCD}),
    "etcdctl": frozenset({ETCD, MASTER, ADMIN}),
    "kube-apiserver": frozenset({MASTER}),
    "kube-controller-manager": frozenset({MASTER}),
    "kube-scheduler": frozenset({MASTER}),
    "kubectl": frozenset({MASTER, ADMIN}),
}
WORKERS_ONLY = frozenset({WORKER})
# The lab brings units of its own for the first two; the others take locks and processors at odd times.
MASKED = ("nginx.service", "haproxy.service", "apt-daily.timer", "apt-daily-upgrade.timer")
MODULES = ("overlay", "nf_conntrack")  # without which no container runs: tried here, so that it is told early
COMPRESSION = 1  # a guest's disk and its SSH are slower than more would save
MIB = 1024 * 1024
GROWTH = 4  # of a package when it is unpacked; of an image as a file, in the store and as a snapshot


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in the tar: a file of this host's, text, or a link."""

    name: str
    mode: int = 0o644
    source: Path | None = None
    text: str = ""
    link: str = ""

    @property
    def size(self) -> int:
        """In bytes."""
        return self.source.stat().st_size if self.source else len(self.text.encode())


@dataclass(frozen=True)
class Parcel:
    """For machines of the same roles that lack the same packages."""

    roles: frozenset[Role]
    supplies: Supplies
    packages: tuple[Package, ...] = ()

    def for_machine(self, installed: Mapping[str, str]) -> "Parcel":
        """The same, with the packages that such a machine has not."""
        archive = self.supplies.archive
        lacking = archive.lacking(installed) if archive else []
        return replace(self, packages=tuple(each for each in lacking if each.name not in NOT_INSTALLED))

    @property
    def source(self) -> str:
        """Where its packages come from, in the script's word."""
        return "archive" if self.supplies.archive else "network"

    @cached_property
    def mark(self) -> str:
        """The hash of all that such a machine is given, whatever of it it has already."""
        programs = self.supplies.programs
        placed = {entry.name: programs.sha256(Path(entry.name).name) for entry in self._programs()}
        links = {entry.name: entry.link for entry in self._links()}
        images = [f"{path.parent.name}/{path.name}" for path in self.images]  # a folder for each content
        archive = self.supplies.archive.digest if self.supplies.archive else "the machine's own"
        words = [MASKED, self.modules, INSTALLED]
        return hash_of([RECIPE, placed, links, images, archive, words, SCRIPT.read_text("utf-8")])

    @property
    def images(self) -> tuple[Path, ...]:
        """Container images, where containers run."""
        return self.supplies.images if WORKER in self.roles else ()

    @property
    def modules(self) -> tuple[str, ...]:
        """Of the kernel, where containers run."""
        return MODULES if WORKER in self.roles else ()

    @property
    def needed_mib(self) -> int:
        """What all of it takes on the machine's disk, about."""
        programs = sum(entry.size for entry in self._programs())
        growing = sum(entry.size for entry in (*self._packages(), *self._images()))
        return (programs + GROWTH * growing) // MIB

    def entries(self) -> list[Entry]:
        """All that is in the tar, in its order."""
        script = Entry(f"{STAGING}/furnish", 0o755, text=SCRIPT.read_text("utf-8"))
        every = [script, *self._packages(), *self._images(), *self._programs(), *self._links()]
        return sorted(every, key=lambda entry: entry.name)

    def packed(self) -> bytes:
        """The tar, compressed."""
        stream = io.BytesIO()
        with (
            gzip.GzipFile("", "wb", COMPRESSION, stream, mtime=0) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for entry in self.entries():
                _add(tar, entry)
        return stream.getvalue()

    def _programs(self) -> Iterator[Entry]:
        programs = self.supplies.programs
        for folder, names in PLACES.items():
            for name in names:
                if name in programs and self.roles & ROLES.get(name, WORKERS_ONLY):
                    yield Entry(f"{folder}/{name}", 0o755, source=programs[name])

    def _links(self) -> Iterator[Entry]:
        there = {f"/{entry.name}" for entry in self._programs()}
        return (Entry(name, link=target) for name, target in LINKS.items() if target in there)

    def _packages(self) -> Iterator[Entry]:
        if not self.supplies.archive:
            return
        yield Entry(f"{STAGING}/packages/{INDEX}", text="\n".join(f"{p.stanza}\n" for p in self.packages))
        for package in self.packages:
            yield Entry(f"{STAGING}/packages/{package.file.name}", source=package.file)

    def _images(self) -> Iterator[Entry]:
        if self.images:
            yield Entry(f"{STAGING}/importer.toml", text=importer("", IMPORTING))
        for path in self.images:
            yield Entry(f"{STAGING}/images/{path.name}", source=path)


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.name)
    info.mode = entry.mode
    if entry.link:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
        tar.addfile(info)
        return
    info.size = entry.size
    if entry.source is None:
        tar.addfile(info, io.BytesIO(entry.text.encode()))
        return
    with entry.source.open("rb") as file:
        tar.addfile(info, file)
