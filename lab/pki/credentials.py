"""What components and clients are handed.  No secret shows in a repr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from lab.errors import LabError
from lab.topology import Node

Authority = Literal["etcd", "kubernetes", "front-proxy"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    cert: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair without certificate, both PEM: `EC PRIVATE KEY` and `PUBLIC KEY`."""

    private: bytes = field(repr=False)
    public: bytes


@dataclass(frozen=True, slots=True)
class Token:
    """A bootstrap token.  The id is no secret, it is part of the user's name."""

    id: str
    secret: str = field(repr=False)
    expires: datetime

    @property
    def text(self) -> str:
        """As a client sends it.  Not `str()`, so that it never slips into a log line."""
        return f"{self.id}.{self.secret}"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Every credential of one lab.

    `authorities` hold the CA keys; use them to `issue` on this host, and `ca`, `ca_key` for files.
    `reissued` says which certificates were replaced at this loading, and why.
    """

    authorities: Mapping[str, Pair] = field(repr=False)
    pairs: Mapping[tuple[str, str | None], Pair] = field(repr=False)
    service_account: KeyPair
    bootstrap_token: Token
    encryption_key: str = field(repr=False)
    reissued: Mapping[str, str] = field(default_factory=dict)

    def pair(self, use: str, node: Node | None = None) -> Pair:
        """The pair for that use on that node; a LabError if the plan gives the node none."""
        name = node.name if node else None
        found = self.pairs.get((use, name))
        if found is None:
            its = sorted(use for use, owner in self.pairs if owner == name)
            raise LabError(f"the plan gives {name or 'this host'} no {use!r} pair, only {', '.join(its)}")
        return found

    def ca(self, name: Authority) -> bytes:
        """The CA's certificate."""
        return self.authorities[name].cert

    def ca_key(self, name: Authority) -> bytes:
        """The Kubernetes CA's key, for control planes, which sign kubelets' requests with it."""
        if name != "kubernetes":
            raise LabError(f"the key of the {name} CA never leaves this host; only the kubernetes CA's does")
        return self.authorities[name].key
