"""What may stand in a plan file: its keys, the form of each value, and what is refused by name.

Every field may be None, so that one mistake does not hide the next; `planrules` asks for what is needed.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from lab.strictyaml import Schema, Whole
from lab.topology import ApiserverEtcd, Balancer, Cni, Profile, ProxyMode, Role
from lab.tuning import Tuning
from lab.versions import VersionsFile
from lab.yamlreader import KeyPath

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
LAB_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?")
MIN_MEMORY_MIB = 256

Addon = Literal["coredns"]

_NO_VIP = "no virtual address moves between machines here; name one machine's address in `api-server:`"
_NO_REGISTRY = "no registry is needed: images are built from verified programs and imported; remove it"
_NO_VOLUME = "machines have no data volumes, etcd's data lies on their own disk; remove it"
_NO_CLOCK = "no time server is needed: machines share their host's clock or keep their own; remove it"
HINTS = {
    **dict.fromkeys(("registry", "registries", "harbor"), _NO_REGISTRY),
    **dict.fromkeys(("vip", "virtual-ip", "virtual-address", "keepalived", "kube-vip"), _NO_VIP),
    **dict.fromkeys(("volume", "volumes", "disk", "disks"), _NO_VOLUME),
    **dict.fromkeys(("ntp", "chrony", "time-server"), _NO_CLOCK),
    "ipvs": "kube-proxy's ipvs mode is deprecated and not supported; write iptables or nftables",
    "userspace": "kube-proxy has no userspace mode any more; write iptables or nftables",
    **dict.fromkeys(("master", "masters", "controlplane", "control_plane", "controller"), "control-plane"),
    **dict.fromkeys(("node", "minion"), "worker"),
    **dict.fromkeys(("lb", "ex-lb", "proxy"), "load-balancer"),
}


def _from_text(parse: Callable[[str], Any]) -> BeforeValidator:
    """Parse a scalar as it was written; refuse anything else."""

    def read(value: object) -> object:
        if isinstance(value, str | int) and not isinstance(value, bool):
            return parse(str(value))
        raise ValueError(f"'{str(value)[:60]}' must be a single value")

    return BeforeValidator(read)


def _row(value: object) -> object:
    """`versions: "1.37"` is short for `versions: {row: "1.37"}`."""
    short = isinstance(value, str | int) and not isinstance(value, bool)
    return {"row": value} if short else value


def _address(text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        why = "IPv6 is not supported" if ":" in text else "it is no IPv4 address"
        raise ValueError(f"'{text[:60]}': {why}; write four numbers such as 192.168.100.11") from None


def _network(text: str) -> IPv4Network:
    address, _, prefix = text.partition("/")
    if not re.fullmatch(r"[0-9]{1,2}", prefix) or int(prefix) > 32:
        raise ValueError(f"'{text[:60]}' has no prefix length of 0 to 32; write a range such as 10.10.0.0/16")
    _address(address)
    network = IPv4Network(text, strict=False)
    if str(network.network_address) != address:
        raise ValueError(f"'{text}' is an address inside a range; write {network}")
    if network.is_loopback or network.is_multicast or network.is_link_local or not int(network[0]):
        raise ValueError(f"'{text}' is reserved; write a private range such as 10.10.0.0/16")
    return network


def _domain(text: str) -> str:
    """A DNS domain without the trailing dot, so that kubelet, CoreDNS and certificates agree."""
    name = text.removesuffix(".")
    if len(name) <= 200 and all(LABEL.fullmatch(label) for label in name.split(".")):
        return name
    raise ValueError(f"'{text[:60]}' is no domain; write lower-case labels such as cluster.local")


def _lab_name(text: str) -> str:
    if LAB_NAME.fullmatch(text):
        return text
    close = re.sub(r"[^a-z0-9]+", "-", text.lower())[:20].strip("-") or "thw"
    raise ValueError(
        f"'{text[:60]}' is no lab name: 1 to 20 of a-z, 0-9 and '-', for it becomes part of names of"
        f" interfaces and folders; write {close}"
    )


def _memory(text: str) -> int:
    """Memory in MiB."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})(MiB|GiB)", text)
    if not found:
        number = re.match(r"[0-9]{1,7}", text)
        raise ValueError(f"'{text[:60]}' has no unit MiB or GiB; write {_with_unit(text, number)}")
    mib = int(found[1]) * (1024 if found[2] == "GiB" else 1)
    if mib < MIN_MEMORY_MIB:
        raise ValueError(f"'{text}' is too little to boot; write at least {MIN_MEMORY_MIB}MiB")
    return mib


def _with_unit(text: str, number: re.Match[str] | None) -> str:
    if number is None or not int(number[0]):
        return "1GiB"
    giga = "g" in text.lower() or int(number[0]) < 64
    return f"{int(number[0])}{'GiB' if giga else 'MiB'}"


def _port_range(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9][0-9]{0,4})-([1-9][0-9]{0,4})", text)
    if found and int(found[1]) < int(found[2]) <= 65535:
        return int(found[1]), int(found[2])
    raise ValueError(f"'{text[:60]}' is no range of ports; write it such as 30000-32767")


def _seconds(text: str) -> float:
    found = re.fullmatch(r"([1-9][0-9]{0,5})(ms|s|m|h)", text)
    if not found:
        number = re.match(r"[1-9][0-9]{0,5}", text)
        raise ValueError(f"'{text[:60]}' is no time with its unit; write {number[0] if number else 5}s")
    return int(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2]]


def _path(text: str) -> str:
    if re.fullmatch(r"/(readyz|livez|healthz)(\?[a-z0-9=&-]+)?", text):
        return text
    raise ValueError(
        f"'{text[:60]}' is nothing that an apiserver tells everybody; write /readyz, /livez or /healthz,"
        " with ?exclude=etcd or the like behind it"
    )


Address = Annotated[IPv4Address, _from_text(_address)]
Seconds = Annotated[float, _from_text(_seconds)]
Network = Annotated[IPv4Network, _from_text(_network)]


class NetworkFile(Schema):
    """`network:`"""

    cidr: Network | None = Field(default=None, examples=["192.168.100.0/24"])
    pods: Network | None = Field(default=None, examples=["10.10.0.0/16"])
    services: Network | None = Field(default=None, examples=["10.0.0.0/24"])
    dns: Address | None = Field(default=None, examples=["10.0.0.2"])
    domain: Annotated[str, _from_text(_domain)] | None = Field(default=None, examples=["cluster.local"])
    node_ports: Annotated[tuple[int, int], _from_text(_port_range)] | None = None
    api_port: Annotated[Whole, Field(ge=1, le=65535)] | None = None


class MachineFile(Schema):
    """One of `machines:`"""

    address: Address | None = Field(default=None, examples=["192.168.100.11"])
    roles: tuple[Role, ...] | None = Field(default=None, examples=["[worker]"])
    memory: Annotated[int, _from_text(_memory)] | None = None
    cpus: Annotated[Whole, Field(ge=1, le=256)] | None = None
    place: Annotated[str, Field(min_length=1, max_length=63)] | None = None


class TuningFile(Schema):
    """`tuning:`, numbers of the profile hardened; see `lab.tuning`."""

    check_path: Annotated[str, _from_text(_path)] | None = None
    check_every: Seconds | None = None
    check_fall: Annotated[Whole, Field(ge=1, le=100)] | None = None
    idle_limit: Seconds | None = None
    tcp_retries2: Annotated[Whole, Field(ge=3, le=15)] | None = None
    http2_idle: Seconds | None = None
    http2_ping: Seconds | None = None
    dns_tolerates: Seconds | None = None
    etcd_heartbeat: Seconds | None = None
    etcd_election: Seconds | None = None

    def over(self, tuning: Tuning) -> Tuning:
        """The same numbers with those that are given here."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return replace(tuning, **{name: value for name, value in given.items() if value is not None})


class PlanFile(Schema):
    """A whole plan as written."""

    name: Annotated[str, _from_text(_lab_name)] | None = Field(default=None, examples=["thw"])
    network: NetworkFile | None = Field(
        default=None, examples=["{cidr: 192.168.100.0/24, pods: 10.10.0.0/16, …}"]
    )
    machines: dict[str, MachineFile | None] | None = Field(
        default=None, examples=["{k8s-master1: {address: 192.168.100.11, roles: [control-plane, etcd]}}"]
    )
    versions: Annotated[VersionsFile, BeforeValidator(_row)] | None = Field(default=None, examples=['"1.37"'])
    profile: Profile | None = None
    load_balancer: Balancer | None = None
    apiserver_etcd: ApiserverEtcd | None = None
    cni: Cni | None = None
    proxy_mode: ProxyMode | None = None
    addons: tuple[Addon, ...] | None = None
    api_server: str | None = Field(default=None, examples=["192.168.100.11"])
    tuning: TuningFile | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan on its way: what could be read, and the paths of what could not."""

    file: PlanFile
    wrong: frozenset[KeyPath]

    @property
    def network(self) -> NetworkFile:
        """The networks, empty if there are none."""
        return self.file.network or NetworkFile()

    @property
    def machines(self) -> Mapping[str, MachineFile]:
        """The machines whose form is right."""
        return {name: machine for name, machine in (self.file.machines or {}).items() if machine}

    @property
    def tuning(self) -> Tuning:
        """The numbers, those of the profile where nothing is given."""
        return (self.file.tuning or TuningFile()).over(Tuning())

    def is_wrong(self, *path: str) -> bool:
        """Whether the value, something around it or something in it was refused."""
        return any(bad[: len(path)] == path or path[: len(bad)] == bad for bad in self.wrong)

    def with_role(self, role: Role) -> list[str]:
        """The machines of one role, in the order they were written."""
        return [name for name, machine in self.machines.items() if role in (machine.roles or ())]

    @property
    def roles_known(self) -> bool:
        """Whether roles may be counted: every machine has its roles, rightly written."""
        machines = self.file.machines or {}
        return (
            bool(machines)
            and all(m and m.roles for m in machines.values())
            and not any(self.is_wrong("machines", name, "roles") for name in machines)
        )
