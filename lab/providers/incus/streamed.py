"""Run a command through the daemon's websockets, which alone carry its input."""

import json
import logging
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, unix_connect

from lab.errors import LabError, OutputLost
from lab.machine import OUTPUT_CAP, Result
from lab.providers.incus.api import Api, Json
from lab.providers.incus.command import KILLED, STREAMED, Command, await_end, status_of
from lab.providers.incus.ending import cut
from lab.wait import NotYet, wait_until

DRAIN = 2.0  # seconds granted to output still on its way when the command has ended
ORDER = ("control", "1", "2", "0")
CHUNK = 1 << 16
# A stream that is shut in the middle of a message is no news to anybody.
_QUIET = logging.getLogger(f"{__name__}.streams")
_QUIET.setLevel(logging.CRITICAL + 1)


@dataclass
class _Stream:
    """What came out of one descriptor, up to the cap."""

    socket: ClientConnection
    kept: bytearray = field(default_factory=bytearray)
    cut: int = 0
    broken: str = ""

    def drain(self) -> None:
        """Read to the daemon's end mark, an empty text message; without one, `broken` says what came."""
        try:
            while isinstance(message := self.socket.recv(), bytes):
                room = OUTPUT_CAP - len(self.kept)
                self.kept += message[:room]
                self.cut += max(0, len(message) - room)
        except ConnectionClosedOK:
            return
        except (WebSocketException, OSError, EOFError) as error:
            self.broken = str(error) or type(error).__name__


@dataclass
class _Running:
    """A command of the daemon's and the four sockets to it."""

    operation: str
    sockets: dict[str, ClientConnection]

    def kill(self) -> None:
        """Ask the daemon to end the command's own process; nobody waits for an answer."""
        with suppress(WebSocketException, OSError):
            self.sockets["control"].send(json.dumps({"command": "signal", "signal": 9}))

    def shut(self) -> None:
        """Wake whoever reads or writes; a polite close would wait for a writer that is stuck."""
        for each in self.sockets.values():
            with suppress(OSError):
                each.socket.shutdown(socket.SHUT_RDWR)


def run(command: Command, stdin: bytes) -> Result:
    """Run it with this input.

    The daemon takes it for ended when nobody holds its output open any more.  A command that had ended by
    the deadline, and only left somebody behind who did, keeps its status; `leftover` names who that was.
    LXD 5.0 drops a stream now and then: a command that ended by itself raises `OutputLost` then.
    """
    start = time.monotonic()
    with _started(command) as running:
        return _carried_out(command, running, stdin, start)


@contextmanager
def _started(command: Command) -> Iterator[_Running]:
    """The command, running; `WaitExpired` if the machine took none before the deadline."""
    with ExitStack() as stack:
        what = f"{command.instance} to take a command"
        yield wait_until(what, lambda: _start(command, stack), timeout=command.left, every=0.1)


def _start(command: Command, stack: ExitStack) -> _Running:
    operation = command.begin(STREAMED, timeout=command.left)
    with ExitStack() as opened:
        sockets = _connected(command.api, operation, command.deadline, opened)
        stack.push(opened.pop_all())
    return _Running(operation["id"], sockets)


def _carried_out(command: Command, running: _Running, stdin: bytes, start: float) -> Result:
    out, err = _Stream(running.sockets["1"]), _Stream(running.sockets["2"])
    readers = [_thread(out.drain), _thread(err.drain)]
    _thread(lambda: _feed(running.sockets["0"], stdin))
    leftover: tuple[str, ...] = ()
    done = await_end(command.api, running.operation, command.deadline)
    late = done is None
    if late:
        running.kill()
        done, leftover = cut(command, running.operation)
    status, said = status_of(done)
    _join(readers, DRAIN if done else 0.0)
    if late:
        running.shut()
        status = None if status == KILLED else status
    elif lost := out.broken or err.broken:
        raise OutputLost(f"the daemon lost output of `{shlex.join(command.argv)[:300]}`: {lost}")
    seconds = time.monotonic() - start
    kept = bytes(out.kept), bytes(err.kept) + said
    return Result(status, *kept, seconds, out.cut + err.cut, leftover)


def _connected(api: Api, operation: Json, deadline: float, stack: ExitStack) -> dict[str, ClientConnection]:
    """The four sockets of a command; it starts once the last of them is open.

    The control socket comes first: a quick command would be over before it, were it the last.  Its input
    comes last: the daemon starts at the last of 0, 1 and 2, and drops what one that is just opening should
    have got.  It gives a loaded host five seconds for all of them, and has started nothing if it refuses one.
    """
    fds = operation["metadata"]["fds"]
    sockets = {}
    try:
        for name in sorted(fds, key=ORDER.index):
            path = f"/1.0/operations/{operation['id']}/websocket?secret={fds[name]}"
            connecting = unix_connect(
                str(api.socket),
                f"ws://daemon{path}",
                open_timeout=max(0.1, deadline - time.monotonic()),
                close_timeout=0.2,
                compression=None,
                max_size=None,
                ping_interval=None,
                proxy=None,
                logger=_QUIET,
            )
            sockets[name] = stack.enter_context(connecting)
    except (TimeoutError, InvalidStatus) as error:
        raise NotYet(f"the daemon did not open a command's streams: {error}") from error
    except (OSError, WebSocketException) as error:
        raise LabError(f"the daemon did not open a command's streams: {error}") from error
    return sockets


def _thread(work: object) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)  # type: ignore[arg-type]
    thread.start()
    return thread


def _join(threads: list[threading.Thread], seconds: float) -> None:
    for thread in threads:
        thread.join(timeout=seconds)


def _feed(socket: ClientConnection, stdin: bytes) -> None:
    try:
        for at in range(0, len(stdin), CHUNK):
            socket.send(stdin[at : at + CHUNK])
        socket.send("")
    except (WebSocketException, OSError):
        return  # the command ended without reading all of it, which is its right
