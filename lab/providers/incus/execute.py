"""Run a command in an instance through the daemon's websockets, with a deadline that holds."""

import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, unix_connect

from lab.errors import LabError
from lab.machine import OUTPUT_CAP, Result
from lab.providers.incus.api import Api, Json, NoAnswer

ENVIRONMENT = {
    "PATH": "/opt/kubernetes/bin:/opt/etcd/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}
DRAIN = 2.0  # seconds granted to output still on its way when the command has ended
CHUNK = 1 << 16


@dataclass
class _Stream:
    """What came out of one descriptor, up to the cap."""

    socket: ClientConnection
    kept: bytearray = field(default_factory=bytearray)
    cut: int = 0

    def drain(self) -> None:
        """Read to the daemon's end mark, an empty text message, or until the socket goes away."""
        try:
            while isinstance(message := self.socket.recv(), bytes):
                room = OUTPUT_CAP - len(self.kept)
                self.kept += message[:room]
                self.cut += max(0, len(message) - room)
        except (WebSocketException, OSError, EOFError):
            return


def execute(api: Api, instance: str, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Result:
    """Run `argv` as root; at the deadline the command is killed and what it printed comes back."""
    start = time.monotonic()
    try:
        operation = api.begin("POST", f"/1.0/instances/{instance}/exec", _request(argv), timeout=timeout)
    except NoAnswer:
        return Result(None, seconds=time.monotonic() - start)
    with _connected(api, operation, start + timeout) as sockets:
        if sockets is None:
            return Result(None, seconds=time.monotonic() - start)
        out, err = _Stream(sockets["1"]), _Stream(sockets["2"])
        workers = [
            _started(out.drain),
            _started(err.drain),
            _started(lambda: _feed(sockets["0"], stdin)),
        ]
        done = _await(api, operation["id"], start + timeout)
        if done is None:
            _kill(sockets["control"])
            done_late = _await(api, operation["id"], time.monotonic() + 0.5)
            workers = workers if done_late else []
        for worker in workers[:2]:
            worker.join(timeout=DRAIN)
    status, said = _status(done)
    seconds = time.monotonic() - start
    return Result(status, bytes(out.kept), bytes(err.kept) + said, seconds, out.cut + err.cut)


def _request(argv: tuple[str, ...]) -> Json:
    return {
        "command": list(argv),
        "environment": ENVIRONMENT,
        "wait-for-websocket": True,
        "interactive": False,
        "cwd": "/root",
    }


@contextmanager
def _connected(api: Api, operation: Json, deadline: float) -> Iterator[dict[str, ClientConnection] | None]:
    """The four sockets of a running command, or None if they did not open in time."""
    with ExitStack() as stack:
        sockets = {}
        try:
            # The command starts with its third stream and may be over before a control socket opened last.
            fds = operation["metadata"]["fds"]
            for name, secret in sorted(fds.items(), key=lambda fd: fd[0] != "control"):
                path = f"/1.0/operations/{operation['id']}/websocket?secret={secret}"
                connecting = unix_connect(
                    str(api.socket),
                    f"ws://daemon{path}",
                    open_timeout=max(0.1, deadline - time.monotonic()),
                    close_timeout=0.2,
                    compression=None,
                    max_size=None,
                    ping_interval=None,
                    proxy=None,
                )
                sockets[name] = stack.enter_context(connecting)
        except TimeoutError:
            yield None
            return
        except (OSError, WebSocketException) as error:
            raise LabError(f"the daemon did not open a command's streams: {error}") from error
        yield sockets


def _started(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def _feed(socket: ClientConnection, stdin: bytes) -> None:
    try:
        for at in range(0, len(stdin), CHUNK):
            socket.send(stdin[at : at + CHUNK])
        socket.send("")
    except (WebSocketException, OSError):
        return  # the command ended without reading all of it, which is its right


def _await(api: Api, operation: str, deadline: float) -> Json | None:
    left = max(0.05, deadline - time.monotonic())
    try:
        done: Json = api.get(
            f"/1.0/operations/{operation}/wait", timeout=left, query_timeout=math.ceil(left) + 1
        )
    except NoAnswer:
        return None
    return done if done["status_code"] >= 200 else None


def _kill(control: ClientConnection) -> None:
    try:
        control.send(json.dumps({"command": "signal", "signal": 9}))
    except (WebSocketException, OSError):
        return


def _status(done: Json | None) -> tuple[int | None, bytes]:
    if done is None:
        return None, b""
    ended = (done.get("metadata") or {}).get("return")
    if ended is None:
        raise LabError(f"the daemon could not run the command: {done.get('err') or done['status']}")
    return int(ended), str(done.get("err") or "").encode()
