"""How a lab is: asked of every machine at once, each with a deadline, so that a dead one costs seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from lab.bringup import machines_for
from lab.components.catalogue import components
from lab.debts import examined
from lab.errors import ClusterError, LabError
from lab.laboratory import Laboratory
from lab.machine import Machine, Platform, Substrate, on_each
from lab.pki import expiring
from lab.stages import stages_for
from lab.state import labs
from lab.topology import Node, Topology
from lab.wait import NotYet

ENDS_SOON = timedelta(days=30)
TIMEOUT = 8.0
UNUSED = {"not-found": "not installed", "masked": "masked"}  # systemd's word for it, and ours
DISABLED = ", disabled"  # after a unit's state: it does not start when its machine boots
ANY = Platform(Substrate.CONTAINER, cgroup=2)  # units have the same names on all


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One planned machine and its units; running, stopped, paused, or why it does not answer.

    One that is not there is `not created`, or `gone` if it was a part of what was true of the lab before.
    """

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
    owed: list[str] = field(default_factory=list)  # what is broken on purpose and not healed
    damaged: list[str] = field(default_factory=list)  # what is wrong with files that told of more of it

    @property
    def healthy(self) -> bool:
        """Whether machines run, what was installed is active, and nothing is broken on purpose."""
        units = {state for machine in self.machines for state in machine.units.values()}
        states = {machine.state for machine in self.machines}
        run = "running" in states and states <= {"running", "not created"}
        whole = run and not self.owed and not self.damaged
        # The image brings the balancers masked, until their stage comes; that is before the API is asked.
        good = {"active", "not installed", *(["masked"] if self.api == NOT_ASKED else [])}
        return whole and units <= good and self.api in ("ok", NOT_ASKED)


NOT_ASKED = "not installed yet"
CURES = (  # by a machine's state, what `thwlab up` does with it
    ("stopped", "boots"),
    ("saved", "resumes"),
    ("paused", "resumes"),
    ("gone", "makes anew, without the data that was on"),
)


def examine(lab: Laboratory) -> LabStatus:
    """The lab's state now; what does not answer is told, never raised."""
    units = units_of(lab.topology)
    states = lab.provider.states()
    there = [machine for machine in lab.machines.values() if states.get(machine.name) == "running"]
    asked = on_each(there, lambda machine: _ask(machine, units.get(machine.name, [])))
    seen = {**{name: (state, {}) for name, state in states.items()}, **asked}
    known = _known(lab)

    def status(node: Node) -> MachineStatus:
        absent = "gone" if node.name in known else "not created"
        return _status(node, *seen.get(node.name, (absent, {})))

    machines = list(map(status, lab.topology.nodes))
    owed, damaged = examined(lab.state.path)
    served = any(m.units.get("kube-apiserver.service") not in (None, "not installed") for m in machines)
    return LabStatus(
        lab.topology.name,
        lab.topology.origin,
        lab.provider.name,
        machines,
        _api(lab) if served else NOT_ASKED,
        expiring(lab.state.path / "pki", ENDS_SOON),
        [other.name for other in labs() if other.name != lab.topology.name],
        [debt.story for debt in owed],
        list(map(str, damaged)),
    )


def _known(lab: Laboratory) -> list[str]:
    """The machines of the stages that were true of the lab when it was last brought up."""
    proven = lab.state.proven(lab.topology.digest())
    return machines_for(lab.topology, [each for each in stages_for(lab.topology) if each.name in proven])


def units_of(topology: Topology) -> Mapping[str, list[str]]:
    """By machine, the units that the plan puts there."""
    found: dict[str, list[str]] = {}
    for component in components(topology, ANY):
        if component.unit:
            for node in component.nodes():
                found.setdefault(node.name, []).append(component.unit)
    return found


def _ask(machine: Machine, units: Sequence[str]) -> tuple[str, dict[str, str]]:
    argv = ("systemctl", "show", "--property=Id,LoadState,ActiveState,UnitFileState", "--", *units)
    try:
        seen = machine.run(*argv, timeout=TIMEOUT)
    except LabError as error:
        return str(error).splitlines()[0], {}
    if not seen.ok:
        why = f"no answer within {TIMEOUT:.0f}s" if seen.timed_out else seen.stderr.strip()
        return why or f"systemctl exited {seen.status}", {}
    return "running", unit_states(seen.stdout)


def unit_states(text: str) -> dict[str, str]:
    """What `systemctl show` printed for several units: by name, active, failed, …, masked, not installed.

    After the state of one that does not start when its machine boots comes `, disabled`.
    """
    blocks = (dict(row.split("=", 1) for row in block.splitlines()) for block in text.strip().split("\n\n"))
    return {block["Id"]: _state(block) for block in blocks if "Id" in block}


def _state(block: Mapping[str, str]) -> str:
    state = UNUSED.get(block["LoadState"], block["ActiveState"])
    return f"{state}{DISABLED}" if block.get("UnitFileState") == "disabled" else state


def _status(node: Node, state: str, units: dict[str, str]) -> MachineStatus:
    return MachineStatus(node.name, str(node.address), sorted(node.roles), state, units)


def _api(lab: Laboratory) -> str:
    try:
        return lab.api().text("/readyz").strip()
    except (NotYet, ClusterError, LabError) as error:
        lines = str(error).splitlines()
        failing = [line for line in lines if line.startswith("[-]")]  # of /readyz?verbose, those that fail
        return "; ".join(failing) or lines[0]
    finally:
        lab.close()


def render(seen: LabStatus, flags: str = "") -> list[str]:
    """For people; ``flags`` are the options that name the lab again.  Pure."""
    rows = [f"lab {seen.name}, planned in {seen.origin}, provider {seen.provider}"]
    for machine in seen.machines:
        rows.append(f"  {machine.name:14} {machine.address:16} {machine.state}")
        rows += [f"      {unit:32} {state}" for unit, state in sorted(machine.units.items())]
    rows.append(f"API: {seen.api}")
    rows += [f"quarantined: {each}; `thwlab{flags} heal --all` undoes it" for each in seen.owed]
    rows += [f"quarantined: {each}" for each in seen.damaged]
    rows += [f"{what}: `thwlab{flags} up` {cure}" for what, cure in _cures(seen)]
    rows += [f"certificate {name} {_days(left)}" for name, left in seen.certificates]
    if seen.others:
        rows.append(f"other labs: {', '.join(seen.others)}")
    return rows


def _cures(seen: LabStatus) -> Iterator[tuple[str, str]]:
    if all(machine.state == "not created" for machine in seen.machines):
        yield "no machine was created yet", "creates them"
    for state, cure in CURES:
        names = [machine.name for machine in seen.machines if machine.state == state]
        if names:
            yield f"{', '.join(names)} {state}", f"{cure} {_pronoun(names)}"
    units = [
        f"{unit} on {m.name}" for m in seen.machines for unit, state in m.units.items() if DISABLED in state
    ]
    if units:
        yield f"{', '.join(units)}: does not start at boot", f"enables {_pronoun(units)}"


def _pronoun(names: Sequence[str]) -> str:
    return "them" if len(names) > 1 else "it"


def _days(left: float) -> str:
    return f"ends in {left:.0f} days" if left > 0 else f"ended {-left:.0f} days ago"
