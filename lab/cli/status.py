"""How a lab is: asked of every machine at once, each with a deadline, so that a dead one costs seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from lab.components.catalogue import components
from lab.errors import ClusterError, LabError
from lab.laboratory import Laboratory
from lab.machine import Machine, on_each
from lab.pki import expiring
from lab.state import labs
from lab.topology import Topology
from lab.wait import NotYet

ENDS_SOON = timedelta(days=30)
TIMEOUT = 8.0


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One planned machine: running, absent, or why it does not answer; and its units' states."""

    name: str
    address: str
    roles: list[str]
    state: str
    units: dict[str, str]


@dataclass(frozen=True, slots=True)
class LabStatus:
    """A lab at one moment."""

    name: str
    origin: str
    provider: str
    machines: list[MachineStatus]
    api: str
    certificates: list[tuple[str, float]]
    others: list[str]

    @property
    def healthy(self) -> bool:
        """Whether every machine that was created runs, and every unit that was installed is active."""
        states = [state for machine in self.machines for state in machine.units.values()]
        absent = {machine.state for machine in self.machines} - {"running", "not created"}
        return not absent and not set(states) - {"active", "not installed"} and self.api in ("ok", NOT_ASKED)


NOT_ASKED = "not installed yet"


def examine(lab: Laboratory) -> LabStatus:
    """The lab's state now; what does not answer is told, never raised."""
    units = units_of(lab)
    there = list(lab.machines.values())
    asked = on_each(there, lambda machine: _ask(machine, units.get(machine.name, [])))
    machines = [_status(lab.topology, name, asked) for name in (n.name for n in lab.topology.nodes)]
    served = any(m.units.get("kube-apiserver.service") not in (None, "not installed") for m in machines)
    return LabStatus(
        lab.topology.name,
        lab.topology.origin,
        lab.provider.name,
        machines,
        _api(lab) if served else NOT_ASKED,
        expiring(lab.state.path / "pki", ENDS_SOON),
        [other.name for other in labs() if other.name != lab.topology.name],
    )


def units_of(lab: Laboratory) -> Mapping[str, list[str]]:
    """By machine, the units that the plan puts there."""
    found: dict[str, list[str]] = {}
    for component in components(lab.topology, lab.provider.platform):
        if component.unit:
            for node in component.nodes():
                found.setdefault(node.name, []).append(component.unit)
    return found


def _ask(machine: Machine, units: Sequence[str]) -> tuple[str, dict[str, str]]:
    argv = ("systemctl", "show", "--property=Id,LoadState,ActiveState", "--", *units)
    try:
        seen = machine.run(*argv, timeout=TIMEOUT)
    except LabError as error:
        return str(error).splitlines()[0], {}
    if not seen.ok:
        why = f"no answer within {TIMEOUT:.0f}s" if seen.timed_out else seen.stderr.strip()
        return why or f"systemctl exited {seen.status}", {}
    return "running", unit_states(seen.stdout)


def unit_states(text: str) -> dict[str, str]:
    """What `systemctl show` printed for several units: by name, active, failed, …, or not installed."""
    blocks = (dict(row.split("=", 1) for row in block.splitlines()) for block in text.strip().split("\n\n"))
    return {
        block["Id"]: "not installed" if block["LoadState"] == "not-found" else block["ActiveState"]
        for block in blocks
        if "Id" in block
    }


def _status(topology: Topology, name: str, asked: Mapping[str, tuple[str, dict[str, str]]]) -> MachineStatus:
    node = topology.node(name)
    state, units = asked.get(name, ("not created", {}))
    return MachineStatus(name, str(node.address), sorted(node.roles), state, units)


def _api(lab: Laboratory) -> str:
    try:
        return lab.api().text("/readyz").strip()
    except (NotYet, ClusterError, LabError) as error:
        return str(error).splitlines()[0]
    finally:
        lab.close()


def render(seen: LabStatus) -> list[str]:
    """For people.  Pure."""
    rows = [f"lab {seen.name}, planned in {seen.origin}, provider {seen.provider}"]
    for machine in seen.machines:
        rows.append(f"  {machine.name:14} {machine.address:16} {machine.state}")
        rows += [f"      {unit:32} {state}" for unit, state in sorted(machine.units.items())]
    rows.append(f"API: {seen.api}")
    rows += [f"certificate {name} {_days(left)}" for name, left in seen.certificates]
    if seen.others:
        rows.append(f"other labs: {', '.join(seen.others)}")
    return rows


def _days(left: float) -> str:
    return f"ends in {left:.0f} days" if left > 0 else f"ended {-left:.0f} days ago"
