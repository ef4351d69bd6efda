"""Whether a machine stood still while it was paused: by what its processes saw, or by its clock.

A container's processes see that time has passed in which they did nothing.  A VM's clock stands still with
it, so that they see nothing at all; but then it has fallen behind this host's, unless its hypervisor or its
kernel moves it on, and then they see it again.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.errors import LabError
from lab.machine import Machine

UPTIME = ("cut", "-d", " ", "-f1", "/proc/uptime")


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds since the machine's boot by its own clock, and between which moments of this host's."""

    before: float
    theirs: float
    after: float


def reading(machine: Machine) -> Reading:
    """Ask the machine now."""
    before = time.monotonic()
    theirs = float(machine.check(*UPTIME))
    return Reading(before, theirs, time.monotonic())


def insist_stood_still(
    name: str, ticks: Sequence[float], first: Reading, last: Reading, stood: float
) -> None:
    """Fail unless the machine did nothing for so many seconds between two readings.  Pure.

    ``ticks`` are moments, by its own clock, at which one of its processes ran.  Raises `LabError` where the
    readings took so long that nothing follows from them.
    """
    assert len(ticks) > 2, f"{name}: the ticking process wrote {list(ticks)}"
    assert ticks[-1] > first.theirs, f"{name}: the ticking process did not go on: {ticks[-1]}, {first.theirs}"
    gap = max(later - earlier for earlier, later in pairwise(ticks))
    if gap >= stood:
        return
    theirs = last.theirs - first.theirs
    least, most = last.before - first.after - theirs, last.after - first.before - theirs
    if most - least >= stood:
        raise LabError(
            f"{name}: to ask it for its clock took {most - least:.1f} s, as long as the pause of "
            f"{stood:.1f} s, so that nothing follows from it",
            remedy="the test once more, on a host with less to do",
        )
    assert most >= stood, (
        f"{name}: a process ticked on, {gap:.2f} s apart at most, and its clock went on but for "
        f"{most:.2f} s, in {stood:.2f} s of pause"
    )
