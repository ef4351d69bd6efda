"""A plan and credentials that never change, for tests that compare whole files."""

from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network

from lab.errors import LabError
from lab.pki import USES, Credentials, KeyPair, Pair, Token
from lab.pki.credentials import Authority
from lab.topology import Networks, Node, Role, Topology, Versions

GUIDE_NODES = (
    ("k8s-master1", 11, {Role.CONTROL_PLANE, Role.ETCD}),
    ("k8s-master2", 12, {Role.CONTROL_PLANE, Role.ETCD}),
    ("k8s-worker1", 21, {Role.WORKER}),
    ("k8s-worker2", 22, {Role.WORKER}),
    ("k8s-lb", 100, {Role.LOAD_BALANCER, Role.ETCD, Role.ADMIN}),
)


def guide_topology(name: str = "thw") -> Topology:
    """The five machines of the guide."""
    nodes = (Node(name, IPv4Address(f"192.168.100.{n}"), frozenset(roles)) for name, n, roles in GUIDE_NODES)
    networks = Networks(
        IPv4Network("192.168.100.0/24"),
        IPv4Network("10.10.0.0/16"),
        IPv4Network("10.0.0.0/24"),
        IPv4Address("10.0.0.2"),
        "cluster.local",
    )
    versions = Versions("1.37.2", "3.7.3", "2.4.2", "1.9.1", "1.14.7", "1.37.0", "0.27.4", "2.53", "3.10.1")
    return Topology(name, networks, tuple(nodes), versions)


@dataclass(frozen=True, slots=True)
class FixedCredentials(Credentials):
    """Constant bytes that say what they stand for; refuses what the real one would refuse."""

    def pair(self, use: str, node: Node | None = None) -> Pair:
        row = {row.name: row for row in USES}[use]
        if bool(row.roles) != bool(node) or (node and not row.roles & node.roles):
            raise LabError(f"the plan gives {node.name if node else 'this host'} no {use!r} pair")
        owner = f" {node.name}" if node else ""
        return Pair(f"<{use}{owner} cert>".encode(), f"<{use}{owner} key>".encode())


def fixed_credentials() -> Credentials:
    """Credentials with the same readable bytes in every run, for any plan."""
    names: tuple[Authority, ...] = ("etcd", "kubernetes", "front-proxy")
    return FixedCredentials(
        {name: Pair(f"<{name} ca cert>".encode(), f"<{name} ca key>".encode()) for name in names},
        {},
        KeyPair(b"<service-account private>", b"<service-account public>"),
        Token("abcdef", "0123456789abcdef", datetime(2030, 1, 1, tzinfo=UTC)),
        "A" * 43 + "=",
    )
