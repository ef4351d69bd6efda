"""Who uses a lab: each run holds a locked file in the lab's folder, and the kernel unlocks it at its end.

So a run that was killed uses nothing any more, and a run whose file is away knows that its lab is, too.
"""

import fcntl
import itertools
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.locks import is_at, locked

FOLDER = "users"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class User:
    """A process that works with a lab."""

    pid: int
    command: str
    since: float
    run: str = ""

    def __str__(self) -> str:
        what = f"{self.command}, results in {self.run}" if self.run else self.command
        start = time.strftime("%H:%M:%S", time.localtime(self.since))
        return f"pid {self.pid} ({what}) since {start}, {_ago(time.time() - self.since)}"


class InUse(LabError):
    """The lab has users who would lose it."""

    def __init__(self, lab: str, users: Sequence[User], go_ahead: str) -> None:
        self.users = tuple(users)
        ends = f"`kill -INT {' '.join(str(user.pid) for user in users)}` ends it in good order"
        super().__init__(
            "\n  - ".join([f"lab {lab} is in use:", *map(str, users)]),
            remedy=f"let it finish; or {ends}; or `{go_ahead}` goes ahead, and its tests end as errors",
        )


class Sign:
    """That this process uses a lab, until it is lifted or the process ends."""

    def __init__(self, lab: Path, run: str = "") -> None:
        folder = lab / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        _sweep(folder)
        self._path = folder / f"{os.getpid()}-{next(_numbers)}"
        part = self._path.with_suffix(".part")
        self._descriptor = os.open(part, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        os.write(self._descriptor, json.dumps(asdict(me(run))).encode())
        part.replace(self._path)  # so that nobody sees it unlocked or half written

    def is_there(self) -> bool:
        """Whether the lab is still the one whose use this is; False once it was removed, also if rebuilt."""
        return is_at(self._descriptor, self._path)

    def lift(self) -> None:
        """The use is over."""
        if self.is_there():
            self._path.unlink()
        os.close(self._descriptor)


def users(lab: Path) -> list[User]:
    """Every process that uses the lab now."""
    return [user for path in _files(lab / FOLDER) if (user := _read(path))]


def others(lab: Path) -> list[User]:
    """Those for whom this process does not work: neither it, nor who started it, nor of the same run."""
    found, ours = users(lab), lineage()
    runs = {user.run for user in found if user.pid in ours and user.run}
    return [user for user in found if user.pid not in ours and user.run not in runs]


def insist_unused(lab: Path, go_ahead: str) -> None:
    """Raise `InUse` if others use the lab; ``go_ahead`` is the command that does not ask."""
    if found := others(lab):
        raise InUse(lab.name, found, go_ahead)


def me(run: str = "") -> User:
    """This process."""
    return User(os.getpid(), _command(sys.argv), time.time(), run)


def lineage() -> frozenset[int]:
    """This process, the one that started it, and so on."""
    found = {os.getpid(), os.getppid()}
    pid = os.getppid()
    while pid := _parent(pid):
        found.add(pid)
    return frozenset(found)


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):  # it has ended, or this system keeps no /proc
        return 0


def _command(argv: Sequence[str]) -> str:
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        return f"worker {worker} of pytest"
    program = Path(argv[0] if argv else "python")
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *argv[1:]])[:200]


def _ago(seconds: float) -> str:
    return f"{seconds:.0f} s ago" if seconds < 120 else f"{seconds / 60:.0f} min ago"


def _files(folder: Path) -> list[Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in found if path.suffix != ".part"]


def _read(path: Path) -> User | None:
    """Who holds the file; None if nobody does."""
    for descriptor in _opened(path):
        # Shared, or two who look at once would take each other for the holder.
        if not locked(descriptor, shared=True):
            return _told(path, descriptor)
    return None


def _told(path: Path, descriptor: int) -> User:
    """What the file says; where a full disk cut it, who holds it is in its name all the same."""
    try:
        return User(**json.loads(os.pread(descriptor, 10000, 0)))
    except (ValueError, TypeError):
        pid = int(path.name.partition("-")[0])
        return User(pid, f"what is not known, for {path} is damaged", os.fstat(descriptor).st_mtime)


def _sweep(folder: Path) -> None:
    """Remove what killed processes left; the caller has the lab's lock."""
    for path in folder.iterdir():
        for descriptor in _opened(path):
            if locked(descriptor):
                path.unlink()


def _opened(path: Path) -> Iterator[int]:
    """The open file, once; nothing if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
