"""What a daemon says of snapshots, machine by machine, as those of a whole lab.  Pure."""

from collections.abc import Mapping, Sequence

from lab.machine import Machine
from lab.providers.base import Snapshot
from lab.providers.incus.api import Json


def snapshots_of(machine: Machine) -> str:
    """The path below which a machine's snapshots are."""
    return f"/1.0/instances/{machine.name}/snapshots"


def together(listed: Mapping[str, Sequence[Json]]) -> list[Snapshot]:
    """Snapshots of one name, by machine, are one of the lab; oldest first."""
    found: dict[str, dict[str, str]] = {}
    for machine, snapshots in listed.items():
        for each in snapshots:
            found.setdefault(each["name"].rsplit("/", 1)[-1], {})[machine] = each["created_at"]
    every = [Snapshot(name, _second(max(when.values())), tuple(when)) for name, when in found.items()]
    return sorted(every, key=lambda snapshot: snapshot.taken)


def _second(when: str) -> str:
    return when[:19] + "Z"
