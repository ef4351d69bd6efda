"""Locks on files: shared or alone, with a deadline; the kernel ends them with their process.

A lock's file may be removed, but only by who holds it alone, and whoever gets a lock looks whether the
file it has locked is still the one at the path.  Otherwise two processes could hold "the" lock at once, one
of them on a file that nobody finds any more.
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from lab.wait import NotYet, wait_until

EVERY = 0.05


def take(
    path: Path,
    what: str,
    *,
    timeout: float,
    shared: bool = False,
    note: str = "",
    waiting: Callable[[str], None] | None = None,
) -> int:
    """The descriptor that holds the lock until it is closed.  Raises `WaitExpired` with who has it.

    ``note`` is what others are told meanwhile.  ``waiting`` is called once if the lock is not to be had
    at once, with the note of whoever has it.
    """
    told = waiting is None

    def look() -> int:
        nonlocal told
        descriptor = attempt(path, shared=shared)
        if descriptor is not None:
            return descriptor
        seen = noted(path)
        if waiting is not None and not told:
            told = True
            waiting(seen)
        raise NotYet(seen)

    descriptor = wait_until(what, look, timeout=timeout, every=EVERY, exactly=True)
    _write(descriptor, note)
    return descriptor


def attempt(path: Path, *, shared: bool = False) -> int | None:
    """One try: the descriptor that holds the lock, or None while another has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        if not locked(descriptor, shared=shared):
            os.close(descriptor)
            return None
        if is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def locked(descriptor: int, *, shared: bool = False) -> bool:
    """Lock this very file without waiting; False while another has it."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(descriptor: int, path: Path) -> bool:
    """Whether the open file is the one at the path, and not one that was removed or replaced."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def is_held(path: Path) -> bool:
    """Whether anybody has the lock, shared or alone; makes no file.  Who asks at the same time counts too."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not locked(descriptor)
    finally:
        os.close(descriptor)


def noted(path: Path) -> str:
    """What whoever has the lock wants others to know; empty if nothing."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def release(descriptor: int) -> None:
    """Give the lock back; the note goes with it."""
    _write(descriptor, "")
    os.close(descriptor)


def clear_away(path: Path) -> None:
    """Remove the lock's file unless somebody has the lock."""
    if not path.exists():
        return
    descriptor = attempt(path)
    if descriptor is not None:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
