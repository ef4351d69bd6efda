"""Kubelets' requests for serving certificates, which nobody upstream approves: which of them are right."""

import base64
import binascii
import copy
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID, NameOID

from lab.topology import Node, Role, Topology

SIGNER = "kubernetes.io/kubelet-serving"
USER = "system:node:"
NODES = "system:nodes"
NEEDED = frozenset({"server auth"})
ALLOWED = frozenset({"server auth", "digital signature", "key encipherment"})

UNREADABLE = (
    ValueError,
    binascii.Error,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def pending(request: Mapping[str, Any]) -> bool:
    """Whether it asks for a serving certificate and nobody has decided yet."""
    conditions = request.get("status", {}).get("conditions", [])
    decided = any(condition.get("type") in ("Approved", "Denied") for condition in conditions)
    return request["spec"].get("signerName") == SIGNER and not decided


def of_node(requests: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """A node's requests for serving certificates, in the order they came in.  Pure."""
    return [
        each
        for each in requests
        if each["spec"].get("signerName") == SIGNER and each["spec"].get("username") == f"{USER}{name}"
    ]


def approvable(request: Mapping[str, Any], topology: Topology) -> str | None:
    """Why the CertificateSigningRequest must stay pending, or None if it may be approved.  Pure.

    It may be if a worker of the plan asks, for itself alone: its name as subject, nothing but its
    own name and planned address, and for serving only.
    """
    spec = request["spec"]
    if spec.get("signerName") != SIGNER:
        return f"its signer is {spec.get('signerName')}, not {SIGNER}"
    node = _requestor(spec.get("username", ""), topology)
    if node is None:
        return f"{spec.get('username')!r} is no worker of the plan"
    if NODES not in spec.get("groups", ()):
        return f"{spec['username']} does not ask as one of {NODES}"
    usages = frozenset(spec.get("usages", ()))
    if not NEEDED <= usages <= ALLOWED:
        return f"it asks for the usages {', '.join(sorted(usages)) or '(none)'}"
    return _asked(spec.get("request", ""), node)


def approved(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request as it is to be put to its `approval` path.  Pure."""
    decided = copy.deepcopy(dict(request))
    condition = {
        "type": "Approved",
        "status": "True",
        "reason": "ThwlabApproved",
        "message": "name and addresses are those of the plan",
    }
    decided.setdefault("status", {}).setdefault("conditions", []).append(condition)
    return decided


def _requestor(username: str, topology: Topology) -> Node | None:
    return next((node for node in topology.of(Role.WORKER) if username == f"{USER}{node.name}"), None)


def _asked(encoded: str, node: Node) -> str | None:
    try:
        asked = x509.load_pem_x509_csr(base64.b64decode(encoded, validate=True))
        signed, names = asked.is_signature_valid, _names(asked)
    except UNREADABLE as error:
        return f"it cannot be read: {error}"
    if not signed:
        return "its signature is not by the key in it"
    if _subject(asked) != {(NameOID.COMMON_NAME, f"{USER}{node.name}"), (NameOID.ORGANIZATION_NAME, NODES)}:
        return f"its subject is {asked.subject.rfc4514_string()}, not CN={USER}{node.name},O={NODES}"
    if foreign := names - {("DNSName", node.name), ("IPAddress", str(node.address))}:
        return f"it asks for {', '.join(sorted(value for _, value in foreign))}, which {node.name} is not"
    return None if names else "it names no host and no address"


def _subject(asked: x509.CertificateSigningRequest) -> set[tuple[x509.ObjectIdentifier, str]]:
    return {(part.oid, str(part.value)) for part in asked.subject}


def _names(asked: x509.CertificateSigningRequest) -> set[tuple[str, str]]:
    """Every name asked for; any other extension counts as a name that nobody has."""
    found = {
        ("extension", extension.oid.dotted_string)
        for extension in asked.extensions
        if extension.oid != ExtensionOID.SUBJECT_ALTERNATIVE_NAME
    }
    for extension in asked.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            found |= {(type(name).__name__, str(name.value)) for name in extension.value}
    return found
