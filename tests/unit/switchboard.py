"""The wires between VirtualBox' NAT and the guests: a port of this host for each VM that runs, to an sshd.

A VM that is off refuses, one that is paused or `mute` accepts and says nothing.  The sshd is one for all, so
each connection is written down under its port: that tells `fake_guest` which VM is meant.
"""

import json
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fake_vms import World

TICK = 0.02


@dataclass
class Switchboard:
    """Follows the pretended host's state until it is closed."""

    world: World
    guests: Path
    sshd: int
    _open: dict[int, socket.socket] = field(default_factory=dict)
    _end: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self) -> None:
        while not self._end.wait(TICK):
            self._shut_down()
            wanted = dict(self._wanted())
            for port in set(self._open) - set(wanted):
                self._open.pop(port).close()
            for port, name in wanted.items():
                if port not in self._open:
                    self._open[port] = socket.create_server(("127.0.0.1", port))
                    self._spawn(self._answer, self._open[port], name)
        for each in self._open.values():
            each.close()

    def close(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _spawn(self, work: Any, *args: Any) -> None:
        self._threads.append(threading.Thread(target=work, args=args, daemon=True))
        self._threads[-1].start()

    def _wanted(self) -> Iterator[tuple[int, str]]:
        for name, vm in self.world.vms.items():
            if vm["state"] in ("running", "paused"):
                for rule in vm["forwards"].values():
                    yield int(rule.split(",")[3]), name

    def _shut_down(self) -> None:
        """A guest that was told to shut down is off."""
        for mark in self.guests.glob("*/off"):
            mark.unlink()
            with self.world.locked() as facts:
                facts["vms"][mark.parent.name]["state"] = "poweroff"

    def _answer(self, listener: socket.socket, name: str) -> None:
        with suppress(OSError):
            while not self._end.is_set():
                if select.select([listener], [], [], TICK)[0]:
                    self._spawn(self._carry, listener.accept()[0], name)

    def _carry(self, client: socket.socket, name: str) -> None:
        boots = self.world.vms[name]["boots"]
        with client, socket.socket() as guest, suppress(OSError):
            guest.bind(("127.0.0.1", 0))
            (self.guests / "lines" / str(guest.getsockname()[1])).write_text(json.dumps([name, boots]))
            guest.connect(("127.0.0.1", self.sshd))
            while not self._end.is_set():
                vm = self.world.vms.get(name)
                if vm is None or vm["state"] in ("poweroff", "saved") or vm["boots"] != boots:
                    return
                if vm["state"] == "paused" or name in self.world.load().get("mute", ()):
                    time.sleep(TICK)
                    continue
                for ready in select.select([client, guest], [], [], 0.1)[0]:
                    data = ready.recv(1 << 16)
                    if not data:
                        return
                    (guest if ready is client else client).sendall(data)


@contextmanager
def wired(world: World, guests: Path, sshd: int) -> Iterator[None]:
    (guests / "lines").mkdir(exist_ok=True)
    board = Switchboard(world, guests, sshd)
    board._spawn(board.run)
    try:
        yield
    finally:
        board.close()
