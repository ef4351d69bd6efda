"""All files of a machine in one go: whoever is first to bring it some carries those of the others along."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

from lab.machine import File, Machine

# $1: how many of the arguments after it are units; the rest are files.
_LOOK = """\
count=$1; shift
shown=Id,ActiveState,UnitFileState,StateChangeTimestamp
systemctl show --timestamp=us+utc -p "$shown" "${@:1:$count}" || true
shift "$count"
printf '\\0'
stat --printf '%.Z %n\\0' "$@" 2>/dev/null || true
"""


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a machine is about to need.  `lacking`, by the path of the unit that reads it, is for new units.

    A unit that is there may run, and whoever gives it a file must tell it at once: if we are killed in
    between, nobody would know any more that it has to be told.
    """

    freely: Sequence[File] = ()
    lacking: Mapping[str, Sequence[File]] = field(default_factory=dict)


@dataclass(eq=False)
class Load:
    """One machine's cargo in one attempt of bring-up, made up by ``pack`` when the first one comes.

    What is right by then is not sent again in this attempt.  It is safe for several threads.

    Of a machine that had something already it is also known what went on there, in one command instead of
    one for each: ``running`` are the units that were active and enabled, and ``untold``, by unit, the files
    that are newer than its last change of state: whoever brought them was killed before he told it.
    """

    machine: Machine
    pack: Callable[[], Cargo]
    running: frozenset[str] = frozenset()
    untold: dict[str, frozenset[str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _right: "Future[Mapping[str, File]] | None" = None

    def bring(self, own: Sequence[File]) -> None:
        """Have these files on the machine; what was changed for it is noted in its `touched`.

        Who comes while the first one is at it waits for him, and fails as he does.
        """
        with self._lock:
            first = self._right is None
            right = self._right = self._right or Future()
        if first:
            self._carry(own, right)
            return
        there = right.result()
        if rest := [file for file in own if there.get(file.path) != file]:
            self._note(self.machine.apply(rest))

    def _carry(self, own: Sequence[File], right: "Future[Mapping[str, File]]") -> None:
        try:
            cargo = self.pack()
            files = {file.path: file for file in (*cargo.freely, *own)}
            lacking = {file.path: file for more in cargo.lacking.values() for file in more}
            read = {PurePosixPath(path).name: {f.path for f in fs} for path, fs in cargo.lacking.items()}
            done = self.machine.carry([*files.values()], cargo.lacking, look=_look(read))
            self._note(done.written)
            self._see(read, done.seen)
            known = (lacking | files).items()
            right.set_result({path: file for path, file in known if path not in done.left})
        except BaseException as error:
            with self._lock:
                self._right = None  # the next one tries for himself
            right.set_exception(error)
            raise

    def _see(self, read: Mapping[str, set[str]], seen: str) -> None:
        """Nothing is known where systemd is too old to say it; then every unit is asked apart."""
        shown, *stamps = seen.split("\0")
        changed = {path: float(at) for at, _, path in (each.partition(" ") for each in stamps if each)}
        active = _active(shown)
        self.running = frozenset(active)
        for unit, since in active.items():
            if newer := frozenset(path for path in read.get(unit, ()) if changed.get(path, 0) > since):
                self.untold[unit] = newer

    def _note(self, written: frozenset[str]) -> None:
        self.machine.touched |= {path: set() for path in written}


def _look(read: Mapping[str, set[str]]) -> tuple[str, ...]:
    """The command that shows these units, and how old the files are that they read; none for no unit."""
    paths = sorted(set().union(*read.values()))
    return ("bash", "-c", _LOOK, "look", str(len(read)), *read, *paths) if paths else ()


def _active(shown: str) -> dict[str, float]:
    """The units that are active and enabled, and since when they are so, in seconds of the machine's clock.

    A unit that was never started shows no time.
    """
    since = {}
    for block in shown.split("\n\n"):
        said = dict(line.partition("=")[::2] for line in block.splitlines())
        good = (said.get("ActiveState"), said.get("UnitFileState")) == ("active", "enabled")
        if good and (words := said.get("StateChangeTimestamp", "").split()):
            day, hour = words[1:3]
            at = datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=UTC)
            since[said["Id"]] = at.timestamp()
    return since
