"""The guide's table of certificate uses (its appendix, numbers 1 to 12): who shows what to whom.

Each is tried by real handshakes with what lies on the machines: the right certificate, and impostors
which differ from it in one respect only.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import NameOID
from support_holdings import Holdings
from support_visits import Visit

from lab.cluster import Cluster
from lab.components.admin import KUBECONFIG
from lab.components.etcd import CLIENT_PORT, PEER_PORT
from lab.pki import Pair, Usage, foreign_ca, issue
from lab.pki.credentials import Authority
from lab.topology import Node, Role, Topology

KUBELET_PORT = 10250
KUBELET_CLIENT = "/opt/kubernetes/ssl/kubelet-client-current.pem"
KUBELET_SERVER = "/opt/kubernetes/ssl/kubelet-server-current.pem"
REVIEWS = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = json.dumps({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"})
IMPOSTORS = ("without a certificate", "by another CA", "for serving only", "expired")


@dataclass(frozen=True, slots=True)
class ClientUse:
    """A program as client: where its pair is, whom it calls, and as whom it is known there."""

    number: int
    what: str
    authority: Authority
    holder: Role
    pair: Callable[[Holdings], Pair]
    server: Role
    port: int | None  # None: the API's
    path: str
    user: str = ""
    group: str = ""

    @property
    def asks_who_it_is(self) -> bool:
        """Whether the server says as whom it knows the client."""
        return self.path == REVIEWS


@dataclass(frozen=True, slots=True)
class ServerUse:
    """A program as server: where its pair is, where it listens, and the names it must answer to."""

    number: int
    what: str
    authority: Authority
    server: Role
    pair: Callable[[Holdings], Pair]
    port: int | None
    names: Callable[[Topology, Node], list[str]]


def _api_names(topology: Topology, node: Node) -> list[str]:
    inside = ("kubernetes", "kubernetes.default", "kubernetes.default.svc")
    domain = f"kubernetes.default.svc.{topology.networks.domain}"
    service = str(topology.networks.kubernetes_service)
    return [str(node.address), node.name, str(topology.api_address), service, *inside, domain]


def _own_names(topology: Topology, node: Node) -> list[str]:
    return [str(node.address), node.name]


def _client_of(program: str) -> Callable[[Holdings], Pair]:
    return lambda held: held.of_program(program)


def _flagged(program: str, cert: str, key: str) -> Callable[[Holdings], Pair]:
    return lambda held: held.flagged(program, cert, key)


def _lying_at(path: str) -> Callable[[Holdings], Pair]:
    return lambda held: held.pair(path, path)


_PEER = _flagged("etcd", "peer-cert-file", "peer-key-file")
MASTER, API = Role.CONTROL_PLANE, "kube-apiserver"
SERVERS = (
    ServerUse(1, "etcd to its peers", "etcd", Role.ETCD, _PEER, PEER_PORT, _own_names),
    ServerUse(2, "etcd to its clients", "etcd", Role.ETCD, _flagged("etcd", "cert-file", "key-file"),
              CLIENT_PORT, _own_names),
    ServerUse(4, "kube-apiserver", "kubernetes", MASTER,
              _flagged(API, "tls-cert-file", "tls-private-key-file"), None, _api_names),
    ServerUse(10, "kubelet", "kubernetes", Role.WORKER, _lying_at(KUBELET_SERVER), KUBELET_PORT, _own_names),
)  # fmt: skip
CLIENTS = (
    ClientUse(1, "etcd to its peers", "etcd", Role.ETCD, _PEER, Role.ETCD, PEER_PORT, "/members"),
    ClientUse(3, "kube-apiserver to etcd", "etcd", MASTER, _flagged(API, "etcd-certfile", "etcd-keyfile"),
              Role.ETCD, CLIENT_PORT, "/version"),
    ClientUse(5, "kube-controller-manager", "kubernetes", MASTER, _client_of("kube-controller-manager"),
              MASTER, None, REVIEWS, "system:kube-controller-manager"),
    ClientUse(6, "kube-scheduler", "kubernetes", MASTER, _client_of("kube-scheduler"),
              MASTER, None, REVIEWS, "system:kube-scheduler"),
    ClientUse(7, "kube-proxy", "kubernetes", Role.WORKER, Holdings.of_kube_proxy,
              MASTER, None, REVIEWS, "system:kube-proxy", "system:node-proxier"),
    ClientUse(8, "kubelet", "kubernetes", Role.WORKER, _client_of("kubelet"),
              MASTER, None, REVIEWS, "system:node:{machine}", "system:nodes"),
    ClientUse(9, "the administrator", "kubernetes", Role.ADMIN, lambda held: held.of_kubeconfig(KUBECONFIG),
              MASTER, None, REVIEWS, "k8s-admin", "system:masters"),
    ClientUse(11, "kube-apiserver to kubelets", "kubernetes", MASTER,
              _flagged(API, "kubelet-client-certificate", "kubelet-client-key"),
              Role.WORKER, KUBELET_PORT, "/healthz"),
)  # fmt: skip


def right_calls(
    cluster: Cluster, held: Mapping[str, Holdings], use: ClientUse
) -> Iterator[tuple[Node, Node, Visit]]:
    """Every holder of the certificate with every server: from, to, the call."""
    for source in cluster.topology.of(use.holder):
        pair = use.pair(held[source.name])
        for server in cluster.topology.of(use.server):
            yield source, server, client_call(cluster, use, server, pair)


def wrong_calls(
    cluster: Cluster, held: Mapping[str, Holdings], use: ClientUse
) -> Iterator[tuple[str, Node, Visit]]:
    """Every impostor of one holder with every server: its kind, to, the call."""
    source = cluster.topology.of(use.holder)[0]
    impostors = impostors_of(cluster, use, use.pair(held[source.name]))
    for server in cluster.topology.of(use.server):
        for kind, pair in impostors.items():
            yield kind, server, client_call(cluster, use, server, pair)


def impostors_of(cluster: Cluster, use: ClientUse, right: Pair) -> dict[str, Pair | None]:
    """Pairs of the same subject which nobody may take for the right one."""
    ca, now = cluster.credentials.authorities[use.authority], datetime.now(UTC)
    subject = x509.load_pem_x509_certificate(right.cert).subject
    cn, o = (_part(subject, oid) for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME))
    begun, ended = now - timedelta(days=2), now - timedelta(days=1)
    client = {Usage.CLIENT}
    pairs = (
        None,
        issue(foreign_ca(use.authority), cn=cn, o=o, usages=client),
        issue(ca, cn=cn, o=o, usages={Usage.SERVER}),
        issue(ca, cn=cn, o=o, usages=client, not_before=begun, not_after=ended),
    )
    return dict(zip(IMPOSTORS, pairs, strict=True))


def client_call(cluster: Cluster, use: ClientUse, server: Node, pair: Pair | None) -> Visit:
    """The use's own kind of request, with this certificate."""
    return call(
        cluster,
        server,
        use.port,
        cluster.credentials.ca(use.authority),
        pair,
        path=use.path,
        body=REVIEW if use.asks_who_it_is else "",
    )


def server_looks(cluster: Cluster, use: ServerUse) -> Iterator[tuple[str, Node, str, Visit]]:
    """What is tried with every server: `name`, `ca` or `other`, the server, the name or CA, the call."""
    own, topology = cluster.credentials.authorities[use.authority], cluster.topology
    guest = issue(own, cn="e2e", usages={Usage.CLIENT})  # somebody whom the server lets in
    foreign = {
        f"the {name} CA": ca.cert for name, ca in cluster.credentials.authorities.items() if ca != own
    } | {"a CA of the same name": foreign_ca(use.authority).cert}

    def look(server: Node, ca: bytes, name: str) -> Visit:
        return call(cluster, server, use.port, ca, guest, path="/healthz", name=name)

    for server in topology.of(use.server):
        names = use.names(topology, server)
        others = ("stranger.example", *(str(node.address) for node in topology.nodes))
        yield from (("name", server, name, look(server, own.cert, name)) for name in names)
        yield from (("ca", server, ca, look(server, cert, names[0])) for ca, cert in foreign.items())
        yield from (
            ("other", server, name, look(server, own.cert, name)) for name in others if name not in names
        )


def call(
    cluster: Cluster, server: Node, port: int | None, ca: bytes, pair: Pair | None, *, path: str,
    body: str = "", name: str = "", token: str = "",
) -> Visit:  # fmt: skip
    """A request to a machine of the plan."""
    cert, key = (pair.cert.decode(), pair.key.decode()) if pair else ("", "")
    return Visit(
        str(server.address),
        port or cluster.topology.networks.api_port,
        ca.decode(),
        path,
        cert,
        key,
        "POST" if body else "GET",
        body,
        token,
        name,
    )


def _part(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    return ",".join(str(attribute.value) for attribute in subject.get_attributes_for_oid(oid))
