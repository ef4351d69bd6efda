"""What a machine of a plain box must be given: programs, packages of its release, container images."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from lab.artifacts.building import hash_of, run, working_folder
from lab.artifacts.catalogue import machine_arch
from lab.artifacts.debian import host_release
from lab.artifacts.fetch import Programs
from lab.artifacts.images import coredns_image, pause_image, write_images
from lab.artifacts.packages import Archive, NoSources, Package, Release, fetch_archive
from lab.topology import Versions

IMAGED = ("pause", "coredns", "agnhost")  # the programs in images
CLIENTS = ("busybox-static", "curl", "dnsutils")  # the packages that agnhost's image takes from
UNPACKER = "dpkg-deb"  # of Debian and its kin
MERGED = ("bin", "lib", "lib64", "sbin")

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Supplies:
    """For machines of one release.  Without an archive they get their packages by themselves; `why` says why.

    Then there is no image of agnhost either: its shell and clients are out of packages.
    """

    programs: Programs
    images: tuple[Path, ...]
    archive: Archive | None
    why: str = ""


def release_here() -> Release:
    """The release of this host, which most boxes will be of, or one that nobody knows."""
    found = host_release()
    return Release(found.get("ID", "none"), found.get("VERSION_CODENAME", "none"), machine_arch())


def supply(
    cache: Path, release: Release, programs: Programs, versions: Versions, report: Report = lambda _: None
) -> Supplies:
    """Have all of it in the cache; `LabError` if packages that this host could fetch cannot be had."""
    try:
        archive = fetch_archive(cache, release, report)
    except NoSources as error:
        return Supplies(programs, _bare_images(cache, programs, versions, report), None, str(error))
    return Supplies(programs, _images(cache, archive, programs, versions, report), archive)


def _images(
    cache: Path, archive: Archive, programs: Programs, versions: Versions, report: Report
) -> tuple[Path, ...]:
    """All of them; those that need no package where the archive was copied here without its images."""
    clients = archive.needed_by(CLIENTS)
    name = f"{_of(programs, versions)}-{hash_of([package.file.name for package in clients])}"
    if not (cache / "images" / name).is_dir() and shutil.which(UNPACKER) is None:
        return _bare_images(cache, programs, versions, report)

    def make(folder: Path) -> None:
        unpack(clients, folder / "root")
        write_images(folder, folder / "root", programs, versions)
        shutil.rmtree(folder / "root")

    return _made_once(cache / "images" / name, cache, make, report)


def _bare_images(cache: Path, programs: Programs, versions: Versions, report: Report) -> tuple[Path, ...]:
    def make(folder: Path) -> None:
        pause_image(folder / "pause.tar", versions, programs)
        coredns_image(folder / "coredns.tar", versions, programs)

    return _made_once(cache / "images" / f"{_of(programs, versions)}-bare", cache, make, report)


def unneeded_sets(cache: Path, programs: Programs, versions: Versions) -> list[Path]:
    """Sets of images in the cache that are not of these programs and versions."""
    found = (cache / "images").glob("*")
    wanted = f"{_of(programs, versions)}-"
    return sorted(path for path in found if path.suffix != ".lock" and not path.name.startswith(wanted))


def _of(programs: Programs, versions: Versions) -> str:
    names = [name for name in IMAGED if name in programs]
    return hash_of([programs.digest(names), versions.pause, versions.coredns, versions.agnhost])


def _made_once(folder: Path, cache: Path, make: Callable[[Path], None], report: Report) -> tuple[Path, ...]:
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                report("container images")
                with working_folder(cache) as work:
                    (work / "images").mkdir()
                    make(work / "images")
                    (work / "images").rename(folder)
    return tuple(sorted(folder.glob("*.tar")))


def unpack(packages: Iterable[Package], root: Path) -> None:
    """Lay the packages' files into a folder as they lie in a Debian root; nothing of them is run."""
    (root / "usr").mkdir(parents=True)
    for name in MERGED:
        (root / "usr" / name).mkdir()
        (root / name).symlink_to(f"usr/{name}")
    line = 'dpkg-deb --fsys-tarfile "$1" | tar -xf - -C "$2" --keep-directory-symlink --no-same-owner'
    for package in packages:
        run("sh", "-c", line, "sh", str(package.file), str(root))
