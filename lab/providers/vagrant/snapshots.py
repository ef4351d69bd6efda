"""All of a lab's VMs at one instant."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from lab.machine import on_each
from lab.providers.base import Snapshot
from lab.providers.vagrant.hypervisor import Taken
from lab.providers.vagrant.machine import VagrantMachine


@contextmanager
def coherent(machines: Sequence[VagrantMachine]) -> Iterator[Sequence[VagrantMachine]]:
    """All paused within a blink, for a snapshot of each; all go on afterwards, whatever happened."""
    try:
        on_each(machines, lambda m: m.pause())
        yield machines
    finally:
        on_each(machines, lambda m: m.resume())


def together(listed: Mapping[str, Sequence[Taken]]) -> list[Snapshot]:
    """Snapshots of one name, by machine, are one of the lab; oldest first.  Pure."""
    found: dict[str, dict[str, str]] = {}
    for machine, snapshots in listed.items():
        for each in snapshots:
            found.setdefault(each.name, {})[machine] = each.at
    every = [Snapshot(name, max(when.values()), tuple(when)) for name, when in found.items()]
    return sorted(every, key=lambda snapshot: snapshot.taken)
