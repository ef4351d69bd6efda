"""The wires between VirtualBox' NAT and the guests: a port of this host for each VM that runs, to an sshd.

A VM that is off refuses, one that is paused or `mute` accepts and says nothing.  The sshd is one for all, so
each connection is written down under its port: that tells `fake_guest` which VM is meant.
"""

import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_vms import World

TICK = 0.05


@dataclass
class Line:
    """The port of one VM's that runs, and the connections through it."""

    name: str
    boots: int
    listener: socket.socket
    through: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        for each in (self.listener, *self.through):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@dataclass
class Switchboard:
    """Follows the pretended host's state: a VM's port listens before anybody can see that it runs."""

    world: World
    guests: Path
    sshd: int
    _lines: dict[int, Line] = field(default_factory=dict)
    _changing: threading.Lock = field(default_factory=threading.Lock)
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._end.wait(TICK):
            self._shut_down()

    def follow(self, facts: Mapping[str, Any]) -> None:
        """Have a line for each VM that is on in these facts, as it booted last, and for no other."""
        wanted = {port: (name, vm["boots"]) for name, vm in facts["vms"].items() for port in ports_of(vm)}
        with self._changing:
            for port, line in list(self._lines.items()):
                if wanted.get(port) != (line.name, line.boots):
                    self._lines.pop(port).close()
            for port in wanted.keys() - self._lines.keys():
                self._open(port, *wanted[port])

    def close(self) -> None:
        self._end.set()

    def _open(self, port: int, name: str, boots: int) -> None:
        try:
            listener = socket.create_server(("127.0.0.1", port))
        except OSError as error:  # whoever tells of the VM's state takes an OSError for a caller who has gone
            raise RuntimeError(f"port {port}, which leads to {name}, is another's: {error}") from error
        made = self._lines[port] = Line(name, boots, listener)
        in_background(self._answer, made)

    def _is_silent(self, line: Line) -> bool:
        """Asked for each piece that is to pass: who has paused it expects not one more."""
        facts = self.world.load()
        return facts["vms"].get(line.name, {}).get("state") == "paused" or line.name in facts.get("mute", ())

    def _shut_down(self) -> None:
        """A guest that was told to shut down is off."""
        for mark in self.guests.glob("*/off"):
            mark.unlink()
            with self.world.locked() as facts:
                facts["vms"][mark.parent.name]["state"] = "poweroff"

    def _answer(self, line: Line) -> None:
        with suppress(OSError):  # closed
            while True:
                in_background(self._carry, line, line.listener.accept()[0])

    def _carry(self, line: Line, client: socket.socket) -> None:
        with client, socket.socket() as guest, suppress(OSError):
            guest.bind(("127.0.0.1", 0))
            note = self.guests / "lines" / str(guest.getsockname()[1])
            note.write_text(json.dumps([line.name, line.boots]))
            guest.connect(("127.0.0.1", self.sshd))
            line.through += [client, guest]
            while True:
                for ready in select.select([client, guest], [], [])[0]:
                    while self._is_silent(line):
                        time.sleep(TICK)
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    (guest if ready is client else client).sendall(data)


def ports_of(vm: dict[str, Any]) -> Iterator[int]:
    """Ports of this host that lead to it, as long as it is on."""
    if vm["state"] in ("running", "paused"):
        yield from (int(rule.split(",")[3]) for rule in vm["forwards"].values())


def in_background(work: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=args, daemon=True)
    thread.start()
    return thread


@contextmanager
def wired(world: World, guests: Path, sshd: int) -> Iterator[None]:
    (guests / "lines").mkdir(exist_ok=True)
    board = Switchboard(world, guests, sshd)
    world.before = board.follow
    running = in_background(board.run)
    try:
        yield
    finally:
        board.close()
        running.join(timeout=5)
        world.before = lambda _: None
        board.follow({"vms": {}})
