"""The table of certificates: each with one purpose, and the roles that get it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lab.pki.credentials import Authority
from lab.pki.issuing import Usage
from lab.topology import Node, Profile, Role, Topology

ETCD_SSL = "/opt/etcd/ssl"
KUBERNETES_SSL = "/opt/kubernetes/ssl"
CA_FILES: Mapping[Authority, str] = MappingProxyType(
    {
        "etcd": f"{ETCD_SSL}/ca.pem",
        "kubernetes": f"{KUBERNETES_SSL}/ca.pem",
        "front-proxy": f"{KUBERNETES_SSL}/front-proxy-ca.pem",
    }
)

SERVER = frozenset({Usage.SERVER})
CLIENT = frozenset({Usage.CLIENT})
CONTROL_PLANE = frozenset({Role.CONTROL_PLANE})
ETCD = frozenset({Role.ETCD})
HOST: frozenset[Role] = frozenset()
LOOPBACK = ("127.0.0.1", "localhost")
API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.{domain}")
API_ADDRESSES = ("{service}", "{address}", "{api}", "{balancer_address}")


@dataclass(frozen=True, slots=True)
class Use:
    """One purpose.  Without roles it stays on this host; `{…}` is filled in from the plan.

    `file` is the certificate's path on machines without its ending; the key lies beside it.
    """

    name: str
    authority: Authority
    usages: frozenset[Usage]
    roles: frozenset[Role]
    file: str
    cn: str
    o: str = ""
    sans: tuple[str, ...] = ()


USES = (
    Use("etcd-server", "etcd", SERVER, ETCD, f"{ETCD_SSL}/server", "{etcd}",
        sans=("{address}", *LOOPBACK, "{node}", "{etcd}")),
    # A member calls and answers its peers with the same certificate; etcd has no flag to part them.
    Use("etcd-peer", "etcd", SERVER | CLIENT, ETCD, f"{ETCD_SSL}/peer", "{etcd}",
        sans=("{address}", "{node}")),
    # etcd's JSON gateway is a client of its own server; without this it would show the server's certificate.
    Use("etcd-gateway", "etcd", CLIENT, ETCD, f"{ETCD_SSL}/gateway", "etcd-gateway"),
    Use("etcd-client", "etcd", CLIENT, ETCD | {Role.ADMIN}, f"{ETCD_SSL}/client", "etcd-admin"),
    Use("apiserver-etcd-client", "etcd", CLIENT, CONTROL_PLANE, f"{KUBERNETES_SSL}/apiserver-etcd-client",
        "kube-apiserver-etcd-client"),
    Use("kubernetes", "kubernetes", SERVER, CONTROL_PLANE, f"{KUBERNETES_SSL}/kubernetes", "kube-apiserver",
        sans=(*API_NAMES, *LOOPBACK, "{node}", "{balancer}", *API_ADDRESSES)),
    Use("apiserver-kubelet-client", "kubernetes", CLIENT, CONTROL_PLANE,
        f"{KUBERNETES_SSL}/apiserver-kubelet-client", "kube-apiserver-kubelet-client"),
    Use("kube-controller-manager", "kubernetes", CLIENT, CONTROL_PLANE,
        f"{KUBERNETES_SSL}/kube-controller-manager", "system:kube-controller-manager"),
    Use("kube-controller-manager-server", "kubernetes", SERVER, CONTROL_PLANE,
        f"{KUBERNETES_SSL}/kube-controller-manager-server", "kube-controller-manager",
        sans=(*LOOPBACK, "{address}")),
    Use("kube-scheduler", "kubernetes", CLIENT, CONTROL_PLANE,
        f"{KUBERNETES_SSL}/kube-scheduler", "system:kube-scheduler"),
    Use("kube-scheduler-server", "kubernetes", SERVER, CONTROL_PLANE,
        f"{KUBERNETES_SSL}/kube-scheduler-server", "kube-scheduler", sans=(*LOOPBACK, "{address}")),
    Use("front-proxy-client", "front-proxy", CLIENT, CONTROL_PLANE,
        f"{KUBERNETES_SSL}/front-proxy-client", "front-proxy"),
    Use("kube-proxy", "kubernetes", CLIENT, frozenset({Role.WORKER}),
        f"{KUBERNETES_SSL}/kube-proxy", "system:kube-proxy", o="system:node-proxier"),
    Use("admin", "kubernetes", CLIENT, frozenset({Role.ADMIN}),
        f"{KUBERNETES_SSL}/k8s-admin", "k8s-admin", o="system:masters"),
    Use("user", "kubernetes", CLIENT, HOST, "", "k8s-user", o="system:masters"),
)  # fmt: skip

# The guide's apiserver reads the token from a file, and encrypts nothing.
CONTROL_PLANE_SECRETS: Mapping[Profile, frozenset[str]] = MappingProxyType(
    {
        Profile.HARDENED: frozenset({"kubernetes-ca-key", "service-account", "encryption-key"}),
        Profile.GUIDE: frozenset({"kubernetes-ca-key", "service-account", "bootstrap-token"}),
    }
)
WORKER_SECRETS = frozenset({"bootstrap-token"})


@dataclass(frozen=True, slots=True)
class Planned:
    """A certificate the plan needs, filled in; `node` is None for this host."""

    use: Use
    node: str | None
    cn: str
    sans: tuple[str, ...]

    @property
    def name(self) -> str:
        """What reports call it, and its file on this host."""
        return f"{self.use.name}@{self.node}" if self.node else self.use.name


def planned(topology: Topology) -> Iterator[Planned]:
    """Every certificate of the plan, in the order of the table."""
    for use in USES:
        if not use.roles:
            yield Planned(use, None, use.cn, use.sans)
        for node in topology.nodes:
            if use.roles & node.roles:
                yield _planned(use, topology, node)


def grants(topology: Topology, node: Node) -> frozenset[str]:
    """Everything secret a node gets: uses of certificates, and keys and tokens of its roles."""
    uses = (plan.use.name for plan in planned(topology) if plan.node == node.name)
    control_plane = CONTROL_PLANE_SECRETS[topology.profile] if Role.CONTROL_PLANE in node.roles else ()
    worker = WORKER_SECRETS if Role.WORKER in node.roles else ()
    return frozenset(uses).union(control_plane, worker)


def paths(use: str) -> tuple[str, str]:
    """Where certificate and key of that use lie on a machine; KeyError if there is no such file."""
    file = {use.name: use.file for use in USES if use.file}[use]
    return f"{file}.pem", f"{file}-key.pem"


def _planned(use: Use, topology: Topology, node: Node) -> Planned:
    facts = _facts(topology, node)
    sans = (san.format_map(facts) for san in use.sans)
    return Planned(use, node.name, use.cn.format_map(facts), tuple(dict.fromkeys(filter(None, sans))))


def _facts(topology: Topology, node: Node) -> dict[str, str]:
    balancer = topology.balancer
    return {
        "node": node.name,
        "address": str(node.address),
        "etcd": topology.etcd_name(node) if Role.ETCD in node.roles else "",
        "domain": topology.networks.domain,
        "service": str(topology.networks.kubernetes_service),
        "api": str(topology.api_address),
        "balancer": balancer.name if balancer else "",
        "balancer_address": str(balancer.address) if balancer else "",
    }
