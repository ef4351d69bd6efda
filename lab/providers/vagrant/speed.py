"""How slowly a VM computes, by one short calibration: the same work in the guest and on this host.

Emulated guests compute 10 to 20 times slower.  Measured once, when they are new and quiet, and written down.
"""

import json
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
TIMEOUT = 60.0


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
    """Do the work on the machine and then here; takes seconds where the machine is emulated."""
    guest = machine.check("python3", "-c", WORK, timeout=TIMEOUT)
    argv = [sys.executable, "-I", "-c", WORK]
    host = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout
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
