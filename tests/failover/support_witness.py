"""When a machine was really hurt: looked at on the machine itself, some twenty times a second.

What the product writes down as evidence comes from commands that take tenths of a second, up to a second
where a unit is started; an outage of known length must be known better than that.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.errors import LabError
from lab.machine import Machine

EVERY = 0.04  # seconds between two looks, without what a look takes
GRACE = 30.0  # seconds beyond its time after which the machine is no more waited for
# Prints a line for each change: when it was last seen otherwise, when it was first seen so, and what it is.
LOOK = """\
LC_ALL=C; was=; last=0; rm -f {stop}
while [ "$SECONDS" -lt {seconds} ] && [ ! -e {stop} ]; do
  if {hurt}; then now=hurt; else now=well; fi
  at=$EPOCHREALTIME
  [ "$now" = "$was" ] || echo "$last $at $now"
  was=$now; last=$at
  sleep {every}
done
rm -f {stop}
"""


@dataclass(frozen=True, slots=True)
class Bounds:
    """A length of time in seconds that is only known to lie between two."""

    least: float
    most: float


@dataclass(frozen=True, slots=True)
class Hurt:
    """From when to when one machine was: each instant lies between two looks, by the machine's wall clock."""

    begin: tuple[float, float]
    end: tuple[float, float]


def hurts(told: str) -> list[Hurt]:
    """Every time that a machine was hurt and well again, from what `LOOK` printed.  Pure."""
    found, begun = [], None
    for last, at, state in (line.split() for line in told.splitlines()):
        if state == "hurt":
            begun = (float(last), float(at))
        elif begun:
            found.append(Hurt(begun, (float(last), float(at))))
            begun = None
    return found


def length(of: Sequence[Hurt]) -> Bounds:
    """Of what needs all these machines hurt, at least; of what needs one, at most.  Pure."""
    least = min(each.end[0] for each in of) - max(each.begin[1] for each in of)
    most = max(each.end[1] for each in of) - min(each.begin[0] for each in of)
    return Bounds(max(0.0, least), most)


@dataclass
class Witness:
    """Looks at some machines as long as it is asked to."""

    machines: Sequence[Machine]
    hurt: str
    seconds: int
    told: dict[str, str] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)

    def look(self, machine: Machine) -> None:
        """In a thread of its own; what went wrong is kept for who asks."""
        stop = _stop(machine)
        script = LOOK.format(seconds=self.seconds, hurt=self.hurt, every=EVERY, stop=stop)
        try:
            self.told[machine.name] = machine.check("bash", "-c", script, timeout=self.seconds + GRACE)
        except LabError as error:
            self.troubles.append(str(error))

    def saw(self) -> Bounds:
        """How long the machines were hurt, each of them once."""
        assert not self.troubles, self.troubles
        each = {name: hurts(told) for name, told in self.told.items()}
        assert {name: len(found) for name, found in each.items()} == {m.name: 1 for m in self.machines}, (
            self.told
        )
        return length([found[0] for found in each.values()])


@contextmanager
def watching(machines: Sequence[Machine], hurt: str, seconds: int) -> Iterator[Witness]:
    """While the body runs, `seconds` at most, where ``hurt`` is a condition of bash."""
    witness = Witness(machines, hurt, seconds)
    threads = [threading.Thread(target=witness.look, args=(each,), daemon=True) for each in machines]
    for thread in threads:
        thread.start()
    try:
        yield witness
    finally:
        for each in machines:
            each.run("touch", _stop(each))
        until = time.monotonic() + GRACE
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))


def _stop(machine: Machine) -> str:
    return f"/run/thwlab-witness-{machine.name}"
