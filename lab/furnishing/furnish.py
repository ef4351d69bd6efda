"""Bring machines what their box lacks; nothing where that was done."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future

from lab.artifacts.catalogue import machine_arch
from lab.artifacts.importing import import_argv
from lab.artifacts.packages import Release
from lab.artifacts.supplies import Supplies
from lab.background import start
from lab.errors import LabError
from lab.furnishing.guest import MARK, Guest, ask, insist_usable
from lab.furnishing.parcel import INSTALLED, MASKED, MIB, STAGING, Parcel
from lab.machine import Machine, Result, on_each, patience
from lab.signatures import Signature

SEND_TIMEOUT, FURNISH_TIMEOUT = 900.0, 1800.0  # seconds; an emulated worker takes minutes for each
CTR = "/usr/local/bin/ctr"
# The mark goes first: what is half is not whole.
UNPACK = 'umask 022 && rm -f "$1$2" && exec tar -xzf - -C "$1/" --no-same-owner'

Tell = Callable[[str], None]
Supply = Callable[[Release], Supplies]

KNOWN = (
    Signature(
        r"No space left on device|not enough free space|don't have enough free space",
        "the machine's disk is full",
        "a box with a larger disk: THWLAB_BOX names it; then thwlab down, thwlab up",
    ),
    Signature(
        r"Temporary failure resolving|Could not resolve|Unable to connect to|Network is unreachable",
        "the machine reaches no package archive, and this host could not bring the packages",
        "let the machine reach the network, or run `thwlab artifacts fetch` on a host of its distribution "
        "and copy that cache folder here",
    ),
    Signature(
        r"modprobe: FATAL",
        "the machine's kernel lacks what containers need",
        "a box whose kernel has its modules, such as Debian's linux-image-amd64 or linux-image-cloud-amd64",
    ),
    Signature(
        r"Could not get lock|frontend lock was locked",
        "another apt or dpkg has been at work there for minutes",
        "thwlab up once more; `thwlab exec MACHINE -- fuser /var/lib/dpkg/lock-frontend` shows who it is",
    ),
    Signature(
        r"Unable to locate package|has no installation candidate|unmet dependencies|held broken packages",
        "the machine's packages and those that were brought do not fit together",
        "thwlab artifacts gc, thwlab artifacts fetch; or a newer box: THWLAB_BOX names it",
    ),
    Signature(
        r"tar: .*not found|gzip: .*not found",
        "the box has neither tar nor gzip",
        "a Debian or Ubuntu box: THWLAB_BOX names it",
    ),
)


def furnish(machines: Sequence[Machine], supply: Supply, tell: Tell) -> list[str]:
    """Have on each machine what its roles need; the names of those that were given anything.

    ``supply`` is asked once for each release that a machine runs.  Raises `LabError`, or a group of them,
    where a machine cannot be used or did not take what it was given.
    """
    tell("asking machines what they have")
    guests = on_each(machines, ask)
    on_each(machines, lambda machine: insist_usable(machine.name, guests[machine.name], machine_arch()))
    supplies = {release: supply(release) for release in sorted({g.release for g in guests.values()})}
    parcels = {m.name: Parcel(m.node.roles, supplies[guests[m.name].release]) for m in machines}
    todo = [machine for machine in machines if guests[machine.name].mark != parcels[machine.name].mark]
    for why in sorted({each.why for each in supplies.values() if each.why and todo}):
        tell(f"{why}: machines install packages through their own network")
    mine = {m.name: parcels[m.name].for_machine(guests[m.name].installed) for m in todo}
    on_each(todo, lambda machine: _insist_room(machine, guests[machine.name], mine[machine.name]))
    packed = _packed(mine.values())
    on_each(
        todo, lambda machine: _give(machine, mine[machine.name], packed[_alike(mine[machine.name])], tell)
    )
    return [machine.name for machine in todo]


def _alike(parcel: Parcel) -> tuple[object, ...]:
    """What two machines have in common that are given the same bytes."""
    return parcel.mark, parcel.packages


def _packed(parcels: Iterable[Parcel]) -> Mapping[tuple[object, ...], "Future[bytes]"]:
    """Each kind of parcel, packed once, all at the same time."""
    return {
        alike: start(parcel.packed, "pack")
        for alike, parcel in {_alike(parcel): parcel for parcel in parcels}.items()
    }


def _insist_room(machine: Machine, guest: Guest, parcel: Parcel) -> None:
    if guest.free_mib < parcel.needed_mib:
        raise LabError(
            f"{machine.name}: {guest.free_mib} MiB are free on its disk, "
            f"and what it must be given takes about {parcel.needed_mib}",
            remedy=KNOWN[0].remedy,
        )


def _give(machine: Machine, parcel: Parcel, packed: "Future[bytes]", tell: Tell) -> None:
    content = packed.result()
    tell(f"{machine.name}: sending {len(content) / MIB:.0f} MiB")
    _insist(
        machine,
        "unpacking its programs",
        machine.run("sh", "-c", UNPACK, "sh", "", MARK, stdin=content, timeout=SEND_TIMEOUT),
        SEND_TIMEOUT,
    )
    tell(f"{machine.name}: installing packages" + (", importing images" if parcel.images else ""))
    argv = furnish_argv(parcel)
    _insist(machine, "its programs", machine.run(*argv, timeout=FURNISH_TIMEOUT), FURNISH_TIMEOUT)


def furnish_argv(parcel: Parcel, root: str = "") -> list[str]:
    """The command that makes a machine of what was unpacked on it.  Pure but for files that are read."""
    words = [MASKED, parcel.modules, INSTALLED]
    script = ["sh", f"{root}/{STAGING}/furnish", root, parcel.mark, parcel.source, *map(" ".join, words)]
    return [*script, *import_argv(f"{root}{CTR}")]


def _insist(machine: Machine, what: str, seen: Result, timeout: float) -> None:
    """Raise `LabError` with the step it was at, what it said last, and what helps."""
    if seen.ok:
        return
    said = f"{seen.stdout}\n{seen.stderr}".strip()
    steps = re.findall(r"^furnish: (.*)$", said, re.MULTILINE)
    how = f"did not end within {patience(timeout):.0f}s" if seen.timed_out else f"exited {seen.status}"
    known = next((each for each in KNOWN if re.search(each.pattern, said)), None)
    meaning = f"\n  it means: {known.cause}" if known else ""
    where = f" at: {steps[-1]}" if steps else ""
    last = "\n".join(f"    {line}" for line in said.splitlines()[-12:]) or "    (nothing)"
    raise LabError(
        f"{machine.name}: {what} {how}{where}{meaning}\n  it said last:\n{last}",
        remedy=known.remedy if known else f"thwlab up once more; thwlab shell {machine.name} to look",
    )
