"""All files of a machine in one go: whoever is first to bring it some carries those of the others along."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath

from lab.machine import File, Machine
from lab.transfer import Carried

# $1: how many of the arguments after it are units; $2: how many after those are files; the rest are pairs of
# a component's name and its probe, which are tried at once.
_LOOK = """\
units=$1 files=$2; shift 2
shown=Id,ActiveState,UnitFileState,StateChangeTimestamp
systemctl show --timestamp=us+utc -p "$shown" "${@:1:$units}" || true
shift "$units"
printf '\\0'
stat --printf '%.Z %n\\0' "${@:1:$files}" 2>/dev/null || true
shift "$files"
printf '\\0'
while [ $# -gt 0 ]; do
  { timeout PATIENCE sh -c "$2" >/dev/null 2>&1 && printf '%s\\0' "$1"; } &
  shift 2
done
wait
"""
PATIENCE = 2  # seconds for all probes together; who does not answer by then is asked in his stage


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a machine is about to need.  `lacking`, by the path of the unit that reads it, is for new units.

    A unit that is there may run, and whoever gives it a file must tell it at once: if we are killed in
    between, nobody would know any more that it has to be told.  `probes` are, by the component's name, the
    commands by which each is asked on its machine.
    """

    freely: Sequence[File] = ()
    lacking: Mapping[str, Sequence[File]] = field(default_factory=dict)
    probes: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Load:
    """One machine's cargo in one attempt of bring-up, made up by ``pack`` when the first one comes.

    What is right by then is not sent again in this attempt.  It is safe for several threads.

    Of a machine that had something already it is also known what went on there, in one command instead of
    one for each: ``running`` are the units that were active and enabled, and ``untold``, by unit, the files
    that are newer than its last change of state: whoever brought them was killed before he told it.
    ``served`` are the components that answered in that command, as long as nothing on the machine is told.
    """

    machine: Machine
    pack: Callable[[], Cargo]
    running: frozenset[str] = frozenset()
    untold: dict[str, frozenset[str]] = field(default_factory=dict)
    served: frozenset[str] = frozenset()
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
            done = self.machine.carry([*files.values()], cargo.lacking, look=_look(read, cargo.probes))
            self._note(done.written)
            self._see(read, done)
            known = (lacking | files).items()
            right.set_result({path: file for path, file in known if path not in done.left})
        except BaseException as error:
            with self._lock:
                self._right = None  # the next one tries for himself
            right.set_exception(error)
            raise

    def _see(self, read: Mapping[str, set[str]], done: Carried) -> None:
        """Nothing is known where systemd is too old to say it; then every unit is asked apart."""
        shown, _, rest = done.seen.partition("\0")
        stamps, _, served = f"\0{rest}".partition("\0\0")
        changed = {
            path: float(at) for at, _, path in (each.partition(" ") for each in stamps.split("\0") if each)
        }
        active = _active(shown)
        self.running = frozenset(active)
        for unit, since in active.items():
            if newer := frozenset(path for path in read.get(unit, ()) if changed.get(path, 0) > since):
                self.untold[unit] = newer
        if not done.written:
            self.served = frozenset(served.split("\0")[:-1])

    def told(self) -> None:
        """Somebody on the machine is told of a change, or started: what answered before says nothing now."""
        self.served = frozenset()

    def _note(self, written: frozenset[str]) -> None:
        self.machine.touched |= {path: set() for path in written}


def _look(read: Mapping[str, set[str]], probes: Mapping[str, str]) -> tuple[str, ...]:
    """The command that shows units, how old the files are that they read, and who answers; else none."""
    paths = sorted(set().union(*read.values()))
    pairs = (word for pair in probes.items() for word in pair)
    script = _LOOK.replace("PATIENCE", str(PATIENCE))
    return (
        ("bash", "-c", script, "look", str(len(read)), str(len(paths)), *read, *paths, *pairs)
        if paths
        else ()
    )


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
