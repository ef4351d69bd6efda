"""Asking a component from this host: a command on a slow machine takes it far longer than the answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import httpx2

from lab import http
from lab.pki import Credentials
from lab.pki.credentials import Authority
from lab.topology import Node
from lab.wait import NotYet

PATIENCE = 10.0  # seconds for an answer; what listens and does not serve yet may answer at once when it does


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a component says that it serves: HTTPS that verifies for its machine's own address.

    ``authority`` is None for one that signs for itself.  ``shows`` is the use of the node's own certificate
    by which the asker is let in; none if anybody is.  ``status`` is the good answer, None if any is: then the
    handshake is what counts.
    """

    port: int
    path: str
    authority: Authority | None
    shows: str = ""
    status: int | None = 200


@dataclass(frozen=True, slots=True)
class Outside:
    """This host's way to a port of a machine, as `Provider.reach` has it, and what it is let in by."""

    reach: Callable[[str, int], tuple[str, int]]
    credentials: Credentials

    @contextmanager
    def asking(self, node: Node, endpoint: Endpoint) -> Iterator[Callable[[], None]]:
        """A question, put through one connection however often: `NotYet` unless the answer is good."""
        host, port = self.reach(node.name, endpoint.port)
        pair = self.credentials.pair(endpoint.shows, node) if endpoint.shows else None
        ca = self.credentials.ca(endpoint.authority) if endpoint.authority else None
        context = http.trusting(ca, pair) if ca else http.trusting_anybody()
        with http.client(f"https://{host}:{port}", context, timeout=PATIENCE) as client:
            yield partial(_ask, client, node, endpoint)


def _ask(client: httpx2.Client, node: Node, endpoint: Endpoint) -> None:
    asked = f"GET https://{node.address}:{endpoint.port}{endpoint.path}"
    try:
        # Whatever address leads there from here, the certificate must be good for the machine's own.
        answer = client.get(endpoint.path, extensions={"sni_hostname": str(node.address)})
    except httpx2.TransportError as error:
        raise NotYet(f"{asked}: {error or type(error).__name__}") from error
    if endpoint.status not in (None, answer.status_code):
        raise NotYet(f"{asked} got {answer.status_code}: {_told(answer.text)}")


def _told(body: str) -> str:
    """What fails; what passes begins with `[+]`."""
    lines = [line.strip() for line in body.splitlines()]
    return " | ".join(line for line in lines if line and not line.startswith("[+]"))[:500] or "(no word)"
