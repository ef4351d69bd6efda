"""The one place that speaks HTTP to the cluster: verified TLS, no proxies, a deadline on every call."""

import ssl
import tempfile
from typing import Any

import httpx2

from lab.pki import Pair
from lab.wait import stretched

LONGEST = 30.0  # seconds; a proxy between gives up after 60


def trusting(ca: bytes, pair: Pair | None = None) -> ssl.SSLContext:
    """A client's context: trusts this CA only, and shows this certificate if one is given."""
    context = ssl.create_default_context(cadata=ca.decode())
    if pair is not None:
        with tempfile.NamedTemporaryFile(prefix="thwlab-") as file:  # 0600; ssl reads keys from files only
            file.write(pair.cert + pair.key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def trusting_anybody() -> ssl.SSLContext:
    """A client's context that takes every certificate, for servers that sign for themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # the default one reads this host's authorities
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def client(base_url: str, context: ssl.SSLContext, *, timeout: float = 10) -> httpx2.Client:
    """A client that knows no proxy, whatever the environment says.

    ``timeout`` is in seconds for an answer; slow machines get up to `LONGEST`.
    """
    patience = max(timeout, min(LONGEST, stretched(timeout)))
    return httpx2.Client(base_url=base_url, verify=context, trust_env=False, timeout=patience)


def body_of(response: httpx2.Response) -> Any:
    """The JSON of an answer."""
    return response.json()
