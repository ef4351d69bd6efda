"""A live machine: run commands as root, carry files, lose its power."""

import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from lab import transfer
from lab.background import start
from lab.errors import CommandFailed, CommandTimedOut
from lab.topology import Node
from lab.wait import NotYet, stretched

if TYPE_CHECKING:
    from lab.carrying import Load

T = TypeVar("T")
M = TypeVar("M", bound="Machine")
LONGEST = 300.0  # seconds for a command on a slow machine, unless it was given more
KERNEL, SYSTEMD = (5, 10), 247  # Debian 11's; on nothing older a lab was ever tried
OUTPUT_CAP = 8 * 1024 * 1024  # bytes kept per stream; a flood must not fill the prober's memory


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended.  Bytes are kept as they came; text shows replacement marks.

    `status` is None when the deadline cut it; `cut` counts the bytes beyond `OUTPUT_CAP` that were dropped.
    `leftover` names the processes that the deadline ended beside or after the command itself; where nobody
    waited for them, because the command had ended before, it is empty.  `silence` is how the machine failed
    to answer, where it was that and not the command which took so long.
    """

    status: int | None
    out: bytes = b""
    err: bytes = b""
    seconds: float = 0.0
    cut: int = 0
    leftover: tuple[str, ...] = ()
    silence: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.status == 0

    @property
    def timed_out(self) -> bool:
        """Whether the deadline ended it."""
        return self.status is None

    @property
    def stdout(self) -> str:
        """Standard output as text."""
        return self.out.decode(errors="replace")

    @property
    def stderr(self) -> str:
        """Standard error as text."""
        return self.err.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class File:
    """A file a machine must have.  Its content may be a secret and is not shown."""

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644


class Substrate(StrEnum):
    """What a machine is made of.  A container shares its host's kernel, clock and page cache."""

    CONTAINER = "container"
    VM = "vm"


@dataclass(frozen=True, slots=True)
class Platform:
    """What the machines run on, as far as a component's files depend on it."""

    substrate: Substrate
    cgroup: int  # 1 or 2

    @property
    def container(self) -> bool:
        """Whether machines share the host's kernel."""
        return self.substrate is Substrate.CONTAINER


_NOTHING: Mapping[str, Sequence[File]] = {}


class Machine(ABC):
    """One planned node, alive.  Every call has a deadline of its own, also against a paused machine."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.name = node.name
        self.touched: dict[str, set[str]] = {}  # files changed here, and who has been told of it since
        self.load: Load | None = None  # what it is about to need, while a bring-up is at work

    @abstractmethod
    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        """Run a command as root and report how it ended; a non-zero status is an answer, not an error.

        ``timeout`` is in seconds, where machines are slow as `patience` has it; at the deadline the partial
        output comes back with status None.
        Whether a command that ended is waited for until nobody holds its output open is the provider's
        affair: what must not outlive it, it has to end itself, and what shall outlive it has to print
        elsewhere.  Raises `LabError` if the machine cannot be asked, or if output was lost.
        """

    @abstractmethod
    def pull_plug(self) -> None:
        """Cut the link, then the power: nothing is flushed, nobody is told, no FIN or RST leaves."""

    @abstractmethod
    def boot(self) -> None:
        """Switch on what is off and return once commands can be run; harmless when it is on."""

    @abstractmethod
    def reboot(self) -> None:
        """Shut down in order, boot again, and return once commands can be run."""

    @abstractmethod
    def pause(self) -> None:
        """Freeze every process; the machine answers nothing until `resume`."""

    @abstractmethod
    def resume(self) -> None:
        """Undo `pause`; harmless when it is not paused."""

    def plight(self) -> str:
        """Why it cannot answer now, by whoever runs it: paused, stopped, gone; empty if it runs.

        Also where nobody can tell: it is asked for the sake of messages.
        """
        return ""

    def disk_cache(self) -> str:
        """How writes of its disk reach this host's, in its hypervisor's word; empty where nobody can tell."""
        return ""

    def overdue(self, result: Result, command: str, seconds: float, printed: str) -> CommandTimedOut:
        """The error of a command that its deadline ended, with what is the matter with the machine."""
        return CommandTimedOut(
            self.name, command, seconds, printed, plight=self.plight(), seen=result.silence
        )

    def check(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> str:
        """Run a command that must succeed and return what it printed."""
        result = self.run(*argv, stdin=stdin, timeout=timeout)
        self._insist(result, shlex.join(argv), timeout)
        return result.stdout

    def apply(self, files: Sequence[File], *, timeout: float = 60) -> frozenset[str]:
        """Make the files have this content and mode; the paths that had to change.

        One stream for all of them; each is written beside its place and renamed over it.
        """
        return self.carry(files, timeout=timeout).written

    def carry(
        self,
        files: Sequence[File],
        lacking: Mapping[str, Sequence[File]] = _NOTHING,
        *,
        look: Sequence[str] = (),
        timeout: float = 60,
    ) -> transfer.Carried:
        """`apply`, and in the same stream those in ``lacking`` where nothing stands yet.

        They are given by the path for whose sake they come: where that stands, they are left, and so is what
        cannot be written of them.  Where a machine's report is lost it is asked again, and what was written
        meanwhile counts.  ``look`` is a command that is run at the end where not every file had to be
        written: a round trip less than to run it apart.  It must end with status 0.
        """
        stream, count = transfer.stream(files, lacking)
        if not count:
            return transfer.Carried()
        result = transfer.receive(lambda argv: self.run(*argv, stdin=stream, timeout=timeout), look)
        self._insist(result, f"python3 -c (receive {count} files)", timeout)
        return transfer.report(result.stdout)

    def _insist(self, result: Result, command: str, timeout: float) -> None:
        if result.timed_out:
            raise self.overdue(result, command, patience(timeout), result.stdout + result.stderr)
        if result.status != 0:
            raise CommandFailed(self.name, command, result.status or 0, result.stderr or result.stdout)


def on_each(machines: Sequence[M], act: Callable[[M], T]) -> dict[str, T]:
    """Act on all machines at once.  Every one is tried; the failures come back together.

    Where all that failed are only `NotYet` so far, one `NotYet` says what each saw.
    """
    tasks = {machine.name: start(partial(act, machine), machine.name) for machine in machines}
    failures = [error for task in tasks.values() if (error := task.exception())]
    if len(failures) == 1:
        raise failures[0]
    if failures and all(isinstance(each, NotYet) for each in failures):
        raise NotYet("; ".join(str(each) for each in failures))
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(tasks)} machines failed", failures)
    return {name: task.result() for name, task in tasks.items()}


def patience(timeout: float) -> float:
    """Seconds for a command on a machine: as `lab.wait.stretch` says, but no more than `LONGEST`."""
    return max(timeout, min(LONGEST, stretched(timeout)))
