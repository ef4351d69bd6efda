"""What a lab keeps on this host: its folder, its lock, and what was intended before it was done."""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from lab import locks
from lab.disks import STATE, Place
from lab.errors import LabError, WaitExpired
from lab.users import me

SCHEMA = 1
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_held = threading.local()


@dataclass(frozen=True, slots=True)
class Intent:
    """What is about to exist; written before the first machine is."""

    name: str
    provider: str
    digest: str
    boot: str
    schema: int = SCHEMA
    plan: dict[str, str] | None = None  # its facts, to be compared with another plan's
    asked: dict[str, str] | None = None  # the settings that named the plan: config, versions, profile


@dataclass(frozen=True, slots=True)
class StateFolder:
    """One lab's folder, 0700, and the only place where it keeps anything on this host."""

    path: Path

    @property
    def name(self) -> str:
        """The lab's name."""
        return self.path.name

    def intend(
        self,
        provider: str,
        digest: str,
        plan: dict[str, str] | None = None,
        asked: dict[str, str] | None = None,
    ) -> None:
        """Write down what is about to be created."""
        part = self.path / "lab.json.part"
        intent = Intent(self.name, provider, digest, boot_id(), plan=plan, asked=asked)
        with self._place.naming_trouble():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            part.write_text(json.dumps(asdict(intent)))
            part.replace(self.path / "lab.json")

    def intent(self) -> Intent | None:
        """What was intended, or None if nothing was."""
        path = self.path / "lab.json"
        try:
            with self._place.naming_trouble():
                found = Intent(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError) as error:
            raise self._foreign(str(error)) from error
        if found.schema != SCHEMA:
            raise self._foreign(f"schema {found.schema}, not {SCHEMA}")
        return found

    def _foreign(self, why: str) -> LabError:
        return LabError(
            f"{self.path / 'lab.json'} is not this version's: {why}",
            remedy=f"thwlab down --name {self.name}",
        )

    def prove(self, digest: str, stages: Iterable[str]) -> None:
        """Remember that these stages of this plan were true, beside those that were before."""
        if not self.path.exists():
            return
        known = sorted(self.proven(digest) | set(stages))
        part = self.path / "stages.json.part"
        part.write_text(json.dumps({"plan": digest, "stages": known}))
        part.replace(self.path / "stages.json")

    def proven(self, digest: str) -> frozenset[str]:
        """The stages of this plan that were true once; none if that was never written down."""
        try:
            found = json.loads((self.path / "stages.json").read_text())
            return frozenset(found["stages"]) if found["plan"] == digest else frozenset()
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return frozenset()

    def disprove(self) -> None:
        """A machine is new: nothing that was true before says anything of it."""
        for name in ("stages.json", "pod-ranges.json"):
            (self.path / name).unlink(missing_ok=True)

    def note_pod_ranges(self, ranges: Mapping[str, str]) -> None:
        """Remember which pod range the API gave each node."""
        if self.path.exists():
            part = self.path / "pod-ranges.json.part"
            part.write_text(json.dumps(dict(ranges)))
            part.replace(self.path / "pod-ranges.json")

    def pod_ranges(self) -> dict[str, str]:
        """What was noted last, which by now may be otherwise; nothing if nothing was, or it is damaged."""
        try:
            found = json.loads((self.path / "pod-ranges.json").read_text())
            return {str(name): str(cidr) for name, cidr in found.items()}
        except (FileNotFoundError, ValueError, AttributeError):
            return {}

    def forget(self) -> None:
        """The lab is gone; its secrets go too."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        if self.path.exists():
            self.path.rmdir()

    @contextmanager
    def locked(self, timeout: float = 900) -> Iterator[None]:
        """One process at a time builds or removes this lab; the lock ends with its process.

        A thread that holds it may take it again, as whoever removes a lab to build it anew does.  Where
        there is no lab at the end, nothing is left of its locks either.
        """
        mine: set[Path] = _held.__dict__.setdefault("paths", set())
        if self.path in mine:
            yield
            return
        descriptor = self._lock(timeout)
        mine.add(self.path)
        try:
            yield
        finally:
            mine.remove(self.path)
            if not self.path.exists():
                self.clear_turns()
                self.lock.unlink(missing_ok=True)
            locks.release(descriptor)

    def _lock(self, timeout: float) -> int:
        lock = self.lock
        try:
            with self._place.naming_trouble():
                lock.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                return locks.take(lock, f"lab {self.name}", timeout=timeout, note=str(me()))
        except WaitExpired as error:
            who = error.last or "who is not known"
            raise LabError(
                f"another process has held {lock} for {error.seconds:.0f}s: {who}",
                remedy=f"let it finish or end it; `fuser {lock}` shows its pid too",
            ) from error

    @property
    def gate(self) -> Path:
        """The lock of whoever wants the lab alone, or has it; see `lab.turns`."""
        return self._beside("gate")

    @property
    def turn(self) -> Path:
        """The lock of the tests that are at work; see `lab.turns`."""
        return self._beside("turn")

    @property
    def owner(self) -> Path:
        """Names the run that made the lab; there is none after `thwlab up`."""
        return self.path / "owner"

    @property
    def lock(self) -> Path:
        """The lock of whoever builds or removes the lab; see `locked`."""
        return self._beside("lock")

    def clear_turns(self) -> None:
        """Remove the locks of tests that nobody holds."""
        locks.clear_away(self.turn)
        locks.clear_away(self.gate)

    @property
    def _place(self) -> Place:
        return Place(self.path.parent, STATE)

    def _beside(self, ending: str) -> Path:
        return self.path.parent / f".{self.name}.{ending}"


def boot_id() -> str:
    """This boot of this host; a lab of an earlier one has no machines any more."""
    return BOOT_ID.read_text().strip() if BOOT_ID.exists() else "unknown"


def state_root() -> Path:
    """Where labs keep their state: below /var/lib for root, else in the user's own state folder."""
    if override := os.environ.get(STATE):
        return Path(override)
    return Path("/var/lib/thwlab") if os.geteuid() == 0 else Path(platformdirs.user_state_dir("thwlab"))


def labs() -> list[StateFolder]:
    """Every lab this host knows of."""
    root = state_root()
    with Place(root, STATE).naming_trouble():
        found = sorted(root.iterdir()) if root.exists() else []
    return [StateFolder(path) for path in found if path.is_dir() and not path.name.startswith(".")]
