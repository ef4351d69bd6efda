"""A program on this host with a deadline that holds: its output goes to a log line by line."""

import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import IO

from lab.background import at_end
from lab.errors import LabError
from lab.providers.vagrant import strays

OUT_CAP = 4 * 1024 * 1024
LONGEST = 1 << 16  # bytes read of a line at once
TAIL = 30  # lines of an error; the log has all of them
DRAIN = 1.0  # seconds for output still on its way; a daemon the program started may hold it open for ever
TRACEBACK = re.compile(r"\s*/\S+\.rb:\d+:in [`']")  # of Ruby; it pushes out the words that help
POLITE = 2.0  # seconds between asking it to end and killing it
_at_work: set["subprocess.Popen[bytes]"] = set()


@dataclass(frozen=True, slots=True)
class Call:
    """What to run, how and for how long.  The environment may hold secrets and is not shown.

    `log` is written where its folder is: a lab is there as long as its folder is, and a question makes none.
    `noted` is a folder that tells of it while it runs, for whoever comes after us if we are killed.
    """

    argv: Sequence[str]
    timeout: float
    log: Path | None = None
    cwd: Path | None = None
    env: Mapping[str, str] | None = field(default=None, repr=False)
    noted: Path | None = None

    @property
    def line(self) -> str:
        """The command as one can paste it."""
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended; `status` is None if the deadline ended it.  `tail` are its last lines of both."""

    status: int | None
    out: str
    tail: str
    seconds: float


def carry_out(call: Call) -> Ended:
    """Run the program in a process group of its own; at the deadline, or on Ctrl-C, all of that group ends.

    Returns when the program itself has ended, even if a daemon that it started holds its output open.
    """
    begun = time.monotonic()
    process = _start(call)
    _promise()
    _at_work.add(process)
    told: Path | None = None
    try:
        told = strays.note(call.noted, process.pid) if call.noted else None
        said = _Said(call)
        readers = [said.listen(process.stdout, keep=True), said.listen(process.stderr, keep=False)]
        status: int | None = process.wait(timeout=call.timeout)
    except subprocess.TimeoutExpired:
        status = None
    finally:
        end_group(process)
        _at_work.discard(process)
        if told:
            told.unlink(missing_ok=True)
    for reader in readers:
        reader.join(timeout=DRAIN)
    seconds = time.monotonic() - begun
    said.close(status, seconds)
    return Ended(status, said.out, said.tail, seconds)


@cache
def _promise() -> None:
    """Once: whoever ends this process ends what it has at work, also where no `finally` comes to its turn."""
    at_end(_end_all)


def _end_all() -> None:
    for process in tuple(_at_work):
        end_group(process)


def end_group(process: "subprocess.Popen[bytes]", polite: float = POLITE) -> None:
    """End a process that leads its group, and the group: asked first, killed after `polite` seconds."""
    if process.poll() is not None:
        return
    for number, patience in ((signal.SIGTERM, polite), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=patience)
        except ProcessLookupError:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
    _kill_rest(process.pid)


def _kill_rest(group: int) -> None:
    """A leader that ended may have left members of its group behind."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _start(call: Call) -> "subprocess.Popen[bytes]":
    try:
        return subprocess.Popen(
            list(call.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=call.cwd,
            env=None if call.env is None else dict(call.env),
            start_new_session=True,
        )
    except OSError as error:
        raise LabError(f"`{call.line}` cannot be run: {error.strerror}", remedy="thwlab doctor") from error


class _Said:
    """What a program prints, as it prints it."""

    def __init__(self, call: Call) -> None:
        self._lock = threading.Lock()
        self._kept = bytearray()
        self._last: deque[str] = deque(maxlen=TAIL)
        self._log = _opened(call.log)
        self._write(f"$ {call.line}\n")

    @property
    def out(self) -> str:
        with self._lock:
            return self._kept.decode(errors="replace")

    @property
    def tail(self) -> str:
        with self._lock:
            return "\n".join(self._last)

    def listen(self, stream: IO[bytes] | None, *, keep: bool) -> threading.Thread:
        """Begin to read, in a thread that keeps nobody from ending."""
        thread = threading.Thread(target=self._drain, args=(stream, keep), daemon=True)
        thread.start()
        return thread

    def close(self, status: int | None, seconds: float) -> None:
        """The last line of the log."""
        how = "killed at its deadline" if status is None else f"exited {status}"
        self._write(f"# {how} after {seconds:.1f}s\n")
        with self._lock:
            log, self._log = self._log, None
        if log:
            log.close()

    def _drain(self, stream: IO[bytes], keep: bool) -> None:
        with stream:
            for line in iter(partial(stream.readline, LONGEST), b""):
                self._take(line, keep)

    def _take(self, line: bytes, keep: bool) -> None:
        text = line.decode(errors="replace")
        with self._lock:
            if keep and len(self._kept) < OUT_CAP:
                self._kept += line
            if text.strip() and not TRACEBACK.match(text):
                self._last.append(text.rstrip()[:500])
        self._write(text if text.endswith("\n") else text + "\n")

    def _write(self, text: str) -> None:
        with self._lock:
            if self._log:
                self._log.write(text)


def _opened(log: Path | None) -> IO[str] | None:
    if log is None or not log.parent.is_dir():
        return None
    return log.open("a", buffering=1, encoding="utf-8")
