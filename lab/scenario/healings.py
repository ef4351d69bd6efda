"""The healings of a run: each in a thread of its own that waits for its moment, whatever else is done."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from threading import Event

from lab.background import start
from lab.wait import dwell


@dataclass
class Healings:
    """By the clock `now`, in seconds, such as the recorder's."""

    now: Callable[[], float]
    _appointed: list[tuple[float, Future[None]]] = field(default_factory=list)
    _off: Event = field(default_factory=Event)

    def appoint(self, due: float, heal: Callable[[], None], what: str) -> None:
        """Have it healed at that moment; returns at once."""
        self._appointed.append((due, start(partial(self._at_last, due, heal), f"healing {what}")))

    def await_due(self) -> None:
        """Return once all are done whose moment has come; what went wrong with any is raised."""
        while begun := [task for due, task in self._appointed if due <= self.now() and not task.done()]:
            wait(begun)
        _insist_well([task for _, task in self._appointed if task.done()])

    def await_all(self, check: Callable[[], None]) -> None:
        """The same for all of them; until their moments have come ``check`` goes on to succeed."""
        for due, _ in self._appointed:
            dwell(due - self.now(), check)
        self.await_due()

    @contextmanager
    def ended(self) -> Iterator[None]:
        """Leave no healing at work, whatever happens in here: who heals the rest must not meet one.

        Those whose moment has not come are called off.  What went wrong is not raised: their debts remain.
        """
        try:
            yield
        finally:
            self._off.set()
            wait([task for _, task in self._appointed])

    def _at_last(self, due: float, heal: Callable[[], None]) -> None:
        if not self._off.wait(max(0.0, due - self.now())):
            heal()


def _insist_well(healings: Sequence[Future[None]]) -> None:
    """Raise what went wrong with any, of several together."""
    failures = [error for each in healings if (error := each.exception())]
    if len(failures) > 1:
        raise BaseExceptionGroup(f"{len(failures)} healings failed", failures)
    for error in failures:
        raise error
