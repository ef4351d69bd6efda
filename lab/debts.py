"""What was broken and by when it must be whole again: one file for each fault, written before the damage.

A lab that owes one is quarantined: nobody but those who heal or remove it may use it.
"""

import json
import os
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.state import StateFolder, boot_id

FOLDER = "undo"
PREFIX = "thwlab-heal"
REMEDY = "thwlab heal --all; where that does not help, thwlab down, then thwlab up"


class Quarantined(LabError):
    """Something is broken that we broke, so nothing seen on this lab would mean anything."""


class Damaged(LabError):
    """A file that told of a fault does not any more; what it was of may still be broken."""

    def __init__(self, path: Path, why: str) -> None:
        lab = shlex.quote(path.parents[1].name)
        super().__init__(
            f"{path} tells of something that was broken on purpose, and cannot be read: {why}",
            remedy=f"thwlab --name {lab} down, then thwlab --name {lab} up; "
            f"if you know that nothing is broken: rm {shlex.quote(str(path))}",
        )


@dataclass(frozen=True, slots=True)
class Debt:
    """One fault that nobody has healed yet.

    `due` is this host's monotonic clock, in seconds, at which whoever watches heals it without being asked;
    it means nothing after the next boot of this host, when every debt is due.
    """

    path: Path
    record: dict[str, Any]
    due: float
    boot: str
    owner: str  # the process that broke it, by its number and when it began

    def __str__(self) -> str:
        return f"{self.record['fault']} on {', '.join(self.record['machines'])}"

    @property
    def pid(self) -> int:
        """The number of the process that broke it."""
        return int(self.owner.partition(" ")[0])

    @property
    def name(self) -> str:
        """What its timers and files are called on the victims."""
        return f"{PREFIX}-{self.path.stem}"

    @property
    def story(self) -> str:
        """What it is, since when, and whether whoever did it is still there."""
        who = "which is at work" if self.owner_lives() else "which is gone"
        return f"{self} since {self._since()}, by process {self.pid}, {who}"

    def _since(self) -> str:
        if self.boot != boot_id():
            return "before this host's last boot"
        ago = time.monotonic() - _begun(self.path) / 1e9
        return f"{time.strftime('%H:%M:%S', time.localtime(time.time() - ago))} ({ago:.0f} s ago)"

    def due_for(self, seconds: float = 0.0) -> bool:
        """Whether it should have been healed so many seconds ago."""
        return self.boot != boot_id() or time.monotonic() >= self.due + seconds

    def owner_lives(self) -> bool:
        """Whether the process that broke it can still heal it."""
        return _process(self.pid) == self.owner

    def is_owed(self) -> bool:
        """Whether it still is."""
        return self.path.exists()

    def pay(self) -> None:
        """It is healed, and that was verified."""
        self.path.unlink(missing_ok=True)


def owe(state: Path, record: dict[str, Any], seconds: float) -> Debt:
    """Write down what is about to be broken, to be healed after so many seconds at the latest."""
    folder = state / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{os.getpid()}-{time.monotonic_ns()}.json"
    return _written(Debt(path, record, time.monotonic() + seconds, boot_id(), _process(os.getpid())))


def shorten(debt: Debt, seconds: float) -> Debt:
    """The same debt, due after so many seconds from now if that is sooner; one that was paid stays so."""
    due = min(debt.due, time.monotonic() + seconds)
    return _written(replace(debt, due=due)) if debt.is_owed() else debt


def _written(debt: Debt) -> Debt:
    part = debt.path.with_suffix(".part")
    with part.open("w") as stream:
        told = {"record": debt.record, "due": debt.due, "boot": debt.boot, "owner": debt.owner}
        json.dump(told, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(debt.path)
    return debt


def forgive(state: Path) -> None:
    """Nobody has to heal anything here any more, for the lab goes; whoever was about to, ends."""
    for path in (state / FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def debts(state: Path) -> list[Debt]:
    """Everything that nobody has healed yet, oldest first; `Damaged` where a file does not tell."""
    found, damaged = examined(state)
    if damaged:
        raise damaged[0]
    return found


def examined(state: Path) -> tuple[list[Debt], list[Damaged]]:
    """The same, and beside it what is wrong with files that do not tell."""
    seen = list(_seen(state))
    found = [each for each in seen if isinstance(each, Debt)]
    damaged = [each for each in seen if isinstance(each, Damaged)]
    return sorted(found, key=lambda debt: _begun(debt.path)), damaged


def insist_none(state: StateFolder) -> None:
    """Raise `Quarantined` with everything that the lab owes; harmless where there is no lab."""
    owed, damaged = examined(state.path)
    if owed or damaged:
        what = f"lab {state.name} is quarantined, for it is broken on purpose and not healed:"
        raise Quarantined(
            "\n  - ".join([what, *(debt.story for debt in owed), *map(str, damaged)]), remedy=REMEDY
        )


def read(path: Path) -> Debt:
    """The debt in this file; `FileNotFoundError` once it was paid, `Damaged` if it does not tell."""
    try:
        told = json.loads(path.read_bytes())
        found = Debt(path, told["record"], float(told["due"]), str(told["boot"]), str(told["owner"]))
        _insist_whole(found)
    except (ValueError, KeyError, TypeError) as error:
        raise Damaged(path, f"{type(error).__name__}: {error}") from error
    return found


def _seen(state: Path) -> Iterator[Debt | Damaged]:
    for path in sorted((state / FOLDER).glob("*.json")):
        try:
            yield read(path)
        except FileNotFoundError:  # paid by another in between
            continue
        except Damaged as error:
            yield error


def _insist_whole(debt: Debt) -> None:
    """Look at all that is asked of one later; raises whatever that does."""
    if not all((str(debt), debt.pid, _begun(debt.path))):
        raise ValueError("it was made by no process, or at no time")


def _begun(path: Path) -> int:
    """This host's monotonic clock when it was written down, in nanoseconds."""
    return int(path.stem.rpartition("-")[2])


def _process(pid: int) -> str:
    """A process by its number and when it began, for numbers are used again; if it is gone, by that alone."""
    try:
        begun = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        begun = ""
    return f"{pid} {begun}"
