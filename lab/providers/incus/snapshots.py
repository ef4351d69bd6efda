"""Snapshots of a whole lab, as a daemon has them machine by machine."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial

from lab.errors import LabError
from lab.machine import Machine, on_each
from lab.providers.base import Snapshot
from lab.providers.incus.api import Api, Json, ignoring


def take(api: Api, machines: Sequence[Machine], name: str) -> None:
    """Of each machine; one that fails leaves none of it on the others."""
    taken: list[Machine] = []

    def take_one(machine: Machine) -> None:
        api.do("POST", _path(machine), {"name": name, "stateful": False}, timeout=120)
        taken.append(machine)

    try:
        on_each(machines, take_one)
    except (LabError, ExceptionGroup):
        with suppress(LabError, ExceptionGroup):  # the first failure is the answer
            forget(api, taken, name)
        raise


def forget(api: Api, machines: Sequence[Machine], name: str) -> None:
    """Delete it wherever it is."""

    def forget_one(machine: Machine) -> None:
        ignoring(404, partial(api.do, "DELETE", f"{_path(machine)}/{name}", timeout=120))

    on_each(machines, forget_one)


def listed(api: Api, machines: Sequence[Machine]) -> list[Snapshot]:
    """Every snapshot that any of the machines has, oldest first."""
    return together(on_each(machines, lambda machine: api.get(_path(machine), query_recursion=1)))


def together(found: Mapping[str, Sequence[Json]]) -> list[Snapshot]:
    """Snapshots of one name, by machine, are one of the lab.  Pure."""
    by_name: dict[str, dict[str, str]] = {}
    for machine, snapshots in found.items():
        for each in snapshots:
            by_name.setdefault(each["name"].rsplit("/", 1)[-1], {})[machine] = each["created_at"]
    every = [Snapshot(name, _second(max(when.values())), tuple(when)) for name, when in by_name.items()]
    return sorted(every, key=lambda snapshot: snapshot.taken)


def _path(machine: Machine) -> str:
    return f"/1.0/instances/{machine.name}/snapshots"


def _second(when: str) -> str:
    return when[:19] + "Z"
