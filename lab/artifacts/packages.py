"""Debian packages for machines whose box has none of ours: an archive that apt reads, kept in the cache.

Resolved as for a machine that has nothing, so that whatever it lacks is in it; by this host's own apt and
sources, in folders of its own, without root and without a look at what is installed here.
"""

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import FileLock

from lab.artifacts.building import hash_of, run, working_folder
from lab.artifacts.cache import sha256_of
from lab.artifacts.debian import host_release, sources
from lab.artifacts.rootfs import PACKAGES
from lab.errors import LabError

RECIPE = 1  # raised when this file makes something else of the same inputs
INDEX = "Packages"
FETCH_TIMEOUT = 900.0
SUITE_LINE = re.compile(r"^\s*(Suites:|deb(-src)?\s)")

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, order=True)
class Release:
    """What packages are for: the distribution's ID, its codename, and the architecture as dpkg names it."""

    distribution: str
    codename: str
    arch: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.codename} ({self.arch})"


class NoSources(LabError):
    """This host has no apt that knows the release; a machine has to get its packages itself."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package of an archive."""

    name: str
    version: str
    file: Path
    stanza: str

    @property
    def depends(self) -> list[str]:
        """The names it needs, alternatives too.  Pure."""
        fields = re.findall(r"^(?:Pre-)?Depends: (.*)$", self.stanza, re.MULTILINE)
        return [re.split(r"[ :(]", part.strip())[0] for each in fields for part in re.split(r"[,|]", each)]


class Archive:
    """The packages in a folder, by the index beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def packages(self) -> Mapping[str, Package]:
        """By name."""
        stanzas = (self.folder / INDEX).read_text("utf-8").strip().split("\n\n")
        found = [_package(self.folder, stanza) for stanza in stanzas if stanza]
        return {package.name: package for package in found}

    @cached_property
    def digest(self) -> str:
        """One hash over what is in it; the index has the sha256 of each file."""
        return hash_of((self.folder / INDEX).read_text("utf-8"))

    def needed_by(self, names: Iterable[str]) -> list[Package]:
        """These packages and all they need, as far as they are here, sorted."""
        found: set[str] = set()
        left = list(names)
        while left:
            name = left.pop()
            if name in self.packages and name not in found:
                found.add(name)
                left += self.packages[name].depends
        return [self.packages[name] for name in sorted(found)]

    def lacking(self, installed: Mapping[str, str]) -> list[Package]:
        """Those that a machine has not, or not of this version; apt there decides which of them it takes."""
        every = sorted(self.packages.items())
        return [package for name, package in every if installed.get(name) != package.version]


def archive_key(release: Release, names: Sequence[str] = PACKAGES) -> str:
    """The folder of an archive, by what it is made for."""
    made_of = hash_of([RECIPE, list(names)])[:8]
    return f"{release.distribution}-{release.codename}-{release.arch}-{made_of}"


def fetch_archive(
    cache: Path, release: Release, report: Report = lambda _: None, names: Sequence[str] = PACKAGES
) -> Archive:
    """The archive for this release, from the cache, else fetched; `NoSources` if this host cannot."""
    folder = cache / "packages" / archive_key(release, names)
    if (folder / INDEX).exists():
        return Archive(folder)
    here = _insist_known(release)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / INDEX).exists():
            report(f"packages: {len(names)} of {release}, and what they need")
            with working_folder(cache) as work:
                _fetch(_Apt(work, here, release), names, work / "archive")
                shutil.rmtree(folder, ignore_errors=True)
                (work / "archive").rename(folder)
    return Archive(folder)


def insist_cached(cache: Path, release: Release) -> None:
    """Raise `LabError` if packages of this release are not in the cache, and this host could fetch them."""
    folder = cache / "packages" / archive_key(release)
    if (folder / INDEX).exists():
        return
    try:
        _insist_known(release)
    except NoSources:
        return  # machines get them by themselves
    raise LabError(f"offline and no packages of {release} in {folder}", remedy="thwlab artifacts fetch")


def unneeded_archives(cache: Path) -> list[Path]:
    """Archives of other packages than those machines need today."""
    wanted = f"-{hash_of([RECIPE, list(PACKAGES)])[:8]}"
    found = (cache / "packages").glob("*")
    return sorted(path for path in found if path.suffix != ".lock" and not path.name.endswith(wanted))


@dataclass(frozen=True, slots=True)
class _Apt:
    """apt with every folder it writes to below `work`, and an empty list of what is installed."""

    work: Path
    here: str  # the codename of this host's own sources
    release: Release

    def argv(self, *words: str) -> list[str]:
        """apt-get, as if on a machine of that release."""
        settings = {
            "Dir::State": self.work / "state",
            "Dir::State::status": self.work / "status",
            "Dir::Cache": self.work / "cache",
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.work / "sources",
            "APT::Architecture": self.release.arch,
            "APT::Architectures": self.release.arch,
            "APT::Default-Release": "",
            "APT::Sandbox::User": "root" if os.geteuid() == 0 else "",
            "Acquire::Retries": 3,
            "Acquire::Languages": "none",
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
            "Debug::NoLocking": "true",
        }
        options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]
        return ["apt-get", "-q", "-y", *options, *words]

    def prepare(self) -> None:
        """The folders it expects, and this host's sources with the other release's name in them."""
        for name in ("state/lists/partial", "cache/archives/partial", "sources"):
            (self.work / name).mkdir(parents=True)
        (self.work / "status").touch()
        for path in sources():
            text = path.read_text(errors="replace")
            (self.work / "sources" / path.name).write_text(resourced(text, self.here, self.release.codename))


def resourced(text: str, here: str, codename: str) -> str:
    """Package sources of one release made those of another of the same distribution.  Pure."""
    word = re.compile(rf"(?<![\w/.]){re.escape(here)}(?=\b)")
    lines = text.splitlines()
    return "\n".join(word.sub(codename, line) if SUITE_LINE.match(line) else line for line in lines) + "\n"


def _insist_known(release: Release) -> str:
    """This host's codename, if its sources can be those of the release."""
    found = host_release()
    codename = found.get("VERSION_CODENAME", "")
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise NoSources(f"this host has no apt to fetch packages of {release} with")
    if found.get("ID") != release.distribution or not codename:
        raise NoSources(f"this host's apt knows {found.get('ID', 'no distribution')}, and not {release}")
    return codename


def _fetch(apt: _Apt, names: Sequence[str], target: Path) -> None:
    apt.prepare()
    try:
        run(*apt.argv("update", "--error-on=any"), timeout=FETCH_TIMEOUT)
        run(*apt.argv("--no-install-recommends", "--download-only", "install", *names), timeout=FETCH_TIMEOUT)
    except LabError as error:
        raise LabError(
            f"the packages of {apt.release} cannot be fetched: {error}",
            remedy="with a network: thwlab artifacts fetch; or copy a filled cache and set THWLAB_CACHE",
        ) from error
    target.mkdir()
    for path in sorted((apt.work / "cache/archives").glob("*.deb")):
        path.rename(target / path.name)
    (target / INDEX).write_text(_index(target), "utf-8")


def _index(folder: Path) -> str:
    """What apt reads an archive by."""
    return "\n".join(_stanza(path) for path in sorted(folder.glob("*.deb")))


def _stanza(path: Path) -> str:
    control = run("dpkg-deb", "--field", str(path)).strip()
    return f"{control}\nFilename: ./{path.name}\nSize: {path.stat().st_size}\nSHA256: {sha256_of(path)}\n"


def _package(folder: Path, stanza: str) -> Package:
    fields = dict(re.findall(r"^(Package|Version|Filename): (.+)$", stanza, re.MULTILINE))
    return Package(fields["Package"], fields["Version"], folder / fields["Filename"], stanza)
