"""All files of a machine in one go: whoever is first to bring it some carries those of the others along."""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from lab.machine import File, Machine

_RUNNING = ("sh", "-c", "systemctl list-units --state=active --plain --full --no-legend | cut -d' ' -f 1")


@dataclass(frozen=True, slots=True)
class Cargo:
    """What a machine is about to need.  `lacking`, by the path of the unit that reads it, is for new units.

    A unit that is there may run, and whoever gives it a file must tell it at once: if we are killed in
    between, nobody would know any more that it has to be told.
    """

    freely: Sequence[File] = ()
    lacking: Mapping[str, Sequence[File]] = field(default_factory=dict)


@dataclass(eq=False)
class Load:
    """One machine's cargo in one attempt of bring-up, made up by ``pack`` when the first one comes.

    What is right by then is not sent again in this attempt.  It is safe for several threads.  ``running``
    are units that were active then, where all was right already; each of them asked apart takes 0.2 s.
    """

    machine: Machine
    pack: Callable[[], Cargo]
    running: frozenset[str] = frozenset()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _right: "Future[Mapping[str, File]] | None" = None

    def bring(self, own: Sequence[File]) -> None:
        """Have these files on the machine; what was changed for it is noted in its `touched`.

        Who comes while the first one is at it waits for him, and fails as he does.
        """
        with self._lock:
            first = self._right is None
            right = self._right = self._right or Future()
        if first:
            self._carry(own, right)
            return
        there = right.result()
        if rest := [file for file in own if there.get(file.path) != file]:
            self._note(self.machine.apply(rest))

    def _carry(self, own: Sequence[File], right: "Future[Mapping[str, File]]") -> None:
        try:
            cargo = self.pack()
            files = {file.path: file for file in (*cargo.freely, *own)}
            lacking = {file.path: file for more in cargo.lacking.values() for file in more}
            written, left = self.machine.carry([*files.values()], cargo.lacking)
            self._note(written)
            if not written:
                self.running = frozenset(self.machine.run(*_RUNNING).stdout.split())
            right.set_result({path: file for path, file in (lacking | files).items() if path not in left})
        except BaseException as error:
            with self._lock:
                self._right = None  # the next one tries for himself
            right.set_exception(error)
            raise

    def _note(self, written: frozenset[str]) -> None:
        self.machine.touched |= {path: set() for path in written}
