"""What commands leave behind is put away in the background: their logs, and who still writes to them."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab import background
from lab.errors import LabError
from lab.machine import OUTPUT_CAP
from lab.providers.incus.command import GRACE, Command, await_end
from lab.providers.incus.ending import end_all
from lab.providers.incus.logs import Logs

LOOK = 1.0  # seconds between two looks; who writes less than once in them fills no disk
LAST = GRACE  # seconds that the end of this process may be held up
log = logging.getLogger(__name__)


@dataclass(eq=False)
class Remnant:
    """A command, what is known of it, and when to look after it."""

    command: Command
    operation: str = ""  # of one whose begin was never answered nothing but its mark is known
    logs: Logs | None = None
    size: int | None = None  # of its logs when it had ended; None as long as it may run
    due: float = 0.0

    def ended(self, size: int, *, alone: bool) -> None:
        """With so much in its logs; if it may have left somebody behind, that one has a moment to show."""
        self.size = size
        self.due = 0.0 if alone else time.monotonic() + LOOK

    def settle(self, *, last: bool) -> bool:
        """End who has no right to go on and delete the logs; false if there is still somebody to wait for.

        A command that may still run has no right, nor has whoever it left behind and who still writes to
        its log: up to `OUTPUT_CAP` until the deadline, and nothing at the `last` look.
        """
        if self.logs and self.size is not None:
            grown = self.logs.size() - self.size
            if grown <= 0:
                self.logs.delete()
                return True
            if grown <= OUTPUT_CAP and time.monotonic() < self.command.deadline and not last:
                return False
        if end_all(self.command, self.operation) is None or self._runs():
            return False
        if self.logs:
            self.logs.delete()
        return True

    def _runs(self) -> bool:
        if self.size is not None or not self.operation:
            return False
        return await_end(self.command.api, self.operation, time.monotonic() + LOOK) is None


class Sweeper:
    """One thread that is there as long as there is something to do."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[Remnant] = set()
        self._left: list[Remnant] = []
        self._thread: threading.Thread | None = None
        self._closing = False

    @contextmanager
    def following(self, remnant: Remnant) -> Iterator[None]:
        """Look after a command once the block is over, or this process is."""
        with self._changed:
            self._running.add(remnant)
        try:
            yield
        finally:
            with self._changed:
                if remnant in self._running:
                    self._running.remove(remnant)
                    self._put(remnant)

    def forget(self, remnant: Remnant) -> None:
        """The command never began."""
        with self._changed:
            self._running.discard(remnant)

    def close(self) -> None:
        """End what runs and put away what is left, all at once and once each; within `LAST` seconds."""
        end = time.monotonic() + LAST
        with self._changed:
            self._closing = True
            for each in self._running:
                self._put(each)
            for each in self._left:
                each.due = 0.0
            self._changed.notify()
            helpers = [threading.Thread(target=self._work, daemon=True) for _ in self._left]
            busy = [self._thread] if self._thread else []
        for thread in helpers:
            thread.start()
        for thread in busy + helpers:
            thread.join(max(0.0, end - time.monotonic()))

    def _put(self, remnant: Remnant) -> None:
        if remnant not in self._left:
            self._left.append(remnant)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sweeper", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _work(self) -> None:
        while remnant := self._next():
            try:
                settled = remnant.settle(last=self._closing)
            except LabError as error:  # the machine or the daemon is gone, and all of it with them
                log.debug("%s: what a command left: %s", remnant.command.instance, error)
                settled = True
                if remnant.logs:
                    remnant.logs.delete()
            if not settled and not self._closing:
                with self._changed:
                    remnant.due = time.monotonic() + LOOK
                    self._left.append(remnant)

    def _next(self) -> Remnant | None:
        with self._changed:
            while self._left:
                first = min(self._left, key=lambda each: each.due)
                wait = first.due - time.monotonic()
                if wait <= 0:
                    self._left.remove(first)
                    return first
                self._changed.wait(wait)
            self._thread = None
            return None


SWEEPER = Sweeper()
background.at_end(SWEEPER.close)
