"""Waiting with a deadline, the only place that sleeps."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import tenacity

from lab.errors import WaitExpired

T = TypeVar("T")


_patience: ContextVar[float] = ContextVar("patience", default=float("inf"))


class NotYet(Exception):
    """Raised by a check that is still hopeful; its text says what it saw."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Let no wait in here last longer, whatever its own deadline; threads begun in here inherit it."""
    token = _patience.set(min(seconds, _patience.get()))
    try:
        yield
    finally:
        _patience.reset(token)


def wait_until(what: str, check: Callable[[], T], *, timeout: float, every: float = 0.2) -> T:
    """Call ``check`` until it stops raising `NotYet` and return its value.

    ``timeout`` and ``every`` are seconds.  The check runs at least once, and once more at the
    deadline.  Any other exception is a defect, or proof that waiting is useless, and passes
    straight through.  Raises `WaitExpired` with what was seen last.
    """
    start = time.monotonic()
    patience = min(timeout, _patience.get())

    def left() -> float:
        return start + patience - time.monotonic()

    def pause(_: tenacity.RetryCallState) -> float:
        return max(0.0, min(every, left()))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(NotYet),
        stop=lambda _: left() <= 0,
        wait=pause,
        reraise=True,
    )
    try:
        return retrying(check)
    except NotYet as seen:
        raise WaitExpired(what, time.monotonic() - start, str(seen)) from seen
