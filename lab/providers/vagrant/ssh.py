"""Run a command on a machine by SSH, with a deadline that holds and a status that is the command's own.

ssh's own status cannot be told from the command's, and neither ends what a command leaves behind.  So a
few lines of shell go along: on standard error they say when the command begins, as which process, and
how it ended; the words are taken out again here.
"""

import os
import re
import secrets
import shlex
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from lab.errors import LabError
from lab.machine import OUTPUT_CAP, Result
from lab.providers.commands import ENVIRONMENT, MARK
from lab.providers.vagrant.connection import Connection, Silent
from lab.providers.vagrant.process import end_group

DRAIN = 2.0  # seconds granted to output still on its way when ssh has ended
GRACE = 3.0  # seconds granted to a loaded machine to end what the deadline cut
KILLED = 128 + 9
OF_SSH = 255
CHUNK = 1 << 16
PLAIN = ("-T", "-o", "ControlMaster=no")  # no terminal; through the master, or directly if it is gone
LONGEST_MARK = 64
MOST = 100_000  # Linux takes no single argument beyond 128 KiB, and ssh sends all of them as one

# The command has the mark in its environment, and with it all that it starts; the shell around it has
# not, so that it can still tell the status when everything marked is killed.  `timeout` is the last
# resort, for when this host is gone.
_RUNNER = """\
cd /root 2>/dev/null || cd /
mark=$1 limit=$2
shift 2
timeout -s KILL "$limit" env -i {environment} {name}="$mark" \
sh -c 'echo "$1 begun $$" >&2; shift; exec "$@"' sh "$mark" "$@"
echo "$mark ended $?" >&2
"""
# Twice, for what was being started meanwhile; stopped first, so that nobody goes on when a child is gone.
# All are named before the first is killed: the kernel ends a stopped group whose leader's parent is gone.
_ENDER = """\
for turn in 1 2; do
  found=$(grep -lszFx -e "$1" /proc/[0-9]*/environ)
  for each in $found; do process=${each%/environ}; kill -STOP "${process#/proc/}"; done
  for each in $found; do
    process=${each%/environ}
    printf '%s ' "${process#/proc/}"; tr '\\0' ' ' <"$process/cmdline"; echo
  done
  for each in $found; do process=${each%/environ}; kill -KILL "${process#/proc/}"; done
done 2>/dev/null
"""


def execute(connection: Connection, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Result:
    """Run `argv` as root; at the deadline it ends with all it started, and what it printed comes back.

    A command that had ended by then, and only left somebody behind who held its output open, keeps its
    status; `leftover` names who that was.  Raises `LabError` if the machine cannot be asked at all.
    """
    begun = time.monotonic()
    try:
        for first in (True, False):
            attempt = _Attempt(connection, argv, stdin, begun, begun + timeout)
            result = attempt.carry_out()
            if result is not None:
                return result
            if not (first and attempt.broken):
                raise attempt.trouble()
            connection.close()
    except Silent as error:
        silence = str(error).splitlines()[0]
    return Result(None, seconds=time.monotonic() - begun, silence=silence)


@dataclass
class _Stream:
    """What came out of one pipe, up to the cap, the marks taken out."""

    pipe: IO[bytes]
    marks: re.Pattern[bytes] | None = None
    seen: Callable[[str, int], None] = lambda word, number: None
    kept: bytearray = field(default_factory=bytearray)
    cut: int = 0
    _held: bytes = b""

    def drain(self) -> None:
        """Read to the end."""
        with suppress(OSError, ValueError):
            while chunk := os.read(self.pipe.fileno(), CHUNK):
                self._take(chunk)
        self._keep(self._held)
        self._held = b""

    def _take(self, chunk: bytes) -> None:
        if self.marks is None:
            self._keep(chunk)
            return
        text = self.marks.sub(self._noted, self._held + chunk)
        whole = max(0, len(text) - LONGEST_MARK)  # a mark may be on its way
        self._held = text[whole:]
        self._keep(text[:whole])

    def _noted(self, match: re.Match[bytes]) -> bytes:
        self.seen(match[1].decode(), int(match[2]))
        return b""

    def _keep(self, data: bytes) -> None:
        room = OUTPUT_CAP - len(self.kept)
        self.kept += data[:room]
        self.cut += max(0, len(data) - room)

    def text(self) -> bytes:
        """What was kept, and what was held back for the rest of a mark."""
        return bytes(self.kept) + self._held


@dataclass
class _Attempt:
    """One try to run the command."""

    connection: Connection
    argv: tuple[str, ...]
    stdin: bytes
    begun_at: float
    deadline: float
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    pid: int | None = None
    status: int | None = None
    ssh_status: int | None = None
    said: str = ""
    silence: str = ""

    @property
    def broken(self) -> bool:
        """Whether ssh itself failed before the command began, so that it may be tried again."""
        return self.pid is None and self.ssh_status == OF_SSH

    def carry_out(self) -> Result | None:
        """How it went, or None if the command never began or the connection broke under it."""
        with self.connection.held(self.deadline):
            process = self._start()
            try:
                return self._attend(process)
            finally:
                end_group(process, polite=0.0)

    def trouble(self) -> LabError:
        """Why there is no result."""
        words = self.said.strip()[-1000:] or f"ssh exited {self.ssh_status} without a word"
        if self.pid is None:
            return self.connection.trouble(words)
        line = shlex.join(self.argv)[:300]
        return LabError(
            f"{self.connection.where}: the connection broke while `{line}` ran: {words}",
            remedy="thwlab status shows whether the machine still runs",
        )

    def _start(self) -> "subprocess.Popen[bytes]":
        limit = max(1.0, self.deadline - time.monotonic()) + GRACE + DRAIN
        line = remote_line(self.argv, self.mark, limit, root=self.connection.is_root)
        try:
            return subprocess.Popen(
                self.connection.argv(line, options=PLAIN),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise LabError(f"{self.connection.name}: ssh cannot be run: {error.strerror}") from error

    def _attend(self, process: "subprocess.Popen[bytes]") -> Result | None:
        assert process.stdout is not None
        assert process.stderr is not None
        marks = re.compile(self.mark.encode() + rb" (begun|ended) (\d+)\n")
        out, err = _Stream(process.stdout), _Stream(process.stderr, marks, self._seen)
        readers = [_thread(out.drain), _thread(err.drain)]
        _thread(lambda: _feed(process, self.stdin))
        cut = not _ends(process, self.deadline)
        leftover = self._cut(process) if cut else ()
        for reader in readers:
            reader.join(timeout=0.2 if cut and self.status is None else DRAIN)
        self.ssh_status, self.said = process.poll(), err.text().decode(errors="replace")
        if not cut and self.status is None:
            return None
        status = None if cut and self.status == KILLED else self.status
        seconds = time.monotonic() - self.begun_at
        lost = out.cut + err.cut
        return Result(status, out.text(), err.text(), seconds, lost, leftover, self.silence)

    def _seen(self, word: str, number: int) -> None:
        if word == "begun":
            self.pid = number
        else:
            self.status = number

    def _cut(self, process: "subprocess.Popen[bytes]") -> tuple[str, ...]:
        """End the command and all that it started; the command lines of all but itself.

        Twice, for on a loaded machine it may not have begun at the first time.
        """
        found: dict[str, str] = {}
        for _ in range(2):
            ended = _end_all(self.connection, self.mark, lambda: self.pid)
            if ended is None:
                self.silence = f"{self.connection.where} did not answer by SSH within {GRACE:.0f}s after it"
                self.connection.suspect()
                break
            found = ended | found
            if _ends(process, time.monotonic() + GRACE / 3):
                break
        return tuple(found.values())


def remote_line(argv: tuple[str, ...], mark: str, limit: float, *, root: bool) -> str:
    """What the machine's login shell is given: become root, begin, tell how it ended.  Pure."""
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in ENVIRONMENT.items())
    runner = _RUNNER.format(environment=environment, name=MARK)
    become = () if root else ("sudo", "-n", "--")
    line = shlex.join([*become, "sh", "-c", runner, "sh", mark, f"{limit:.1f}", *argv])
    if len(line) > MOST:
        raise LabError(
            f"a command of {len(line)} characters is too long for one argument", remedy="pass it as stdin"
        )
    return line


def _end_all(connection: Connection, mark: str, pid: Callable[[], int | None]) -> dict[str, str] | None:
    """Kill what still runs of a command, by its mark; None from a machine that does not answer.

    The command lines of all but the command itself, by their numbers.
    """
    become = () if connection.is_root else ("sudo", "-n", "--")
    line = shlex.join([*become, "sh", "-c", _ENDER, "sh", f"{MARK}={mark}"])
    try:
        ended = subprocess.run(
            connection.argv(
                line, options=["-T", "-o", "ControlMaster=no", "-o", f"ConnectTimeout={GRACE:.0f}"]
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GRACE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if ended.returncode == OF_SSH:
        return None
    return named(ended.stdout.decode(errors="replace"), but=pid())


def named(text: str, but: int | None) -> dict[str, str]:
    """Who was ended, by number.  Pure.

    On a loaded machine one that was killed in the first turn may still be there, and named, in the second.
    """
    found: dict[str, str] = {}
    for number, _, line in (each.partition(" ") for each in text.splitlines()):
        if number != str(but):
            found.setdefault(number, line.strip())
    return found


def _ends(process: "subprocess.Popen[bytes]", deadline: float) -> bool:
    try:
        process.wait(timeout=max(0.05, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


def _thread(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def _feed(process: "subprocess.Popen[bytes]", stdin: bytes) -> None:
    assert process.stdin is not None
    with suppress(OSError, ValueError):  # the command may end without reading all of it
        process.stdin.write(stdin)
    with suppress(OSError, ValueError):
        process.stdin.close()
