"""Run a command in an instance through the daemon's websockets, with a deadline that holds."""

import json
import logging
import math
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from websockets.exceptions import ConnectionClosedOK, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection, unix_connect

from lab.errors import LabError, WaitExpired
from lab.machine import OUTPUT_CAP, Result
from lab.providers.commands import ENVIRONMENT, MARK
from lab.providers.incus.api import Api, ApiError, Json, NoAnswer
from lab.wait import NotYet, wait_until

DRAIN = 2.0  # seconds granted to output still on its way when the command has ended
GRACE = 3.0  # seconds granted to a loaded machine to end what the deadline cut
ORDER = ("control", "1", "2", "0")
KILLED = 128 + 9
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


def execute(api: Api, instance: str, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Result:
    """Run `argv` as root; at the deadline it ends with all it started, and what it printed comes back.

    A command that had ended by then, and only left somebody behind who held its output open, keeps its
    status; `leftover` names who that was.
    """
    start = time.monotonic()
    command = _Command(api, instance, argv, start + timeout, secrets.token_hex(8))
    try:
        with command.started() as running:
            return _carried_out(command, running, stdin, start)
    except (NoAnswer, WaitExpired):
        return Result(None, seconds=time.monotonic() - start)


@dataclass(frozen=True, slots=True)
class _Command:
    """What is to be run, where, and until when."""

    api: Api
    instance: str
    argv: tuple[str, ...]
    deadline: float
    mark: str = ""
    patient: bool = True  # whether to wait for a frozen machine to be resumed

    @property
    def left(self) -> float:
        return max(0.05, self.deadline - time.monotonic())

    @contextmanager
    def started(self) -> Iterator[_Running]:
        """The command, running; `WaitExpired` if the machine took none before the deadline."""
        with ExitStack() as stack:
            what = f"{self.instance} to take a command"
            yield wait_until(what, lambda: self._start(stack), timeout=self.left, every=0.1)

    def _start(self, stack: ExitStack) -> _Running:
        path = f"/1.0/instances/{self.instance}/exec"
        try:
            operation = self.api.begin("POST", path, self._request(), timeout=self.left)
        except ApiError as error:
            if "frozen" in str(error):
                raise (NotYet if self.patient else NoAnswer)(str(error)) from error
            raise
        with ExitStack() as opened:
            sockets = _connected(self.api, operation, self.deadline, opened)
            stack.push(opened.pop_all())
        return _Running(operation["id"], sockets)

    def _request(self) -> Json:
        return {
            "command": list(self.argv),
            "environment": {**ENVIRONMENT, **({MARK: self.mark} if self.mark else {})},
            "wait-for-websocket": True,
            "interactive": False,
            "cwd": "/root",
        }


def _carried_out(command: _Command, running: _Running, stdin: bytes, start: float) -> Result:
    out, err = _Stream(running.sockets["1"]), _Stream(running.sockets["2"])
    readers = [_thread(out.drain), _thread(err.drain)]
    _thread(lambda: _feed(running.sockets["0"], stdin))
    leftover: tuple[str, ...] = ()
    done = _await(command.api, running.operation, command.deadline)
    cut = done is None
    if cut:
        done, leftover = _cut(command, running)
    status, said = _status(done)
    _join(readers, DRAIN if done else 0.0)
    if cut:
        running.shut()
        status = None if status == KILLED else status
    elif lost := out.broken or err.broken:
        raise LabError(f"the daemon lost output of `{shlex.join(command.argv)[:300]}`: {lost}")
    seconds = time.monotonic() - start
    kept = bytes(out.kept), bytes(err.kept) + said
    return Result(status, *kept, seconds, out.cut + err.cut, leftover)


def _cut(command: _Command, running: _Running) -> tuple[Json | None, tuple[str, ...]]:
    """End the command and what it started; how it ended, if it did, and the command lines of the rest.

    Twice, for on a loaded machine it may not have begun at the first time.
    """
    found: tuple[str, ...] = ()
    running.kill()
    for _ in range(2):
        ended = _end_all(command)
        if ended is None:
            break
        found += ended
        if done := _await(command.api, running.operation, time.monotonic() + GRACE / 3):
            return done, found
    return None, found


def _end_all(command: _Command) -> tuple[str, ...] | None:
    """Kill what still runs of a command, by its mark; the command lines of what was found.

    None from a machine that does not answer; there it happens once it does.
    """
    argv = ("sh", "-c", _END_ALL, f"{MARK}={command.mark}")
    killer = _Command(command.api, command.instance, argv, time.monotonic() + GRACE, patient=False)
    try:
        with killer.started() as running:
            out = _Stream(running.sockets["1"])
            reader = _thread(out.drain)
            done = _await(killer.api, running.operation, killer.deadline)
            _join([reader], DRAIN if done else 0.0)
            running.shut()
    except (NoAnswer, WaitExpired):
        return None
    found = bytes(out.kept).decode(errors="replace").splitlines()
    return tuple(line.strip() for line in found) if done else None


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


def _await(api: Api, operation: str, deadline: float) -> Json | None:
    """How the command ended, or None if it did not.

    Where a command could not be run LXD ends the wait with the operation, Incus with a refusal.
    """
    left = max(0.05, deadline - time.monotonic())
    path = f"/1.0/operations/{operation}"
    try:
        done: Json = api.get(f"{path}/wait", timeout=left, query_timeout=math.ceil(left) + 1)
    except NoAnswer:
        return None
    except ApiError as error:
        if error.status != 400:
            raise
        done = api.get(path, timeout=left)
    return done if done["status_code"] >= 200 else None


def _status(done: Json | None) -> tuple[int | None, bytes]:
    if done is None:
        return None, b""
    ended = (done.get("metadata") or {}).get("return")
    if ended is None:
        raise LabError(f"the daemon could not run the command: {done.get('err') or done['status']}")
    return int(ended), str(done.get("err") or "").encode()


# Twice, for what was being started meanwhile; stopped first, so that nobody goes on when a child is gone; and
# all are named before any is killed, for some end with another.
_END_ALL = """\
for turn in 1 2; do
  found=$(grep -lszFx -e "$0" /proc/[0-9]*/environ)
  for each in $found; do process=${each%/environ}; kill -STOP "${process#/proc/}"; done
  for each in $found; do tr '\\0' ' ' <"${each%/environ}/cmdline" && echo; done
  for each in $found; do process=${each%/environ}; kill -KILL "${process#/proc/}"; done
done 2>/dev/null
"""
