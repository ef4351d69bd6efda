"""From when until when each controller-manager and scheduler itself believed to lead: the fact `holding`.

By the journal of each master, not by its metrics.  Metrics are asked on a beat, so what lies between two
beats is guessed; nobody answers while a process stands still, which is when its belief matters; and to ask
for them a key would have to lie on every master.  A line is there the moment it was true, and silence is no
end: a process that stands still goes on believing until it says otherwise, or is no more.

A process stops leading by its own account when it says "Failed to renew lease": that is where its metric
falls, too.  "Leaderelection lost" is its last word before it exits, which a scheduler says 5 s later, having
closed its server first; it schedules no more by then.

What ends a belief is the process's own word, systemd's that it is gone, another process in its place, or the
machine's end.  A journal that is kept in memory goes with its machine; so it is read before anything is
broken, after each healing, and in the end.  What only a lost journal knew is not known: of a machine that was
shut down in order without a word left, the belief is taken to end when that began, and of one whose power was
cut, when it was proven to be off.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from lab.background import start
from lab.cluster import Cluster
from lab.errors import LabError
from lab.faults.machine import ColdStart, Crash, PowerCut, Reboot
from lab.history import Injection, Recorder
from lab.invariants.leaders import HOLDING
from lab.invariants.terms import LEASES
from lab.machine import Machine, on_each
from lab.probes.clocks import Clocks
from lab.topology import Role

SECONDS = 30.0  # for one reading of a journal
LATELY = "-15min"  # how far back a reading in the middle of a run looks, by the machine's own clock
SUDDEN = frozenset({PowerCut.word, ColdStart.word, Crash.word})  # faults that end every process at once
Holders = dict[str, dict[str, list[tuple[float, float | None]]]]


class Word(StrEnum):
    """What a line means for the belief of a process."""

    GAINED = "gained"
    LOST = "lost"
    GONE = "gone"  # no process of before is there any more, says systemd
    BEGAN = "began"  # a new one begins, so none of before is there either


@dataclass(frozen=True, slots=True)
class Said:
    """One line that matters; `at` in seconds of the recorder's clock, when the machine's journal got it."""

    at: float
    lease: str
    process: str
    word: Word


@dataclass
class Holding:
    """Reads the masters' journals in the course of a run, and writes down who held what in the end."""

    cluster: Cluster
    recorder: Recorder
    clocks: Clocks
    _heard: list[Future[dict[str, frozenset[Said] | None]]] = field(default_factory=list)

    def listen(self, since: str = "") -> Future[dict[str, frozenset[Said] | None]]:
        """Begin to read, all of it or what came ``since``; returns at once."""
        masters = self.cluster.of(Role.CONTROL_PLANE)
        reading = start(partial(on_each, masters, partial(self._read, since)), "holding")
        self._heard.append(reading)
        return reading

    def record(self, injections: Sequence[Injection]) -> None:
        """Read once more and write the fact; nothing where not every master can be read in the end."""
        if None in self.listen().result().values():
            return
        found: Holders = {}
        for master in self.cluster.of(Role.CONTROL_PLANE):
            heard = [reading.result().get(master.name) or frozenset[Said]() for reading in self._heard]
            for lease, spans in held(master.name, frozenset().union(*heard), injections).items():
                found.setdefault(lease, {}).update(spans)
        self.recorder.write("fact", name=HOLDING, value=found)

    def _read(self, since: str, master: Machine) -> frozenset[Said] | None:
        """None if the master does not answer, which at times is what is meant to be, or not as it should."""
        silenced = self.clocks.silenced
        if master.name in silenced:  # its journal is read once it is back, and its clock compared
            return None
        try:
            seen = master.run("sh", "-c", _JOURNAL, since, timeout=SECONDS)
            if (known := self.clocks.known.get(master.name)) and master.name not in silenced:
                known.check()  # it may run another boot than when it was compared last
            began, machine = self.recorder.began, self.clocks.of(master)
            *lines, boot = seen.stdout.splitlines()
            shared = self.cluster.lab.provider.platform.container
            wall = time.time() - self.recorder.now()
            clock = Clock(lambda stamp: machine.ours(stamp) - began, wall, "" if shared else boot)
            return frozenset(heard(lines, clock)) if seen.ok and not seen.cut else None
        except (LabError, ValueError, KeyError):
            return None


@dataclass(frozen=True, slots=True)
class Clock:
    """How a machine's stamps become seconds of the recorder.

    `since` tells how long after the recorder's beginning the machine's monotonic clock showed a stamp; it
    counts within `boot`, or in every boot where that is empty, for containers have their host's clock.
    `wall` is the recorder's beginning by the clock on the wall.
    """

    since: Callable[[float], float]
    wall: float
    boot: str = ""

    def at(self, line: Mapping[str, Any]) -> float:
        """When a line came to the journal, in seconds of the recorder."""
        if self.boot.replace("-", "") in ("", line.get("_BOOT_ID")):
            return round(self.since(int(line["__MONOTONIC_TIMESTAMP"]) / 1e6), 4)
        return round(int(line["__REALTIME_TIMESTAMP"]) / 1e6 - self.wall, 4)


def heard(lines: Iterable[str], clock: Clock) -> Iterator[Said]:
    """What a journal's lines, each an object of JSON, say of who leads; others are left out.  Pure."""
    for line in lines:
        told = json.loads(line)
        unit = str(told.get("UNIT") or told.get("_SYSTEMD_UNIT") or "").removesuffix(".service")
        word = _meaning(told.get("MESSAGE"), by_systemd=told.get("_PID") == "1")
        if word and unit in LEASES:
            yield Said(clock.at(told), unit, str(told.get("_PID")), word)


def _meaning(message: Any, *, by_systemd: bool) -> Word | None:
    """A message that is no text comes as a list of bytes, and none of these does."""
    said = message.lower() if isinstance(message, str) else ""
    return next((word for sign, word in (_SYSTEMD if by_systemd else _OWN) if sign in said), None)


def held(machine: str, said: Iterable[Said], injections: Sequence[Injection]) -> Holders:
    """By lease and process its terms: from when, until when; None where it goes on.  Pure."""
    every = [*said]
    found: Holders = {}
    for lease in LEASES:
        own = [each for each in every if each.lease == lease]
        for process, begin, until in _terms([*own, *_ends(machine, lease, own, injections)]):
            found.setdefault(lease, {}).setdefault(f"{machine}[{process}]", []).append((begin, until))
    return found


def _terms(said: Sequence[Said]) -> Iterator[tuple[str, float, float | None]]:
    leading: Said | None = None
    for each in sorted(said, key=lambda one: one.at):
        if leading and each.word is Word.GAINED and each.process == leading.process:
            continue  # the same line, read twice by a clock that was compared twice
        if leading:
            yield leading.process, leading.at, each.at
        leading = each if each.word is Word.GAINED else None
    if leading:
        yield leading.process, leading.at, None


def _ends(machine: str, lease: str, said: Sequence[Said], injections: Sequence[Injection]) -> Iterator[Said]:
    """When faults ended every process of the machine, for their last words may be gone with it."""
    for each in injections:
        if machine not in each.machines or each.in_force is None:
            continue
        if each.fault in SUDDEN:
            yield Said(each.in_force, lease, "", Word.GONE)
        elif each.fault == Reboot.word and not _parted(said, each.begun, each.in_force):
            yield Said(each.begun, lease, "", Word.GONE)


def _parted(said: Sequence[Said], begin: float, end: float) -> bool:
    """Whether the program's end within that time can be read."""
    return any(each.word in (Word.LOST, Word.GONE) and begin <= each.at <= end for each in said)


_OWN = (
    ("successfully acquired lease", Word.GAINED),
    ("failed to renew lease", Word.LOST),
    ("leaderelection lost", Word.LOST),  # "leaderelection lost/stopped" of a controller-manager
    ("requested to terminate", Word.LOST),
)
_SYSTEMD = (
    ("main process exited", Word.GONE),
    ("deactivated successfully", Word.GONE),
    ("failed with result", Word.GONE),
    ("stopped ", Word.GONE),
    ("starting ", Word.BEGAN),
    ("started ", Word.BEGAN),
)
# The last line is the boot that the machine runs; a journal without any such line is an answer too.
_JOURNAL = r"""
fields=MESSAGE,_PID,_BOOT_ID,_SYSTEMD_UNIT,UNIT
units='-u kube-controller-manager -u kube-scheduler'
journalctl -q -o json --output-fields=$fields ${0:+--since "$0"} $units |
  grep -iE 'acquired lease|failed to renew|leaderelection lost|requested to terminate|"_PID":"1"'
cat /proc/sys/kernel/random/boot_id
"""
