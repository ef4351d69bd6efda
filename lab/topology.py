"""The plan: machines, roles, addresses, networks, versions.  Frozen data, read once."""

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network


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


@dataclass(frozen=True, slots=True)
class Topology:
    """The whole plan; every later stage takes it and none changes it."""

    name: str
    networks: Networks
    nodes: tuple[Node, ...]
    versions: Versions
    profile: Profile = Profile.HARDENED
    load_balancer: Balancer = Balancer.NGINX
    cni: Cni = Cni.ROUTED
    proxy_mode: ProxyMode = ProxyMode.IPTABLES
    addons: tuple[str, ...] = ("coredns",)
    api_server: IPv4Address | None = None
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
