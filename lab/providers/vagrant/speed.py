"""How slowly a VM computes, by one short calibration: the same work in the guest and on this host.

Emulated guests compute 10 to 20 times slower.  Measured once, when they are new and quiet, and written down.
"""

import json
import logging
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.machine import Machine
from lab.wait import MOST

# The best of three: whatever else happens meanwhile only makes one longer.
WORK = """\
import time
def once():
    begun = time.perf_counter()
    sum(i * i % 7 for i in range(200000))
    return time.perf_counter() - begun
print(min(once() for _ in range(3)))
"""
# For a plain box, which may have no Python yet; every Debian has this part of perl.
PERL = """\
use POSIX ();
my $best;
for (1..3) {
    my ($begun, $sum) = (POSIX::clock(), 0);
    $sum += $_ * $_ % 7 for 0..199999;
    my $took = (POSIX::clock() - $begun) / 1e6;
    $best = $took if !defined $best || $took < $best;
}
print "$best\n";
"""
WORKS = {"python3": ("-c", WORK), "perl": ("-e", PERL)}
ABSENT = 127
TIMEOUT = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds for the same work."""

    guest: float
    host: float

    @property
    def slowness(self) -> float:
        """How many times longer the guest took, 1 to `lab.wait.MOST`."""
        return round(min(MOST, max(1.0, self.guest / self.host)), 1)


def calibrate(machine: Machine) -> Speed:
    """Do the work on the machine and then here; takes seconds where the machine is emulated.

    Where no program for it is on both, it is not known, and the machine counts as slow as any may: waits are
    long and time limits are not judged, which is wrong for a fast machine and harmless.
    """
    for program, words in WORKS.items():
        here = sys.executable if program == "python3" else shutil.which(program)
        seen = machine.run(program, *words, timeout=TIMEOUT)
        if here and seen.status != ABSENT:
            host = subprocess.run([here, *words], capture_output=True, text=True, timeout=TIMEOUT, check=True)
            return _compared(machine, seen.stdout or seen.stderr, host.stdout)
    log.warning(
        "%s: none of %s is both on it and here, so its speed is not known: it counts as %.0f times "
        "slower than this host, and time limits are not judged",
        machine.name,
        ", ".join(WORKS),
        MOST,
    )
    return Speed(MOST, 1.0)


def _compared(machine: Machine, guest: str, host: str) -> Speed:
    try:
        return Speed(float(guest), float(host))
    except ValueError as error:
        raise LabError(
            f"{machine.name} cannot be calibrated: it said {guest!r}, this host {host!r}"
        ) from error


def write(speed: Speed, record: Path) -> None:
    """Keep it for those who come later."""
    record.write_text(json.dumps({**asdict(speed), "slowness": speed.slowness}))


def read(record: Path) -> Speed | None:
    """What was measured, or None if nothing was."""
    try:
        found = json.loads(record.read_text())
        return Speed(float(found["guest"]), float(found["host"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
