"""Folders that a user may move, and what is said where one cannot be used or its disk is full."""

import errno
import os
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

CACHE, STATE = "THWLAB_CACHE", "THWLAB_STATE"
FULL = {errno.ENOSPC, errno.EDQUOT}
DENIED = {errno.EACCES, errno.EPERM}
UNUSABLE = {*DENIED, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG}
SAYS_FULL = ("no space left", "out of space", "disk quota exceeded")
NEARLY_NOTHING = 32  # MiB; less than any program, so that nothing can be fetched or built
MIB = 1024 * 1024


class NoSpace(LabError):
    """A disk is full; trying another way on the same disk is a waste of time."""


class Unusable(LabError):
    """A folder cannot be read or written as it must be."""


@dataclass(frozen=True, slots=True)
class Place:
    """A folder, there or not yet, and the variable that moves it."""

    path: Path
    variable: str

    @property
    def free_mib(self) -> int:
        """What is free on its disk."""
        return shutil.disk_usage(nearest(self.path)).free // MIB

    def insist_space(self) -> None:
        """Raise `NoSpace` if nearly nothing is free."""
        if self.free_mib < NEARLY_NOTHING:
            raise _full(self)

    @contextmanager
    def naming_trouble(self) -> Iterator[None]:
        """Turn what the disk of this folder made fail into `NoSpace` and `Unusable`, with a remedy.

        That is a system call's error, and also a program's that failed for a full disk: those of others
        say so in their own words, or cannot even write them down.
        """
        try:
            yield
        except OSError as error:
            if told := _told(error, self):
                raise told from error
            raise
        except (NoSpace, Unusable):
            raise
        except LabError as error:
            if full := _filled(self, str(error)):
                raise _full(full, str(error).splitlines()[0]) from error
            raise


def nearest(path: Path) -> Path:
    """The path, or what is there of the way to it."""
    return next((each for each in (path, *path.parents) if os.access(each, os.F_OK)), Path("/"))


def why_unwritable(folder: Path) -> str:
    """Why nothing can be made in the folder or on the way to it, empty if it can; tried, and undone."""
    there = nearest(folder)
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".thwlab-"):
            return ""
    except OSError as error:
        return f"{there}: {error.strerror}"


def _told(error: OSError, place: Place) -> LabError | None:
    where = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else place.path
    ours = where == place.path or place.path in where.parents or where in place.path.parents
    if error.errno in FULL:
        return _full(place if ours else Place(nearest(where), ""))
    on_the_way = ours and place.path not in where.parents
    unmade = error.errno == errno.ENOENT and on_the_way  # as in /proc, where nobody makes folders
    if not ours or not (unmade or error.errno in UNUSABLE):
        return None
    what = "" if where == place.path else f": {where}"
    return Unusable(
        f"{place.path} cannot be used{what}: {error.strerror}", remedy=_remedy(error, where, place)
    )


def _remedy(error: OSError, where: Path, place: Place) -> str:
    """A folder of the user's own; of one that is there and not theirs, the ownership too."""
    move = f'export {place.variable}="$(mktemp -d)", or another folder of your own'
    inside = place.path in (there := nearest(where), *there.parents)
    if error.errno in DENIED and os.geteuid() != 0 and inside:
        return f"sudo chown -R {os.getuid()} {shlex.quote(str(place.path))}; or {move}"
    return move


def _filled(place: Place, said: str) -> Place | None:
    """The disk that is full, after something failed with these words; None if none is."""
    if place.free_mib < NEARLY_NOTHING:
        return place
    if not any(words in said.lower() for words in SAYS_FULL):
        return None
    return next((each for each in _others() if each.free_mib < NEARLY_NOTHING), place)


def _others() -> list[Place]:
    """Where else a build writes."""
    home = Path.home()
    return [
        Place(Path(tempfile.gettempdir()), "TMPDIR"),
        Place(Path(os.environ.get("GOCACHE") or home / ".cache/go-build"), "GOCACHE"),
        Place(Path(os.environ.get("GOMODCACHE") or home / "go/pkg/mod"), "GOMODCACHE"),
    ]


def _full(place: Place, failed: str = "") -> NoSpace:
    tidy = " (`thwlab artifacts gc`)" if place.variable == CACHE else ""
    move = f", or set {place.variable} to a folder on another disk" if place.variable else ""
    because = f"; so this failed: {failed[:300]}" if failed else ""
    return NoSpace(
        f"no space left on {place.path} ({place.free_mib} MiB free){because}",
        remedy=f"free some{tidy}{move}; `df -h {shlex.quote(str(nearest(place.path)))}` shows the disk",
    )
