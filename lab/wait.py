"""Waiting with a deadline, the only place that sleeps."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import tenacity

from lab.errors import FAILURES, WaitExpired, flat

T = TypeVar("T")


MOST = 20.0  # times: a part that is broken must turn red on any machine
PAUSE = 2.0  # seconds
SILENCE = 15.0  # seconds of waiting until a word is said about it
_patience: ContextVar[float] = ContextVar("patience", default=float("inf"))
_slowness = [1.0]  # of this process' lab; a run has one


class NotYet(Exception):
    """Raised by a check that is still hopeful; its text says what it saw."""


@contextmanager
def hopeful() -> Iterator[None]:
    """What fails in here may succeed later, so it is `NotYet`, with the same text."""
    try:
        yield
    except FAILURES as error:
        raise NotYet(flat(error)) from error


def stretch(slowness: float) -> None:
    """From now on let every wait of this process last so many times longer, 1 to `MOST`.

    For machines that compute slowly.  Deadlines of waits alone: what a verdict is measured by stays as it is.
    """
    _slowness[0] = min(MOST, max(1.0, slowness))


def stretched(seconds: float) -> float:
    """How long a wait of so many seconds may last with this process' lab."""
    return seconds * _slowness[0]


def shortened(seconds: float) -> float:
    """How long a slow machine may be kept busy with questions, where others could be for so many seconds."""
    return seconds / _slowness[0]


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Let no wait in here last longer, whatever its own deadline; threads begun in here inherit it."""
    token = _patience.set(min(stretched(seconds), _patience.get()))
    try:
        yield
    finally:
        _patience.reset(token)


class _Word:
    """What is waited for, said by whoever waits, but by all together no more than once in a while."""

    def __init__(self, tell: Callable[[str], None], silence: float) -> None:
        self._tell = tell
        self._silence = silence
        self._lock = threading.Lock()
        self._next = 0.0

    def say(self, what: str, waited: float, seen: str) -> None:
        with self._lock:
            now = time.monotonic()
            if waited < self._silence or now < self._next:
                return
            self._next = now + self._silence
        self._tell(f"  ...    waiting {waited:.0f} s for {what}: {seen}")


_word: ContextVar[_Word | None] = ContextVar("word", default=None)


@contextmanager
def telling(tell: Callable[[str], None], *, silence: float = SILENCE) -> Iterator[None]:
    """Have every wait in here that lasts say what it waits for and what it saw last.

    One line in ``silence`` seconds, of whichever wait comes first; threads begun in here inherit it, and an
    inner block takes the place of an outer one.  ``tell`` is called by the thread that waits.
    """
    token = _word.set(_Word(tell, silence))
    try:
        yield
    finally:
        _word.reset(token)


def dwell(seconds: float, check: Callable[[], None], *, every: float = 0.25) -> None:
    """Let so many seconds pass, exactly as many on slow machines too, while ``check`` goes on to succeed.

    For phases that have a length of their own; whatever the check raises ends it.
    """
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(max(0.0, min(every, left, end - time.monotonic())))


def wait_until(
    what: str, check: Callable[[], T], *, timeout: float, every: float = 0.2, exactly: bool = False
) -> T:
    """Call ``check`` until it stops raising `NotYet` and return its value.

    ``timeout`` and ``every`` are seconds, both as `stretch` says, for what is asked takes processor time
    from what is waited for; but no pause is lengthened to more than `PAUSE`.  With ``exactly`` they are as
    they stand, for what no machine of the lab has to do with.  The check runs at least once,
    and once more at the deadline.  Any other exception is a defect, or proof that waiting is useless, and
    passes straight through.  Raises `WaitExpired` with what was seen last.
    """
    start = time.monotonic()
    patience = min(timeout if exactly else stretched(timeout), _patience.get())
    rest = every if exactly else max(every, min(stretched(every), PAUSE))

    def left() -> float:
        return start + patience - time.monotonic()

    def pause(_: tenacity.RetryCallState) -> float:
        return max(0.0, min(rest, left()))

    def say(tried: tenacity.RetryCallState) -> None:
        if (word := _word.get()) and tried.outcome:
            seen = str(tried.outcome.exception()).strip().partition("\n")[0]
            word.say(what, time.monotonic() - start, seen)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(NotYet),
        stop=lambda _: left() <= 0,
        wait=pause,
        before_sleep=say,
        reraise=True,
    )
    try:
        return retrying(check)
    except NotYet as seen:
        raise WaitExpired(what, time.monotonic() - start, str(seen)) from seen
