"""The probers of one place, asked, ended and read together: on a machine by one command for all of them."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from lab.errors import LabError, flat
from lab.history import Outcome
from lab.machine import Machine
from lab.probes.hosted import GRACE, parsed
from lab.probes.vantage import COMMAND, Here, Running, There

Lines = list[dict[str, Any]]
NOTHING = "nothing came back from its program"


@dataclass(frozen=True, slots=True)
class Look:
    """Who does not work any more, in words, and who did not begin yet, by name."""

    dead: tuple[str, ...]
    idle: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class OnHost:
    """Those of this host, which ended all if one did."""

    probers: Sequence[Here]

    def look(self) -> Look:
        """How they are."""
        dead = tuple(dict.fromkeys(said for each in self.probers if (said := each.trouble())))
        return Look(dead, tuple(each.probe.name for each in self.probers if not each.is_ready()))

    def failed(self) -> list[Lines]:
        """Of each the questions up to now that were not answered well, by this host's clock."""
        return [_failed(each.program.lines(each.probe.name)) for each in self.probers]

    def stop(self) -> None:
        """Ask them to end; harmless if they have.  Does not wait."""
        for each in self.probers:
            each.stop()

    def told(self) -> list[tuple[Lines, str]]:
        """What each wrote, by this host's clock, or why nothing came back from it; waits for their end."""
        return [heard(each.told) for each in self.probers]


@dataclass(frozen=True, slots=True)
class OnMachine:
    """Those of one machine."""

    probers: Sequence[There]

    @property
    def machine(self) -> Machine:
        """Theirs."""
        return self.probers[0].machine

    def look(self) -> Look:
        """How they are; whoever cannot be asked in time is neither dead nor at work."""
        names = tuple(each.probe.name for each in self.probers)
        seen = self.machine.run("sh", "-c", _LOOK, *self._words(), timeout=COMMAND)
        units, lines = self._units(), seen.stdout.split()
        if seen.timed_out or len(lines) != len(units) + len(names):
            return Look((), names)
        ended = [each for each, state in zip(units.values(), lines, strict=False) if state != "active"]
        begun = zip(names, lines[len(units) :], strict=True)
        dead = tuple(said for each in ended if (said := each.trouble()))
        return Look(dead, tuple(name for name, word in begun if word != "yes"))

    def failed(self) -> list[Lines]:
        """See `OnHost.failed`; nothing is known of one that cannot be asked in time, or amid a line."""
        try:
            outputs = (each.output for each in self.probers)
            said = self.machine.check("sh", "-c", _FAILED, "sh", *outputs, timeout=COMMAND)
            texts = said.split(f"\n{MARK}\n")[1:]
            lines = [each.ours(parsed(text)) for each, text in zip(self.probers, texts, strict=True)]
        except (LabError, ValueError):
            return [[] for _ in self.probers]
        return [_failed(some) for some in lines]

    def stop(self) -> None:
        """See `OnHost.stop`; what ran on a machine that is off has ended with it."""
        with suppress(LabError):
            self.machine.run("systemctl", "stop", "--no-block", *self._units(), timeout=COMMAND)

    def told(self) -> list[tuple[Lines, str]]:
        """See `OnHost.told`; what one wrote is between marks, which are no JSON."""
        wait = max(each.probe.deadline for each in self.probers) + GRACE + COMMAND
        try:
            said = self.machine.check("sh", "-c", _COLLECT, *self._words(), timeout=wait)
            texts = said.split(f"\n{MARK}\n")[1:]
            return [(each.ours(parsed(text)), "") for each, text in zip(self.probers, texts, strict=True)]
        except (LabError, ValueError) as error:
            return [([], f"{NOTHING}: {flat(error)}")] * len(self.probers)

    def _units(self) -> dict[str, There]:
        """The units that they run as, each with one of its own."""
        return {each.unit: each for each in reversed(self.probers)}

    def _words(self) -> list[str]:
        units = self._units()
        return [str(len(units)), *units, *(each.output for each in self.probers)]


Crew = OnHost | OnMachine


def crews(running: Sequence[Running]) -> list[Crew]:
    """All of them, by where they run."""
    here = [each for each in running if isinstance(each, Here)]
    there: dict[str, list[There]] = {}
    for each in running:
        if isinstance(each, There):
            there.setdefault(each.machine.name, []).append(each)
    found: list[Crew] = [OnMachine(probers) for probers in there.values()]
    return [OnHost(here), *found] if here else found


def _failed(lines: Lines) -> Lines:
    return [line for line in lines if line.get("outcome", Outcome.OK) != Outcome.OK]


def heard(tell: Callable[[], Lines]) -> tuple[Lines, str]:
    """What a program of ours told, or why nothing came back from it."""
    try:
        return tell(), ""
    except (LabError, OSError, ValueError) as error:
        return [], f"{NOTHING}: {flat(error)}"


MARK = "-- thwlab: of the next"
# $0: how many units there are; then these, then the files that are written, which are left as arguments.
_UNITS = 'i=0; units=; while [ "$i" -lt "$0" ]; do units="$units $1"; shift; i=$((i + 1)); done'
# Good answers stay there: of a lab that is well next to nothing is carried.
_FAILED = f"""\
for file; do printf '\\n%s\\n' '{MARK}'; grep -v '"outcome": "ok"' "$file"; done
true
"""
_LOOK = f"""\
{_UNITS}
systemctl is-active $units
for file; do if [ -s "$file" ]; then echo yes; else echo no; fi; done
"""
_COLLECT = f"""\
{_UNITS}
systemctl stop $units 2>/dev/null
for file; do printf '\\n%s\\n' '{MARK}'; cat "$file"; done
rm -f "$@"
"""
