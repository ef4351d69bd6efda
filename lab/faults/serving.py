"""Whether what a fault hit serves again, asked of the thing itself."""

from lab.cluster import Cluster
from lab.components.base import Component
from lab.components.catalogue import components
from lab.faults.shell import sh
from lab.machine import Machine, on_each
from lab.wait import NotYet

DERIVED = ("thwlab-routes.service", "flanneld.service")  # units that depend on what the API gave out


def planned(cluster: Cluster, machine: Machine) -> list[Component]:
    """The components of the plan on this machine, less the pod network's."""
    every = components(cluster.topology, cluster.lab.provider.platform)
    return [component for component in every if machine.node in component.nodes()]


def check_unit(cluster: Cluster, machine: Machine, unit: str) -> None:
    """Return if the component whose unit this is answers; `NotYet` until then."""
    for component in planned(cluster, machine):
        if component.unit == f"{unit}.service":
            component.check_ready(machine)


def check_machines(cluster: Cluster, machines: list[Machine]) -> None:
    """Return if these run, and all that is planned on them serves; `NotYet` until then."""
    states = cluster.lab.provider.states()
    if off := {m.name: states.get(m.name, "gone") for m in machines if states.get(m.name) != "running"}:
        raise NotYet(", ".join(f"{name} is {state}" for name, state in off.items()))
    on_each(machines, lambda machine: _check_machine(cluster, machine))


def _check_machine(cluster: Cluster, machine: Machine) -> None:
    here = planned(cluster, machine)
    units = [component.unit for component in here if component.unit]
    if bad := sh(machine, _INACTIVE, *units, *DERIVED).split():
        raise NotYet(f"{machine.name}: not active: {', '.join(bad)}")
    for component in here:
        component.check_ready(machine)


_INACTIVE = """\
for unit; do
  systemctl is-enabled --quiet "$unit" 2>/dev/null || continue
  systemctl is-active --quiet "$unit" || echo "$unit"
done
"""
