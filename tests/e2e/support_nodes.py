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
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from support_certificate_uses import REVIEW, REVIEWS, call
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


def as_kubelet(machine: Machine, asks: Sequence[Ask]) -> list[tuple[int, str]]:
    """Status and beginning of the answer to each, asked on the worker by its kubelet's own kubeconfig."""
    words = [
        word for ask in asks for word in (ask.method, ask.path, json.dumps(ask.body) if ask.body else "")
    ]
    said = machine.check("sh", "-c", _AS_KUBELET, KUBECONFIG, *words, timeout=60)
    lines = [line.split(" ", 1) for line in said.splitlines() if re.match(r"\d{3} ", line)]
    assert len(lines) == len(asks), f"{machine.name}: {len(asks)} requests got {len(lines)} answers: {said}"
    return [(int(status), text) for status, text in lines]


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
def serving_requests(cluster: Cluster) -> Iterator[dict[str, tuple[Node, str]]]:
    """Two requests of each worker's kubelet, by name: for its `own` address, and for a `foreign` one too."""
    ca, made = cluster.credentials.ca("kubernetes"), {}
    try:
        for machine in cluster.of(Role.WORKER):
            pair = pair_of(machine.check("cat", CURRENT).encode())
            kubelet, node = KubeApi(cluster.api().url, ca, pair), machine.node
            for kind, addresses in {"own": [node.address], "foreign": [node.address, FOREIGN]}.items():
                name = f"e2e-{kind}-{uuid.uuid4().hex[:8]}"
                kubelet.post(CSRS, serving_request(name, node, addresses))
                made[name] = node, kind
            kubelet.close()
        yield made
    finally:
        for name in made:
            cluster.api().delete(f"{CSRS}/{name}")


def serving_request(name: str, node: Node, addresses: Sequence[Any]) -> dict[str, Any]:
    """A CertificateSigningRequest as the node's kubelet makes it, for these addresses."""
    subject = [(NameOID.ORGANIZATION_NAME, NODES), (NameOID.COMMON_NAME, f"{USER}{node.name}")]
    builder = x509.CertificateSigningRequestBuilder(
        x509.Name([x509.NameAttribute(oid, value) for oid, value in subject])
    ).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(node.name), *map(x509.IPAddress, addresses)]),
        critical=False,
    )
    signed = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "signerName": SIGNER,
            "request": base64.b64encode(signed.public_bytes(Encoding.PEM)).decode(),
            "usages": ["digital signature", "server auth"],
        },
    }


def issued(request: Mapping[str, Any]) -> x509.Certificate | None:
    """The certificate that a request got."""
    pem = request.get("status", {}).get("certificate")
    return x509.load_pem_x509_certificate(base64.b64decode(pem)) if pem else None


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
    end = x509.load_pem_x509_certificate(lying.out).not_valid_after_utc
    if end > datetime.now(UTC):
        return f"its kubelet is {state}, its client certificate is good until {end}"
    token = cluster.credentials.bootstrap_token
    refused = [f"{n} {o}" for n, o in who_is(cluster, token.text).items() if o.status != 201]
    told = f"bootstrap token refused ({', '.join(refused)})" if refused else "its bootstrap token is good"
    return (
        f"client certificate ended at {end}, {told}; remedy: `thwlab up` renews the token and writes it to "
        f"{machine.name}, then `systemctl restart kubelet` there"
    )


# Reads its server and certificate from the kubeconfig, as the kubelet does; prints "STATUS TEXT" per request.
_AS_KUBELET = """\
of() { sed -n "s/^ *$1: *//p" "$config" | head -n 1; }
config=$0 server=$(of server) ca=$(of certificate-authority)
cert=$(of client-certificate) key=$(of client-key)
[ -n "$ca" ] || { ca=$(mktemp); trap 'rm -f "$ca"' EXIT; of certificate-authority-data | base64 -d >"$ca"; }
while [ $# -gt 0 ]; do
    body=${3:+-d}
    type='Content-Type: application/json'
    [ "$1" != PATCH ] || type='Content-Type: application/merge-patch+json'
    curl -sS --noproxy '*' -m 10 --cacert "$ca" --cert "$cert" --key "$key" -X "$1" -H "$type" \\
        ${body:+"$body" "$3"} -w '\\n%{http_code}' "$server$2" 2>&1 |
        { text=$(cat); printf '%s %s\\n' "$(printf '%s\\n' "$text" | tail -n 1)" \\
            "$(printf '%s' "$text" | sed '$d' | tr -d '\\n' | cut -c 1-600)"; }
    shift 3
done
"""
