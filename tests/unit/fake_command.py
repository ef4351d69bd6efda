"""A command as the stand-in daemon runs it: prints, perhaps reads, ends by itself or when it is killed.

Without input its output is recorded in files, with input it goes through streams.
"""

import json
import threading
from collections.abc import Callable
from typing import Any

from fake_daemon import Asked, Daemon, Silence, WebSocket, begun, done, ok, refused

from lab.machine import Result
from lab.providers.incus.api import Api
from lab.providers.incus.execute import execute

FDS = {"0": "in", "1": "out", "2": "err", "control": "ctl"}
EXEC, WAIT, STREAM = (
    "POST /1.0/instances/a/exec",
    "GET /1.0/operations/op/wait",
    "GET /1.0/operations/op/websocket",
)
LXD, INCUS = "/1.0/instances/a/logs", "/1.0/instances/a/logs/exec-output"


class Command:
    """`hangs`: until it is killed.  `leaves`: the command lines that whoever ends it finds beside it."""

    def __init__(
        self, out: bytes = b"", err: bytes = b"", status: int = 0, *, hangs: bool = False, leaves: str = ""
    ) -> None:
        self.out, self.err, self.status, self.hangs = out, err, status, hangs
        self.leaves = leaves
        self.folder = LXD
        self.read = b""
        self.signals: list[int] = []
        self.ended_by: list[list[str]] = []
        self.over = threading.Event()
        self.opened: list[str] = []
        self.fed = threading.Event()
        self.deleted: list[str] = []

    # -- what the daemon answers -----------------------------------------------------------------

    def place(self, daemon: Daemon) -> None:
        daemon.replies |= {EXEC: self.begin, WAIT: self.wait, STREAM: self.talk}
        daemon.replies["GET /1.0/operations/end/wait"] = self.recorded("end", 0)
        for name, content in self.files().items():
            daemon.replies[f"GET {name}"] = content
            daemon.replies[f"DELETE {name}"] = self.delete

    def files(self) -> dict[str, Callable[[Asked], bytes]]:
        return {
            f"{self.folder}/exec_op.stdout": lambda _: self.out,
            f"{self.folder}/exec_op.stderr": lambda _: self.err,
            f"{self.folder}/exec_end.stdout": lambda _: self.leaves.encode(),
            f"{self.folder}/exec_end.stderr": lambda _: b"",
        }

    def delete(self, asked: Asked) -> dict[str, object]:
        self.deleted.append(asked.path)
        return ok()

    def begin(self, asked: Asked) -> dict[str, object]:
        if "THWLAB_COMMAND" in asked.body["environment"]:
            return begun("op", fds=FDS)
        self.ended_by.append(asked.body["command"])
        self.kill()
        return begun("end")

    def wait(self, asked: Asked) -> dict[str, object]:
        if self.hangs and not self.over.is_set():
            self.over.wait(float(asked.query["timeout"]))
        if not self.over.is_set() and self.hangs:
            return done(103, "Running")
        return self.recorded("op", self.status)

    def recorded(self, operation: str, status: int) -> dict[str, object]:
        paths = {"1": f"{self.folder}/exec_{operation}.stdout", "2": f"{self.folder}/exec_{operation}.stderr"}
        return done(200, **{"return": status, "output": paths})

    # -- streams ---------------------------------------------------------------------------------

    def talk(self, stream: WebSocket) -> None:
        self.opened.append(stream.secret)
        {"in": self.feed, "out": self.print(self.out), "err": self.print(self.err), "ctl": self.control}[
            stream.secret
        ](stream)

    def print(self, text: bytes) -> Callable[[WebSocket], None]:
        def send(stream: WebSocket) -> None:
            for at in range(0, len(text), 40_000):
                stream.send(text[at : at + 40_000])
            if self.hangs:
                self.over.wait(10)
            stream.send("")

        return send

    def feed(self, stream: WebSocket) -> None:
        while isinstance(message := stream.recv(), bytes):
            self.read += message
        self.fed.set()
        self.over.wait(10)

    def control(self, stream: WebSocket) -> None:
        while isinstance(message := stream.recv(), str):
            self.signals.append(json.loads(message)["signal"])
            self.kill()

    def kill(self) -> None:
        if self.hangs and not self.over.is_set():
            self.status = 137
        self.over.set()


def run(daemon: Daemon, command: Command, *argv: str, stdin: bytes = b"", timeout: float = 10) -> Result:
    command.place(daemon)
    try:
        return execute(Api(daemon.socket, "p"), "a", argv or ("cat", "a b"), stdin=stdin, timeout=timeout)
    finally:
        command.over.set()


def silent(_: Asked) -> Any:
    raise Silence


def frozen(_: Asked) -> dict[str, object]:
    return refused(400, "Instance is frozen")
