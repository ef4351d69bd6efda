"""Reads a plan file into a `Topology`: every mistake at once, every value with its origin."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypedDict, TypeVar, Unpack

from lab import strictyaml, versions
from lab.planfile import HINTS, Draft, NetworkFile, PlanFile
from lab.planrules import Finding, api_machine, findings
from lab.strictyaml import Document
from lab.topology import Networks, Node, Role, Topology, Versions, facts
from lab.yamlreader import KeyPath

T = TypeVar("T")
DEFAULT = Path(__file__).with_name("default.yaml")


@dataclass(frozen=True, slots=True)
class Given:
    """A value that does not come from the plan file, and the option or variable that gave it."""

    value: str
    origin: str


class Overrides(TypedDict, total=False):
    """What may replace a value of the plan file; None replaces nothing.

    A plain string counts as given by the option `--lab-NAME`.
    """

    name: str | Given | None
    versions: str | Given | None
    profile: str | Given | None
    load_balancer: str | Given | None
    cni: str | Given | None
    proxy_mode: str | Given | None
    api_server: str | Given | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A topology together with the document it was read from."""

    topology: Topology
    document: Document


def load_topology(path: Path | None = None, **overrides: Unpack[Overrides]) -> Topology:
    """The topology of the plan file, or of lab/default.yaml; see `load_plan`."""
    return load_plan(path, **overrides).topology


def load_plan(path: Path | None = None, **overrides: Unpack[Overrides]) -> Plan:
    """Read a plan file, or lab/default.yaml, and let overrides replace its values of the same name.

    Raises `ConfigError` with every mistake of the file and of the overrides.
    """
    document = strictyaml.read_file(path or DEFAULT)
    for name, given in overrides.items():
        if isinstance(given, str | Given):
            document = _overridden(document, name.replace("_", "-"), given)
    return _planned(document)


def effective(plan: Plan) -> list[tuple[str, str, str]]:
    """Every effective value as (key, value, origin): FILE:LINE, option, variable or `default`."""
    values = facts(plan.topology)
    return [(".".join(path), value, _origin(plan, path)) for path, value in values.items()]


def _overridden(document: Document, key: str, given: str | Given) -> Document:
    value, origin = (given, f"--lab-{key}") if isinstance(given, str) else (given.value, given.origin)
    return document.override(key, value, origin)


def _planned(document: Document) -> Plan:
    file, problems, wrong = strictyaml.examine(document, PlanFile, HINTS)
    strictyaml.refuse(document.source, problems if file is None else ())
    draft = Draft(_there(file), wrong)
    release, mismatches = _release(draft)
    problems += [document.problem(path, text) for path, text in [*findings(draft), *mismatches]]
    in_file = any(problem.line for problem in problems)
    strictyaml.refuse(document.source if in_file else "the choice of options", problems)
    return Plan(_topology(draft, _there(release), document.source), document)


def _release(draft: Draft) -> tuple[Versions | None, list[Finding]]:
    """The versions the plan asks for, and what is wrong with them; None if it names no row."""
    wish = draft.file.versions
    if wish is None or wish.row is None:
        return None, []
    row = versions.row_of(wish.row)
    if row is None:
        return None, [(("versions", "row"), versions.unknown_row(wish.row))]
    result = versions.chosen(row, wish.given())
    return result, [(("versions", part), text) for part, text in versions.version_problems(row, result)]


def _topology(draft: Draft, release: Versions, source: str) -> Topology:
    plan = draft.file
    return Topology(
        name=_there(plan.name),
        networks=_networks(draft.network),
        nodes=tuple(_nodes(draft)),
        versions=release,
        origin=source,
        **_given(
            profile=plan.profile,
            load_balancer=plan.load_balancer,
            apiserver_etcd=plan.apiserver_etcd,
            cni=plan.cni,
            proxy_mode=plan.proxy_mode,
            addons=plan.addons,
            api_server=_api_server(draft),
            tuning=draft.tuning,
        ),
    )


def _networks(network: NetworkFile) -> Networks:
    return Networks(
        nodes=_there(network.cidr),
        pods=_there(network.pods),
        services=_there(network.services),
        dns=_there(network.dns),
        domain=_there(network.domain),
        **_given(node_ports=network.node_ports, api_port=network.api_port),
    )


def _nodes(draft: Draft) -> Iterator[Node]:
    for name, machine in draft.machines.items():
        roles = frozenset(_there(machine.roles)) | ({Role.ADMIN} if name == _admin(draft) else set())
        sizes = _given(memory_mib=machine.memory, cpus=machine.cpus, place=machine.place)
        yield Node(name, _there(machine.address), roles, **sizes)


def _admin(draft: Draft) -> str | None:
    """Who carries kubectl if nobody is told to: the load balancer, else the first control plane."""
    if draft.with_role(Role.ADMIN):
        return None
    return next(iter([*draft.with_role(Role.LOAD_BALANCER), *draft.with_role(Role.CONTROL_PLANE)]), None)


def _api_server(draft: Draft) -> IPv4Address | None:
    name = api_machine(draft, draft.file.api_server or "")
    return draft.machines[name].address if name else None


def _origin(plan: Plan, path: KeyPath) -> str:
    document = plan.document
    if document.known(path) == path:
        return document.where(path)
    if path[0] == "versions" and path[1] not in versions.POLICY:
        row = _there(versions.row_of(plan.topology.versions.kubernetes))
        return f"{versions.table().where((row, path[1]))}, a row chosen by {document.where(path)}"
    return "default"


def _given(**values: Any) -> dict[str, Any]:
    """What is there; the rest is left to the defaults of `topology`."""
    return {name: value for name, value in values.items() if value is not None}


def _there(value: T | None) -> T:
    """A value whose absence the rules have refused before."""
    assert value is not None
    return value
