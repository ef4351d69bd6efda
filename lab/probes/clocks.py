"""How moments of another machine's monotonic clock become moments of this host's, all through a run.

What was measured in the beginning does not stay true: the clock of a VM that is paused stands still with it,
and begins anew with each boot.  Containers have this host's clock.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import inf
from typing import Any

from lab.cluster import Cluster
from lab.machine import Machine, on_each

COMMAND = 20.0  # seconds
TRIES = 5  # of reading another machine's clock; the quickest one counts


@dataclass(frozen=True, slots=True)
class Reading:
    """One comparison, in seconds: that machine's clock minus ours, and how far that may be wrong.

    It holds for that clock's stamps before `until`, in the boot with that number.
    """

    offset: float
    bound: float
    boot: str = ""
    until: float = inf


class Clock:
    """One machine's clock, compared when this is made and whenever it is asked to."""

    def __init__(self, measure: Callable[[], Reading]) -> None:
        self._measure = measure
        self._readings = [measure()]
        self._moved = 0.0

    @property
    def bound(self) -> float:
        """By how many seconds any moment may be wrong that `ours` gives."""
        return max(self._moved, *(each.bound for each in self._readings))

    def ours(self, theirs: float) -> float:
        """The moment of this host's clock at which the machine's showed that."""
        return theirs - next(each for each in self._readings if theirs < each.until).offset

    def stood_still(self, begun: float, resumed: float) -> None:
        """Compare again, after a pause that began at ``begun`` and ended at ``resumed``, by our clock.

        Both are the earliest moments possible; where they leave a choice, the length of the pause decides,
        by which that clock is behind now.  What is stamped while a machine is being paused or let go on, some
        tenths of a second, may be taken for a moment on the other side.
        """
        last, new = self._readings[-1], self._measure()
        if self._began_anew(new):
            return
        stopped = max(begun, resumed - (last.offset - new.offset))
        self._readings[-1:] = [replace(last, until=stopped + last.offset), new]
        self._moved = 0.0  # whoever compared before this was known took the pause for a move

    def check(self) -> None:
        """Compare in the end.  If it has moved and nobody knows when, all moments are as doubtful as that."""
        last, new = self._readings[-1], self._measure()
        moved = abs(new.offset - last.offset)
        if not self._began_anew(new) and moved > last.bound + new.bound:
            self._moved = moved + new.bound

    def record(self) -> list[dict[str, Any]]:
        """What was measured, each with the last moment of that clock for which it holds, if there is one."""
        return [
            {name: round(v, 6) for name, v in asdict(each).items() if isinstance(v, float) and v < inf}
            for each in self._readings
        ]

    def _began_anew(self, new: Reading) -> bool:
        """What was compared in another boot is of no use for this one; whoever stamped there has ended."""
        if new.boot == self._readings[-1].boot:
            return False
        self._readings, self._moved = [new], 0.0
        return True


@dataclass
class Clocks:
    """Those of a cluster's machines, each compared when it is first asked for.

    `silenced` are the machines with which a fault does away for now: their clocks tell nothing meanwhile.
    """

    cluster: Cluster
    known: dict[str, Clock] = field(default_factory=dict)
    silenced: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, machine: Machine) -> Clock:
        """The machine's clock; `LabError` if it cannot be asked and never was."""
        if machine.name not in self.known:
            clock = Clock(partial(clock_of, self.cluster, machine))
            with self._lock:
                self.known.setdefault(machine.name, clock)
        return self.known[machine.name]

    def stood_still(self, names: Iterable[str], begun: float, resumed: float) -> None:
        """These machines may have stood still, as `Clock` says; those nobody asked for are left out."""
        self._each(names, lambda clock: clock.stood_still(begun, resumed))

    def check(self, names: Iterable[str]) -> None:
        """Compare these in the end."""
        self._each(names, Clock.check)

    def record(self) -> Mapping[str, Any]:
        """By machine what was measured; none of containers."""
        if not self.known or self.cluster.lab.provider.platform.container:
            return {}
        return {name: clock.record() for name, clock in sorted(self.known.items())}

    def _each(self, names: Iterable[str], act: Callable[[Clock], None]) -> None:
        machines = [self.cluster.machines[name] for name in names if name in self.known]
        on_each(machines, lambda machine: act(self.known[machine.name]))


def clock_of(cluster: Cluster, machine: Machine) -> Reading:
    """The machine's monotonic clock compared with ours; containers share this host's."""
    if cluster.lab.provider.platform.container:
        return Reading(0.0, 0.0)
    return min((_reading(machine) for _ in range(TRIES)), key=lambda each: each.bound)


def _reading(machine: Machine) -> Reading:
    before = time.monotonic()
    theirs, boot = machine.check("python3", "-c", _ASK, timeout=COMMAND).split()
    after = time.monotonic()
    return Reading(float(theirs) - (before + after) / 2, (after - before) / 2, boot)


_ASK = """\
import time
print(time.monotonic(), open("/proc/sys/kernel/random/boot_id").read())
"""
