"""A small HTTPS server on loopback with the lab's own certificates, for tests of clients."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.pki import Pair


@dataclass
class Request:
    """What arrived, and as whom."""

    method: str
    path: str
    body: bytes
    kind: str
    user: str


Answer = Callable[[Request], tuple[int, Any]]


@dataclass
class Server:
    """Where it listens and what it saw."""

    url: str = ""
    seen: list[Request] = field(default_factory=list)


@contextmanager
def serving(answer: Answer, pair: Pair, ca: bytes, folder: Path) -> Iterator[Server]:
    """Answer with what the function returns: a status, and a string or an object."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type", "")
            shown = self.connection.getpeercert() or {}  # type: ignore[attr-defined]
            subject = shown.get("subject", ())
            user = next((value for part in subject for name, value in part if name == "commonName"), "")
            request = Request(self.command, self.path, body, kind, user)
            server.seen.append(request)
            status, said = answer(request)
            content = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = serve

        def log_message(self, *_: Any) -> None:
            return

    cert = folder / "server.pem"
    cert.write_bytes(pair.cert + pair.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=ca.decode())
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    server.url = f"https://127.0.0.1:{httpd.server_port}"
    threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield server
    finally:
        httpd.shutdown()
        httpd.server_close()
