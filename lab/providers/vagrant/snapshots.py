"""All of a lab's VMs at one instant, and back to it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from lab.errors import LabError
from lab.machine import on_each
from lab.providers.base import Snapshot
from lab.providers.restoring import all_back
from lab.providers.vagrant.hypervisor import Hypervisor, Taken
from lab.providers.vagrant.machine import VagrantMachine

Machines = Sequence[VagrantMachine]


def take(hypervisor: Hypervisor, machines: Machines, name: str) -> None:
    """One of each, all paused meanwhile; if one fails, none is left."""
    with coherent(machines):
        try:
            on_each(machines, lambda m: hypervisor.take(m.domain, name))
        except BaseException:
            forget(hypervisor, machines, name)
            raise


def listed(hypervisor: Hypervisor, machines: Machines) -> list[Snapshot]:
    """The lab's, oldest first."""
    return together(on_each(machines, lambda m: hypervisor.snapshots(m.domain)))


def forget(hypervisor: Hypervisor, machines: Machines, name: str) -> None:
    """Delete it from all that have it."""
    on_each(machines, partial(_forget, hypervisor, name))


def go_back(hypervisor: Hypervisor, machines: Machines, name: str) -> None:
    """All back and paused, then all go on, their clocks set at once; also where one could not go back.

    Connections are closed before: a guest that goes back knows nothing of them, and they would hang.
    """
    _insist_all_have(hypervisor, machines, name)
    on_each(machines, lambda m: m.connection.close())
    with all_back(name, lambda: on_each(machines, lambda m: m.resume())):
        on_each(machines, lambda m: hypervisor.revert(m.domain, name))
        on_each(machines, lambda m: hypervisor.resume(m.domain))
    on_each(machines, lambda m: m.set_clock())
    on_each(machines, lambda m: m.await_boot())


@contextmanager
def coherent(machines: Machines) -> Iterator[None]:
    """All paused within a blink, for a snapshot of each; all go on afterwards, whatever happened."""
    try:
        on_each(machines, lambda m: m.pause())
        yield
    finally:
        on_each(machines, lambda m: m.resume())


def together(found: Mapping[str, Sequence[Taken]]) -> list[Snapshot]:
    """Snapshots of one name, by machine, are one of the lab; oldest first.  Pure."""
    named: dict[str, dict[str, str]] = {}
    for machine, snapshots in found.items():
        for each in snapshots:
            named.setdefault(each.name, {})[machine] = each.at
    every = [Snapshot(name, max(when.values()), tuple(when)) for name, when in named.items()]
    return sorted(every, key=lambda snapshot: snapshot.taken)


def _forget(hypervisor: Hypervisor, name: str, machine: VagrantMachine) -> None:
    if name in {each.name for each in hypervisor.snapshots(machine.domain)}:
        hypervisor.forget(machine.domain, name)


def _insist_all_have(hypervisor: Hypervisor, machines: Machines, name: str) -> None:
    known = {snapshot.name: snapshot.machines for snapshot in listed(hypervisor, machines)}
    lacking = [machine.name for machine in machines if machine.name not in known.get(name, ())]
    if lacking or not machines:
        there = ", ".join(known) or "none"
        raise LabError(
            f"{', '.join(lacking) or 'no machine'} has no snapshot {name!r}; there are: {there}",
            remedy="thwlab snapshot --list",
        )
