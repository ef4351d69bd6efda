"""What can be fetched: the entries of `catalogue.yaml`, and what they become for chosen versions."""

import platform
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

import pydantic
import yaml

from lab.errors import LabError
from lab.topology import Versions

HERE = Path(__file__).parent
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class Described(pydantic.BaseModel):
    """A part of the catalogue; nothing unknown passes."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class ReleaseEntry(Described):
    """Where the publisher's own binaries are; the strings are templates."""

    url: str
    sums: str
    members: dict[str, str] = {}
    sha256: dict[str, str] = {}


class ModulesEntry(Described):
    """How the same programs are built from Go modules."""

    packages: dict[str, str]
    directory: str = ""
    part_of: dict[str, str] = {}
    ldflags: str = ""
    tags: tuple[str, ...] = ()
    cgo: bool = False


class CatalogueEntry(Described):
    """One entry as it is written in the file."""

    version: str
    programs: tuple[str, ...]
    build_seconds: float
    optional: bool = False
    release: ReleaseEntry | None = None
    modules: ModulesEntry | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """One file of a release: its address, its sha256 (or who publishes it), and what to take from it.

    `members` maps a program to its path in the archive; the file is the program itself where that is empty.
    """

    url: str
    sums: str
    sha256: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Build:
    """One `go build`: the module directory and, by program, the packages."""

    directory: Path
    packages: Mapping[str, str]
    ldflags: str
    tags: tuple[str, ...]
    cgo: bool


@dataclass(frozen=True, slots=True)
class Item:
    """An entry for one version and architecture: what to fetch, and from where, in this order."""

    name: str
    version: str
    arch: str
    programs: tuple[str, ...]
    build_seconds: float
    downloads: tuple[Download, ...]
    build: Build | None

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def machine_arch() -> str:
    """This machine's architecture as Go and Kubernetes spell it."""
    machine = platform.machine().lower()
    if machine not in ARCHITECTURES:
        known = ", ".join(sorted(set(ARCHITECTURES.values())))
        raise LabError(
            f"no programs for architecture {machine}, only for {known}",
            remedy="run the laboratory on an amd64 or arm64 machine",
        )
    return ARCHITECTURES[machine]


@cache
def catalogue() -> Mapping[str, CatalogueEntry]:
    """Every entry, in the order of the file."""
    document = yaml.safe_load((HERE / "catalogue.yaml").read_text("utf-8"))
    return {name: CatalogueEntry.model_validate(entry) for name, entry in document.items()}


def optional_entries() -> tuple[str, ...]:
    """The names of entries that are fetched only when asked for."""
    return tuple(name for name, entry in catalogue().items() if entry.optional)


def items(versions: Versions, *, also: Collection[str] = (), arch: str = "") -> tuple[Item, ...]:
    """What a cluster of these versions needs, optional entries only where `also` names them."""
    arch = arch or machine_arch()
    wanted = {name: entry for name, entry in catalogue().items() if not entry.optional or name in also}
    return tuple(_item(name, entry, versions, arch) for name, entry in wanted.items())


def _item(name: str, entry: CatalogueEntry, versions: Versions, arch: str) -> Item:
    version: str = getattr(versions, entry.version)
    return Item(
        name=name,
        version=version,
        arch=arch,
        programs=entry.programs,
        build_seconds=entry.build_seconds,
        downloads=_downloads(entry, version, arch) if entry.release else (),
        build=_build(name, entry.modules, version, versions) if entry.modules else None,
    )


def _downloads(entry: CatalogueEntry, version: str, arch: str) -> tuple[Download, ...]:
    assert entry.release
    release = entry.release
    each = entry.programs if "{program}" in release.url else ("",)
    return tuple(_download(release, version, arch, program) for program in each)


def _download(release: ReleaseEntry, version: str, arch: str, program: str) -> Download:
    def filled(template: str) -> str:
        return template.format(version=version, arch=arch, program=program)

    url = filled(release.url)
    members = {name: filled(path) for name, path in release.members.items()}
    return Download(url, filled(release.sums), release.sha256.get(url, ""), members)


def _build(name: str, modules: ModulesEntry, version: str, versions: Versions) -> Build:
    directory = modules.directory or name
    pinned = modules.part_of.get(version) or getattr(versions, catalogue()[directory].version)
    major, minor, *_ = [*version.split("."), ""]
    return Build(
        directory=HERE / "gomod" / directory / pinned,
        packages=modules.packages,
        ldflags=modules.ldflags.format(version=version, major=major, minor=minor),
        tags=modules.tags,
        cgo=modules.cgo,
    )


def package_name(package: str) -> str:
    """The name `go build` gives a program: the last part of its path that is not a major version."""
    last = PurePosixPath(package)
    return last.parent.name if last.name[:1] == "v" and last.name[1:].isdigit() else last.name
