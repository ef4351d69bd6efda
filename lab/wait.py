"""Waiting with a deadline, the only place that sleeps."""

import time
from collections.abc import Callable
from typing import TypeVar

import tenacity

from lab.errors import WaitExpired

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a check that is still hopeful; its text says what it saw."""


def wait_until(what: str, check: Callable[[], T], *, timeout: float, every: float = 0.2) -> T:
    """Call ``check`` until it stops raising `NotYet` and return its value.

    ``timeout`` and ``every`` are seconds.  The check runs at least once, and once more at the
    deadline.  Any other exception is a defect, or proof that waiting is useless, and passes
    straight through.  Raises `WaitExpired` with what was seen last.
    """
    start = time.monotonic()

    def left() -> float:
        return start + timeout - time.monotonic()

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
