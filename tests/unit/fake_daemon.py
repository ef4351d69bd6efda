"""A daemon's API on a Unix socket: enough of it for tests, everything it was asked kept."""

import base64
import hashlib
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455
TEXT, BINARY, CLOSE = 1, 2, 8
Body = Any


@dataclass
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    body: Body
    headers: dict[str, str]


class Silence(Exception):
    """Raised by a reply: the daemon takes the request and never answers."""


@dataclass
class Daemon:
    """Replies by `METHOD /path`; an answer, a status and an error, or a function of the request."""

    socket: Path
    replies: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def lines(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.asked]


def ok(metadata: Any = None) -> dict[str, Any]:
    return {"type": "sync", "status_code": 200, "metadata": metadata if metadata is not None else {}}


def refused(status: int, error: str) -> dict[str, Any]:
    return {"type": "error", "error_code": status, "error": error, "metadata": None}


def begun(operation: str = "op", **metadata: Any) -> dict[str, Any]:
    return {"type": "async", "status_code": 100, "metadata": {"id": operation, "metadata": metadata}}


def done(status: int = 200, word: str = "Success", err: str = "", **metadata: Any) -> dict[str, Any]:
    return ok({"id": "op", "status_code": status, "status": word, "err": err, "metadata": metadata or None})


@contextmanager
def running(folder: Path) -> Iterator[Daemon]:
    """The daemon, until the end of the block."""
    daemon = Daemon(folder / "unix.socket")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            url = urlsplit(self.path)
            asked = Asked(
                self.command,
                url.path,
                {name: values[0] for name, values in parse_qs(url.query).items()},
                self.read_body(),
                {name.lower(): value for name, value in self.headers.items()},
            )
            daemon.asked.append(asked)
            reply = daemon.replies.get(f"{asked.method} {url.path}", refused(404, "not found"))
            if self.headers.get("Upgrade") == "websocket":
                self.upgrade(reply, asked)
                return
            try:
                answer = reply(asked) if callable(reply) else reply
            except Silence:
                daemon.ended.wait(10)
                self.close_connection = True
                return
            self.send(answer)

        def read_body(self) -> Body:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            kind = self.headers.get("Content-Type", "")
            return json.loads(content) if kind == "application/json" else content

        def send(self, answer: Any) -> None:
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            error = answer.get("error_code") if isinstance(answer, dict) else None
            self.send_response(error or 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def upgrade(self, talk: Callable[["WebSocket"], None] | dict[str, Any], asked: Asked) -> None:
            if isinstance(talk, dict):
                self.send(talk)
                return
            key = self.headers["Sec-WebSocket-Key"].encode() + MAGIC
            accept = base64.b64encode(hashlib.sha1(key).digest()).decode()
            self.send_response(101)
            for name, value in (
                ("Upgrade", "websocket"),
                ("Connection", "Upgrade"),
                ("Sec-WebSocket-Accept", accept),
            ):
                self.send_header(name, value)
            self.end_headers()
            self.close_connection = True
            try:
                talk(WebSocket(self.rfile, self.connection, asked, daemon))
            except (OSError, EOFError):
                return

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = serve

        def address_string(self) -> str:
            return "unix"

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: Any) -> None:
            return

    server = Server(str(daemon.socket), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield daemon
    finally:
        daemon.ended.set()
        server.shutdown()
        server.server_close()


@dataclass
class WebSocket:
    """The daemon's end of a stream."""

    source: Any
    connection: socket.socket
    asked: Asked
    daemon: Daemon

    @property
    def secret(self) -> str:
        return self.asked.query["secret"]

    def send(self, data: bytes | str) -> None:
        payload = data.encode() if isinstance(data, str) else data
        size = len(payload)
        head = bytes([0x80 | (TEXT if isinstance(data, str) else BINARY)])
        head += (
            bytes([size])
            if size < 126
            else b"\x7e" + struct.pack("!H", size)
            if size < 65536
            else b"\x7f" + struct.pack("!Q", size)
        )
        self.connection.sendall(head + payload)

    def recv(self) -> bytes | str | None:
        """A message, or None when the other end closes."""
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read(8))
        mask, payload = self._read(4), self._read(size)
        long_mask = (mask * (size // 4 + 1))[:size]
        plain = (int.from_bytes(payload, "big") ^ int.from_bytes(long_mask, "big")).to_bytes(size, "big")
        if first & 0x0F == CLOSE:
            return None
        return plain.decode() if first & 0x0F == TEXT else plain

    def _read(self, size: int) -> bytes:
        data: bytes = self.source.read(size)
        if len(data) != size:
            raise EOFError
        return data
