"""Waiting for what the cluster owes: that it never comes is the cluster's failure, not the laboratory's."""

from collections.abc import Callable
from typing import TypeVar

from lab.errors import ClusterError, WaitExpired
from lab.wait import wait_until

T = TypeVar("T")


def eventually(what: str, check: Callable[[], T], *, timeout: float) -> T:
    """`wait_until`, whose end without result is a `ClusterError` with what was seen last."""
    try:
        return wait_until(what, check, timeout=timeout)
    except WaitExpired as expired:
        raise ClusterError(str(expired)) from expired
