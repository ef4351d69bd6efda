"""Service-account tokens: minted by an apiserver, and forged."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lab.cluster import Cluster

COORDINATE = 32  # bytes, on P-256


def mint(cluster: Cluster, master: str, namespace: str = "default", account: str = "default") -> str:
    """A token of a service account, signed by this master's apiserver."""
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    return str(cluster.api(master).post(path, request)["status"]["token"])


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, unverified."""
    said = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
    return claims


def signed(claims: Mapping[str, Any], key: bytes) -> str:
    """A token that says this, by this key, in the form of the apiserver's own (ES256)."""
    said = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT"}, claims))
    signer = load_pem_private_key(key, password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    numbers = decode_dss_signature(signer.sign(said.encode(), ec.ECDSA(hashes.SHA256())))
    return f"{said}.{_part(b''.join(number.to_bytes(COORDINATE, 'big') for number in numbers))}"


def public_key(pem: bytes) -> bytes:
    """The public key of a key pair, whichever half the PEM text holds."""
    private = b"PRIVATE KEY" in pem
    key = load_pem_private_key(pem, password=None).public_key() if private else load_pem_public_key(pem)
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _part(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
