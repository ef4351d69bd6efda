"""Kubeconfig files, as data: same input, same bytes."""

import base64
from typing import Any

import yaml

from lab.pki import Pair, Token


def kubeconfig(
    cluster: str,
    server: str,
    ca: bytes | str,
    *,
    user: str,
    pair: Pair | None = None,
    token: Token | str | None = None,
    certificate_files: tuple[str, str] | None = None,
) -> bytes:
    """A kubeconfig with one cluster, one user and one context, which is the current one.

    ``ca`` is embedded if bytes, referred to if a path.  The user proves itself by exactly one of
    ``pair`` (embedded), ``token`` (a kubelet's first contact) or ``certificate_files`` (paths of
    certificate and key on the machine).  The result may hold a secret: write it with mode 0600.
    """
    context = f"{user}@{cluster}"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": server, **_trust(ca)}}],
        "users": [{"name": user, "user": _proof(pair, token, certificate_files)}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    }
    return yaml.safe_dump(config, sort_keys=False).encode()


def _trust(ca: bytes | str) -> dict[str, str]:
    if isinstance(ca, str):
        return {"certificate-authority": ca}
    return {"certificate-authority-data": _data(ca)}


def _proof(pair: Pair | None, token: Token | str | None, files: tuple[str, str] | None) -> dict[str, Any]:
    if sum(given is not None for given in (pair, token, files)) != 1:
        raise ValueError("give exactly one of pair, token and certificate_files")
    if pair is not None:
        return {"client-certificate-data": _data(pair.cert), "client-key-data": _data(pair.key)}
    if files is not None:
        return {"client-certificate": files[0], "client-key": files[1]}
    return {"token": token.text if isinstance(token, Token) else token}


def _data(content: bytes) -> str:
    return base64.b64encode(content).decode()
