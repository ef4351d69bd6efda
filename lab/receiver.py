"""Receives files on a machine: ``python3 -c TEXT SECONDS [LOOK]`` with the stream of `lab.transfer` as input.

It runs there with Debian's python3-minimal, of Python 3.9 or later, which has neither json nor tarfile; and
what it imports is there at each start already, for on a slow machine more would take longer than the files.
Paths stay bytes: the machine's locale has no say in them.

The stream has a line for each file, an empty one, and then the contents.  A line is a word, the mode in
octal, the size in bytes and the path.  The word is `any`: whatever stands there; or `none`: only where
nothing does, then with the paths, in hexadecimal, one of which is enough to leave it.  SECONDS is for how
long others like it may have been at this before it, whose reports were lost, or 0: what was changed since is
told.  The report has each path that was written after a plus, each that is not right and was left after a
minus, and a zero behind each.  LOOK is a command that this becomes in the end, after one zero more, unless
every file was written.
"""

from __future__ import annotations

import os
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


class Planned:
    """A line of the list."""

    def __init__(self, line: bytes) -> None:
        word, mode, size, self.path = line.split(b" ", 3)
        may, *self.sakes = word.split(b":")
        self.anyway = may == b"any"
        self.mode, self.size = int(mode, 8), int(size)


def main(recent: float, look: list[str], stream: BinaryIO, out: BinaryIO) -> None:
    """Write what is to be written and report it; exits with a message where the stream ends too early."""
    words = list(received(recent, stream, out))
    if look and any(word != b"+" for word in words):
        out.write(b"\0")
        out.flush()
        os.execvp(look[0], look)


def received(recent: float, stream: BinaryIO, out: BinaryIO) -> Iterator[bytes]:
    """The word of each file, once that is written and reported."""
    began = time.time() - recent if recent else float("inf")
    plan = list(listed(stream))
    there = {sake for each in plan for sake in each.sakes if os.path.lexists(bytes.fromhex(sake.decode()))}
    for each in plan:
        new = stream.read(each.size)
        if len(new) != each.size:
            sys.exit("stream ended inside " + ascii(each.path))
        if word := had(each, new, there, began):
            out.write(word + each.path + b"\0")
        yield word


def listed(stream: BinaryIO) -> Iterator[Planned]:
    """All lines of the list."""
    for line in iter(stream.readline, b"\n"):
        if not line.endswith(b"\n"):
            sys.exit("stream ended inside its list")
        yield Planned(line[:-1])


def had(planned: Planned, new: bytes, there: set[bytes], began: float) -> bytes:
    """Have the file on this machine, if it may be; the word that tells of it, or nothing."""
    since = right_since(planned, new)
    if since is not None:
        return b"+" if since >= began else b""
    if planned.anyway:
        write(planned, new)
        return b"+"
    if os.path.lexists(planned.path) or not there.isdisjoint(planned.sakes):
        return b"-"
    try:
        write(planned, new)
    except OSError:  # whoever needs it will meet this himself, and say so
        return b"-"
    return b"+"


def right_since(planned: Planned, new: bytes) -> float | None:
    """When the file was changed last, in seconds of this machine's clock; None if it is not right."""
    try:
        with open(planned.path, "rb") as file:
            old = file.read()
        found = os.lstat(planned.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        if planned.anyway:
            raise
        return None
    is_right = old == new and stat.S_ISREG(found.st_mode) and stat.S_IMODE(found.st_mode) == planned.mode
    return found.st_ctime if is_right else None


def write(planned: Planned, new: bytes) -> None:
    """Beside its place, readable for nobody else, and renamed over it once it is whole."""
    os.makedirs(os.path.dirname(planned.path), exist_ok=True)
    part = planned.path + b".thwlab-%d" % os.getpid()
    if os.path.lexists(part):
        os.unlink(part)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(new)
    os.chmod(part, planned.mode)
    os.replace(part, planned.path)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:], sys.stdin.buffer, sys.stdout.buffer)
