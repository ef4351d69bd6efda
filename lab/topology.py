"""The plan: machines, roles, addresses, networks, versions.  Frozen data, read once."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import TypeAlias

from lab.tuning import Tuning, written

VIRTUALBOX_NAT = IPv4Network("10.0.2.0/24")
Facts: TypeAlias = dict[tuple[str, ...], str]


class Role(StrEnum):
    """What a machine is there for."""

    CONTROL_PLANE = "control-plane"
    ETCD = "etcd"
    WORKER = "worker"
    LOAD_BALANCER = "load-balancer"
    ADMIN = "admin"


class Profile(StrEnum):
    """`HARDENED` is ours; `GUIDE` is as written there, repaired only as far as it must be to start."""

    HARDENED = "hardened"
    GUIDE = "guide"


class Balancer(StrEnum):
    """The program in layer 4 before the apiservers."""

    NGINX = "nginx"
    HAPROXY = "haproxy"


class ApiserverEtcd(StrEnum):
    """Which etcd members an apiserver asks: the one on its own machine, or each in turn.

    One that is `BOUND` asks its own and ends with it: a balancer sees at once that it serves nobody.
    """

    OWN = "own"
    BOUND = "bound"
    ALL = "all"


class Cni(StrEnum):
    """How pods reach each other: static routes between nodes, or flannel's VXLAN."""

    ROUTED = "routed"
    FLANNEL = "flannel"


class ProxyMode(StrEnum):
    """kube-proxy's back end; always explicit, for its default is about to change."""

    IPTABLES = "iptables"
    NFTABLES = "nftables"


@dataclass(frozen=True, slots=True)
class Node:
    """One machine as planned, before anything has booted.  Memory is in MiB."""

    name: str
    address: IPv4Address
    roles: frozenset[Role]
    memory_mib: int = 1024
    cpus: int = 1
    place: str | None = None


@dataclass(frozen=True, slots=True)
class Networks:
    """The address ranges of one lab; all disjoint."""

    nodes: IPv4Network
    pods: IPv4Network
    services: IPv4Network
    dns: IPv4Address
    domain: str
    node_ports: tuple[int, int] = (30000, 32767)
    api_port: int = 6443

    @property
    def gateway(self) -> IPv4Address:
        """The lab network's own address on the host side."""
        return self.nodes[1]

    @property
    def kubernetes_service(self) -> IPv4Address:
        """The ClusterIP of `kubernetes.default`."""
        return self.services[1]


@dataclass(frozen=True, slots=True)
class Versions:
    """Which releases go together, without a leading v."""

    kubernetes: str
    etcd: str
    containerd: str
    cni_plugins: str
    coredns: str
    crictl: str
    flannel: str
    agnhost: str
    pause: str
    skewed: tuple[tuple[str, str], ...] = ()

    def of(self, program: str) -> str:
        """The version of one of Kubernetes' programs; all are `kubernetes` unless the plan skews one."""
        return dict(self.skewed).get(program, self.kubernetes)


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole plan; every later stage takes it and none changes it."""

    name: str
    networks: Networks
    nodes: tuple[Node, ...]
    versions: Versions
    profile: Profile = Profile.HARDENED
    load_balancer: Balancer = Balancer.NGINX
    apiserver_etcd: ApiserverEtcd | None = None  # as the profile has it
    cni: Cni = Cni.ROUTED
    proxy_mode: ProxyMode = ProxyMode.IPTABLES
    addons: tuple[str, ...] = ("coredns",)
    api_server: IPv4Address | None = None
    tuning: Tuning = field(default_factory=Tuning)  # numbers of the profile hardened
    origin: str = field(default="(built in)", compare=False)

    def of(self, role: Role) -> tuple[Node, ...]:
        """The nodes of one role, in the order they were written."""
        return tuple(node for node in self.nodes if role in node.roles)

    def node(self, name: str) -> Node:
        """The node of that name; KeyError if there is none."""
        return {node.name: node for node in self.nodes}[name]

    @property
    def balancer(self) -> Node | None:
        """The load balancer, if the plan has one."""
        return next(iter(self.of(Role.LOAD_BALANCER)), None)

    @property
    def etcd_choice(self) -> ApiserverEtcd:
        """Which etcd members apiservers ask; the guide's ask all.

        One that is killed with its member is of use where a balancer goes to another: with etcd of one master
        held down the API answered 98 %, and 48 to 52 % without (benchmarks/settings.py).
        """
        if self.apiserver_etcd or self.profile is Profile.GUIDE:
            return self.apiserver_etcd or ApiserverEtcd.ALL
        return ApiserverEtcd.BOUND if self.balancer else ApiserverEtcd.OWN

    def asks_own_member(self, node: Node) -> bool:
        """Whether the apiserver of this node has one etcd member, that of its machine."""
        return self.etcd_choice is not ApiserverEtcd.ALL and {Role.ETCD, Role.CONTROL_PLANE} <= node.roles

    def ends_with_its_member(self, node: Node) -> bool:
        """Whether the apiserver of this node is killed with etcd on its machine, and waits for it."""
        return self.etcd_choice is ApiserverEtcd.BOUND and self.asks_own_member(node)

    @property
    def check_path(self) -> str:
        """What an active balancer asks an apiserver: about etcd too, where each has a member of its own.

        Else one silent member makes all apiservers say no, and all would be taken out at once.
        """
        apart = not all(self.asks_own_member(node) for node in self.of(Role.CONTROL_PLANE))
        return self.tuning.check_path or (
            "/readyz?exclude=etcd&exclude=etcd-readiness" if apart else "/readyz"
        )

    @property
    def api_address(self) -> IPv4Address:
        """Where kubelets, kube-proxies and users find the API."""
        if self.api_server is not None:
            return self.api_server
        return (self.balancer or self.of(Role.CONTROL_PLANE)[0]).address

    @property
    def api_url(self) -> str:
        """The API as kubelets and users see it."""
        return f"https://{self.api_address}:{self.networks.api_port}"

    def etcd_name(self, node: Node) -> str:
        """The member's name, numbered in the order of the plan as in the guide: etcd-1, etcd-2, …"""
        return f"etcd-{self.of(Role.ETCD).index(node) + 1}"

    def digest(self) -> str:
        """SHA-256 over all that is planned, whatever file it came from and however that is written."""
        plain = [[".".join(path), value] for path, value in sorted(facts(self).items())]
        return hashlib.sha256(json.dumps(plain, ensure_ascii=True).encode()).hexdigest()


def facts(topology: Topology) -> Facts:
    """Every planned value as text, under the path it has in a plan file.  Pure."""
    return {
        ("name",): topology.name,
        **_network_facts(topology.networks),
        ("machines",): ", ".join(node.name for node in topology.nodes),
        **{path: value for node in topology.nodes for path, value in _node_facts(node)},
        **_version_facts(topology.versions),
        ("profile",): topology.profile.value,
        ("load-balancer",): topology.load_balancer.value,
        ("apiserver-etcd",): topology.etcd_choice.value,
        ("cni",): topology.cni.value,
        ("proxy-mode",): topology.proxy_mode.value,
        ("addons",): ", ".join(topology.addons) or "(none)",
        ("api-server",): str(topology.api_address),
        **_tuning_facts(topology),
    }


def differences(old: Topology, new: Topology) -> list[str]:
    """What another plan would change, one line for each value; empty if the digests are equal.  Pure."""
    return changes(facts(old), facts(new))


def changes(before: Facts, after: Facts) -> list[str]:
    """The values that differ, a line each; a machine that comes or goes is one difference.  Pure."""
    gone_or_new = machine_names(before) ^ machine_names(after)
    return [
        f"{'.'.join(path)}: {before.get(path, '(none)')} -> {after.get(path, '(none)')}"
        for path in {**before, **after}
        if before.get(path) != after.get(path) and not gone_or_new.intersection(path[1:2])
    ]


def machine_names(told: Facts) -> set[str]:
    """The machines that facts are about.  Pure."""
    return {path[1] for path in told if path[0] == "machines" and len(path) > 1}


def overlaps_nat(topology: Topology) -> list[str]:
    """The planned networks that VirtualBox's own NAT would hide from its machines.  Pure."""
    nets = topology.networks
    named = {"nodes": nets.nodes, "pods": nets.pods, "services": nets.services}
    return [
        f"{name} {network} overlaps {VIRTUALBOX_NAT}, which VirtualBox uses for NAT in every machine"
        for name, network in named.items()
        if network.overlaps(VIRTUALBOX_NAT)
    ]


def _network_facts(networks: Networks) -> Facts:
    first, last = networks.node_ports
    return {
        ("network", "cidr"): str(networks.nodes),
        ("network", "pods"): str(networks.pods),
        ("network", "services"): str(networks.services),
        ("network", "dns"): str(networks.dns),
        ("network", "domain"): networks.domain,
        ("network", "node-ports"): f"{first}-{last}",
        ("network", "api-port"): str(networks.api_port),
    }


def _tuning_facts(topology: Topology) -> Facts:
    """The guide's profile has none of these settings, and nginx checks nobody."""
    if topology.profile is Profile.GUIDE:
        return {}
    told = {**written(topology.tuning), "check-path": topology.check_path}
    asks = topology.load_balancer is Balancer.HAPROXY
    return {("tuning", name): value for name, value in told.items() if asks or not name.startswith("check-")}


def _node_facts(node: Node) -> Iterator[tuple[tuple[str, ...], str]]:
    at = ("machines", node.name)
    yield (*at, "address"), str(node.address)
    yield (*at, "roles"), ", ".join(role for role in Role if role in node.roles)
    yield (*at, "memory"), f"{node.memory_mib}MiB"
    yield (*at, "cpus"), str(node.cpus)
    if node.place is not None:
        yield (*at, "place"), node.place


def _version_facts(versions: Versions) -> Facts:
    pinned = {f.name.replace("_", "-"): getattr(versions, f.name) for f in fields(versions)}
    named: dict[str, str] = {**pinned, **dict(versions.skewed)}
    named.pop("skewed", None)
    return {("versions", name): version for name, version in named.items()}
