"""Fresh TLS connections from this host into the lab's network, and how each of them ended.

`visit` runs this very file in the lab's network: there it is a program on the standard library which
reads what to do, keys included, from its standard input, so that no secret is ever in an argument.
"""

import contextlib
import hashlib
import http.client
import json
import socket
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

SECONDS = 5  # for one visit, longer where machines are slow; a silent server is an outcome, too
CAP = 1 << 20
AFTERWARDS = 20  # rounds that begin after whatever the stream was to survive


@dataclass(frozen=True)
class Visit:
    """One request over a connection of its own; PEMs as text, `cert` and `key` empty for none."""

    address: str
    port: int
    ca: str
    path: str = "/"
    cert: str = ""
    key: str = field(default="", repr=False)
    method: str = "GET"
    body: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    name: str = ""  # what the server's certificate must be for, if not the address

    @property
    def where(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True)
class Outcome:
    """`kind` is answered, refused (in the handshake, `reason` is the alert) or unreachable."""

    kind: str
    reason: str = ""
    status: int = 0
    body: str = field(default="", repr=False)
    server: str = ""  # SHA-256 of the certificate it showed
    begun: float = 0.0
    ended: float = 0.0

    def __str__(self) -> str:
        return f"answered {self.status}" if self.kind == "answered" else f"{self.kind}: {self.reason}"


def visit(cluster: Any, visits: Sequence[Visit], *, timeout: float = 30) -> list[Outcome]:
    """All of them, one after the other, in one process inside the lab's network."""
    return _run(cluster, {"visits": [asdict(each) for each in visits]}, timeout)


def stream(cluster: Any, visits: Sequence[Visit], folder: Path, *, timeout: float = 30) -> list[Outcome]:
    """The same ones over and over: touches `folder/started` after a round, ends once `folder/stop` is."""
    from lab.machine import patience  # not known to the program below

    seconds = patience(timeout) - 5
    plan = {"visits": [asdict(each) for each in visits], "folder": str(folder), "seconds": seconds}
    return _run(cluster, plan, timeout)


def fingerprint(pem: bytes) -> str:
    """SHA-256 of a certificate, as in `Outcome.server`."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def _run(cluster: Any, plan: dict[str, Any], timeout: float) -> list[Outcome]:
    from lab.errors import LabError  # nor are these
    from lab.wait import stretched

    argv, told = (sys.executable, "-I", __file__), {**plan, "patience": stretched(SECONDS)}
    done = cluster.from_host(*argv, stdin=json.dumps(told).encode(), timeout=timeout)
    if not done.ok:
        raise LabError(f"the visitor ended with {done.status}: {done.stderr[-1000:]}")
    return [Outcome(**each) for each in json.loads(done.stdout)]


# -- the program -----------------------------------------------------------------------------------


def _context(plan: Visit, folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=plan.ca)
    if plan.cert:
        name = hashlib.sha256(plan.cert.encode()).hexdigest()
        pair = folder / name
        if not pair.exists():
            pair.touch(mode=0o600)
            pair.write_text(plan.cert + plan.key)
        context.load_cert_chain(pair)
    return context


def _request(plan: Visit) -> bytes:
    lines = [f"{plan.method} {plan.path} HTTP/1.1", f"Host: {plan.where}", "Connection: close"]
    if plan.token:
        lines.append(f"Authorization: Bearer {plan.token}")
    if plan.body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(plan.body.encode())}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + plan.body).encode()


def _exchange(plan: Visit, folder: Path, patience: float) -> dict[str, Any]:
    with (
        socket.create_connection((plan.address, plan.port), timeout=patience) as plain,
        _context(plan, folder).wrap_socket(plain, server_hostname=plan.name or plan.address) as connection,
    ):
        # TLS 1.3 tells a client that it is refused only when the client reads; by then the server may
        # have closed, so that writing fails and the reason waits to be read.
        with contextlib.suppress(OSError):
            connection.sendall(_request(plan))
        # Not until the end of the stream: etcd's peer port may keep it open for 5 s after its answer.
        answer = http.client.HTTPResponse(connection, method=plan.method)
        answer.begin()
        shown = hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
        body = answer.read(CAP).decode(errors="replace")
        return {"kind": "answered", "status": answer.status, "body": body, "server": shown}


def _visited(plan: Visit, folder: Path, patience: float) -> dict[str, Any]:
    begun = time.monotonic()
    try:
        outcome = _exchange(plan, folder, patience)
    except ssl.SSLError as error:
        outcome = {"kind": "refused", "reason": error.reason or str(error)}
    except (OSError, http.client.HTTPException) as error:
        outcome = {"kind": "unreachable", "reason": f"{type(error).__name__}: {error}"}
    return {**outcome, "begun": begun, "ended": time.monotonic()}


def _rounds(plan: dict[str, Any]) -> Iterator[None]:
    yield
    if "folder" not in plan:
        return
    folder, end = Path(plan["folder"]), time.monotonic() + plan["seconds"]
    (folder / "started").touch()
    while time.monotonic() < end and not (folder / "stop").exists():
        yield
    for _ in range(AFTERWARDS):
        yield


def main() -> None:
    plan = json.load(sys.stdin)
    visits = [Visit(**each) for each in plan["visits"]]
    with tempfile.TemporaryDirectory(prefix="thwlab-e2e-") as name:
        ended = [_visited(each, Path(name), plan["patience"]) for _ in _rounds(plan) for each in visits]
    sys.stdout.write(json.dumps(ended))


if __name__ == "__main__":
    main()
