"""Whether a machine has a unit, and if not, which was meant."""

import difflib
from collections.abc import Sequence

import click

from lab.errors import LabError
from lab.machine import Machine

LISTING = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "--type=service")
TIMEOUT = 30.0


def insist_there(machine: Machine, unit: str, planned: Sequence[str], flags: str = "") -> None:
    """`LabError` for a planned unit that is not installed yet, the user's mistake for any other.

    A pattern such as kube-* is journalctl's own business.
    """
    if set(unit) & set("*?[") or _is_there(machine, unit):
        return
    ours = [short(name) for name in planned]
    if short(unit) in ours:
        remedy = f"thwlab{flags} up"
        raise LabError(f"{machine.name}: {unit} is planned there and not installed yet", remedy=remedy)
    raise click.BadParameter(no_unit(machine.name, unit, ours, _listed(machine), flags), param_hint="UNIT")


def no_unit(machine: str, unit: str, ours: Sequence[str], all_: Sequence[str], flags: str = "") -> str:
    """That there is no such unit; which was meant, the lab's own before the system's.  Pure."""
    near = (difflib.get_close_matches(short(unit), names, n=1) for names in (ours, all_))
    meant = next((f" Did you mean {close[0]!r}?" for close in near if close), "")
    others = f"`thwlab{flags} exec {machine} -- systemctl list-units` lists the system's own"
    return f"{machine} has no unit {unit!r}.{meant} The lab's are {', '.join(ours) or 'none'}; {others}"


def short(unit: str) -> str:
    """A service by the name people use.  Pure."""
    return unit.removesuffix(".service")


def _is_there(machine: Machine, unit: str) -> bool:
    seen = machine.run("systemctl", "show", "--property=LoadState", "--value", "--", unit, timeout=TIMEOUT)
    return seen.ok and seen.stdout.strip() != "not-found"


def _listed(machine: Machine) -> list[str]:
    rows = [row.split() for row in machine.run(*LISTING, timeout=TIMEOUT).stdout.splitlines()]
    return [short(row[0]) for row in rows if row[1:2] == ["loaded"]]
