"""What was broken and by when it must be whole again: one file for each fault, written before the damage."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.state import boot_id

FOLDER = "undo"
PREFIX = "thwlab-heal"


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
    def name(self) -> str:
        """What its timers and files are called on the victims."""
        return f"{PREFIX}-{self.path.stem}"

    def due_for(self, seconds: float = 0.0) -> bool:
        """Whether it should have been healed so many seconds ago."""
        return self.boot != boot_id() or time.monotonic() >= self.due + seconds

    def owner_lives(self) -> bool:
        """Whether the process that broke it can still heal it."""
        return _process(int(self.owner.partition(" ")[0])) == self.owner

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
    debt = Debt(path, record, time.monotonic() + seconds, boot_id(), _process(os.getpid()))
    part = path.with_suffix(".part")
    with part.open("w") as stream:
        told = {"record": record, "due": debt.due, "boot": debt.boot, "owner": debt.owner}
        json.dump(told, stream)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)
    return debt


def debts(state: Path) -> list[Debt]:
    """Everything that nobody has healed yet, oldest first."""
    return sorted(_read(state), key=lambda debt: int(debt.path.stem.rpartition("-")[2]))


def read(path: Path) -> Debt:
    """The debt in this file; `FileNotFoundError` once it was paid."""
    told = json.loads(path.read_text())
    return Debt(path, told["record"], told["due"], told["boot"], told["owner"])


def _read(state: Path) -> Iterator[Debt]:
    for path in sorted((state / FOLDER).glob("*.json")):
        try:
            yield read(path)
        except FileNotFoundError:  # paid by another in between
            continue


def _process(pid: int) -> str:
    """A process by its number and when it began, for numbers are used again; if it is gone, by that alone."""
    try:
        begun = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        begun = ""
    return f"{pid} {begun}"
