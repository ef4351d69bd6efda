"""What the node tests ask of kubelets and of the API on their behalf."""

import base64
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support_certificate_uses import REVIEW, REVIEWS, call
from support_deadlines import whole
from support_holdings import pair_of
from support_visits import Outcome, visit

from lab.addons.bootstrap import token_secret
from lab.addons.serving_csrs import NODES, SIGNER, USER
from lab.cluster import Cluster
from lab.components.kubelet import KUBECONFIG
from lab.kubeapi import KubeApi
from lab.machine import Machine
from lab.pki import Token
from lab.topology import Node, Role

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client-kubelet"
FOREIGN = IPv4Address("192.0.2.10")
CURRENT = "/opt/kubernetes/ssl/kubelet-client-current.pem"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request that a kubelet's identity makes; changes are tried only, never made."""

    method: str
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)


def as_kubelet(machine: Machine, asks: Sequence[Ask], server: str) -> list[tuple[int, str]]:
    """Status and beginning of the server's answer to each, asked by the worker's kubelet's own kubeconfig."""
    words = [
        word for ask in asks for word in (ask.method, ask.path, json.dumps(ask.body) if ask.body else "")
    ]
    said = machine.check("sh", "-c", _AS_KUBELET, KUBECONFIG, server, whole(10), *words, timeout=60)
    return answers(said, asks, machine.name)


def answers(said: str, asks: Sequence[Ask], name: str) -> list[tuple[int, str]]:
    """Status and beginning of each answer in what one curl printed; `name` is for the failure.  Pure."""
    *words, _ = re.split(r"\n(\d{3}) thwlab-end\n", said)
    found = [
        (int(status), " ".join(text.split())[:600])
        for text, status in zip(words[::2], words[1::2], strict=True)
    ]
    assert len(found) == len(asks), f"{name}: {len(asks)} requests got {len(found)} answers: {said}"
    return found


def token_for(secret: str, lasts: timedelta) -> Token:
    """A bootstrap token of a test's own, which ends (or ended) that far from now."""
    return Token(secret[:6], secret[6:22], datetime.now(UTC) + lasts)


def short_lived(token: Token) -> dict[str, Any]:
    """The token's Secret; tokens of tests may do nothing but say who they are."""
    manifest = token_secret(token)
    manifest["data"]["auth-extra-groups"] = base64.b64encode(b"system:bootstrappers:e2e").decode()
    return manifest


def who_is(cluster: Cluster, token: str) -> dict[str, Outcome]:
    """What each apiserver says to somebody who shows this token."""
    masters, ca = cluster.topology.of(Role.CONTROL_PLANE), cluster.credentials.ca("kubernetes")
    visits = [call(cluster, node, None, ca, None, path=REVIEWS, body=REVIEW, token=token) for node in masters]
    return dict(zip((node.name for node in masters), visit(cluster, visits), strict=True))


@contextmanager
def renewal_requests(cluster: Cluster) -> Iterator[dict[str, Node]]:
    """A request of each worker's kubelet for its next client certificate, by name."""
    made: dict[str, Node] = {}
    try:
        for machine in cluster.of(Role.WORKER):
            name = f"e2e-renewal-{uuid.uuid4().hex[:8]}"
            _ask_as(cluster, machine, [renewal_request(name, machine.node)])
            made[name] = machine.node
        yield made
    finally:
        for name in made:
            cluster.api().delete(f"{CSRS}/{name}")


@contextmanager
def serving_requests(cluster: Cluster) -> Iterator[dict[str, tuple[Node, str]]]:
    """Two requests of each worker's kubelet, by name: for its `own` address, and for a `foreign` one too."""
    made: dict[str, tuple[Node, str]] = {}
    try:
        for machine in cluster.of(Role.WORKER):
            node = machine.node
            for kind, addresses in {"own": [node.address], "foreign": [node.address, FOREIGN]}.items():
                name = f"e2e-{kind}-{uuid.uuid4().hex[:8]}"
                _ask_as(cluster, machine, [serving_request(name, node, addresses)])
                made[name] = node, kind
        yield made
    finally:
        for name in made:
            cluster.api().delete(f"{CSRS}/{name}")


def _ask_as(cluster: Cluster, machine: Machine, requests: Sequence[Mapping[str, Any]]) -> None:
    """Make the requests as the worker's kubelet, by its own certificate."""
    pair = pair_of(machine.check("cat", CURRENT).encode())
    kubelet = KubeApi(cluster.api().url, cluster.credentials.ca("kubernetes"), pair)
    for request in requests:
        kubelet.post(CSRS, request)
    kubelet.close()


def renewal_request(name: str, node: Node) -> dict[str, Any]:
    """A CertificateSigningRequest as the node's kubelet makes it to stay who it is."""
    return _request(name, node, x509.CertificateSigningRequestBuilder(), CLIENT_SIGNER, "client auth")


def serving_request(name: str, node: Node, addresses: Sequence[Any]) -> dict[str, Any]:
    """A CertificateSigningRequest as the node's kubelet makes it, for these addresses."""
    names = x509.SubjectAlternativeName([x509.DNSName(node.name), *map(x509.IPAddress, addresses)])
    builder = x509.CertificateSigningRequestBuilder().add_extension(names, critical=False)
    return _request(name, node, builder, SIGNER, "server auth")


def _request(
    name: str, node: Node, builder: x509.CertificateSigningRequestBuilder, signer: str, usage: str
) -> dict[str, Any]:
    subject = [(NameOID.ORGANIZATION_NAME, NODES), (NameOID.COMMON_NAME, f"{USER}{node.name}")]
    named = builder.subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in subject]))
    signed = named.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "signerName": signer,
            "request": base64.b64encode(signed.public_bytes(Encoding.PEM)).decode(),
            "usages": ["digital signature", usage],
        },
    }


def issued(request: Mapping[str, Any]) -> x509.Certificate | None:
    """The certificate that a request got."""
    pem = request.get("status", {}).get("certificate")
    return x509.load_pem_x509_certificate(base64.b64decode(pem)) if pem else None


def is_issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    """Whether the CA has signed it; another of the same name has not."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, InvalidSignature):
        return False
    return True


def named(certificate: x509.Certificate) -> tuple[str, str]:
    """Common name and organization."""
    parts = (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
    cn, o = (",".join(str(a.value) for a in certificate.subject.get_attributes_for_oid(p)) for p in parts)
    return cn, o


def why_away(cluster: Cluster, machine: Machine) -> str:
    """What keeps a node from being Ready, as far as its identity goes, and what brings it back."""
    state = machine.run("systemctl", "is-active", "kubelet").stdout.strip()
    lying = machine.run("cat", CURRENT)
    if not lying.ok:
        return f"its kubelet is {state} and has no client certificate"
    certificate = x509.load_pem_x509_certificate(lying.out)
    end = certificate.not_valid_after_utc
    if wrong := wrong_identity(certificate, cluster.credentials.ca("kubernetes"), machine.name):
        return (
            f"its kubelet is {state}, its client certificate is {wrong}; remedy: "
            f"on {machine.name} remove {CURRENT} and {KUBECONFIG}, then `systemctl restart kubelet`"
        )
    if end > datetime.now(UTC):
        return f"its kubelet is {state}, its client certificate is good until {end}"
    token = cluster.credentials.bootstrap_token
    refused = [f"{n} {o}" for n, o in who_is(cluster, token.text).items() if o.status != 201]
    told = f"bootstrap token refused ({', '.join(refused)})" if refused else "its bootstrap token is good"
    return (
        f"client certificate ended at {end}, {told}; remedy: `thwlab up` renews the token and writes it to "
        f"{machine.name}, then `systemctl restart kubelet` there"
    )


def wrong_identity(certificate: x509.Certificate, ca: bytes, node: str) -> str:
    """What makes a kubelet's client certificate no good for this node, whenever it ends; nothing if it is."""
    if not is_issued_by(certificate, x509.load_pem_x509_certificate(ca)):
        return "by another CA than the cluster's"
    name, _ = named(certificate)
    wanted = f"system:node:{node}"
    return "" if name == wanted else f"that of {name}, not of {wanted}"


# Reads its CA and certificate from the kubeconfig, as the kubelet does; prints "STATUS TEXT" per request.
# One curl and one connection for all of them: on a slow machine a handshake takes longer than ten answers.
_AS_KUBELET = """\
of() { sed -n "s/^ *$1: *//p" "$config" | head -n 1; }
config=$0 server=$1 limit=$2 ca=$(of certificate-authority)
cert=$(of client-certificate) key=$(of client-key)
[ -n "$ca" ] || { ca=$(mktemp); trap 'rm -f "$ca"' EXIT; of certificate-authority-data | base64 -d >"$ca"; }
shift 2
left=$# next=
while [ $left -gt 0 ]; do
    type='Content-Type: application/json' method=$1 path=$2 body=$3
    [ "$method" != PATCH ] || type='Content-Type: application/merge-patch+json'
    shift 3; left=$((left - 3))
    set -- "$@" $next -sS --noproxy '*' -m "$limit" --cacert "$ca" --cert "$cert" --key "$key" -X "$method" \\
        -H "$type" ${body:+-d "$body"} -w '\\n%{http_code} thwlab-end\\n' "$server$path"
    next=--next
done
curl "$@" 2>&1
true
"""
