"""What turns a plan into machines and removes them again."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lab.errors import LabError
from lab.machine import Machine, Platform
from lab.topology import Topology

SLOW = 4.0  # emulation begins at ten; hardware support ends at two


class Capability(StrEnum):
    """What a provider can do beyond running machines; tests and faults ask before they try."""

    SNAPSHOT = "snapshot"
    PAUSE = "pause"
    POWER_CUT = "power-cut"
    OWN_CLOCK = "own-clock"
    OWN_KERNEL = "own-kernel"
    LOSES_PAGE_CACHE = "loses-page-cache"


@dataclass(frozen=True, slots=True)
class Missing:
    """Something this host lacks, and the command that brings it."""

    what: str
    remedy: str
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one can come back to: when it was taken, by the provider's clock, and which machines have it."""

    name: str
    taken: str
    machines: tuple[str, ...]


class Gone(LabError):
    """What ran the machines was started and does not answer any more."""


class Provider(ABC):
    """Machines of one lab.  What it creates is found again by listing, not by memory."""

    name: str

    @abstractmethod
    def preflight(self, topology: Topology) -> list[Missing]:
        """Everything that is missing on this host, at once; creates nothing."""

    @abstractmethod
    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        """Have in the cache whatever `create` makes machines of; tells the report what takes time."""

    @abstractmethod
    def create(self, topology: Topology, names: Sequence[str]) -> None:
        """Have these machines running; additive and idempotent."""

    @abstractmethod
    def attach(self, topology: Topology) -> Mapping[str, Machine]:
        """The machines that exist, by name."""

    @abstractmethod
    def states(self) -> Mapping[str, str]:
        """Every machine that was created, by name: running, stopped, paused, or the provider's own word.

        Raises `Gone` if they were created and nothing runs them any more.
        """

    @abstractmethod
    def is_there(self) -> bool:
        """Whether anything of this lab exists, by the provider's own listing."""

    def insist_ours(self) -> None:
        """Raise `LabError` if what is called as this lab's was begun by another user, or from another folder.

        Only where a hypervisor or daemon has labs of several: nothing to say for one of the lab's own.
        """
        return

    @abstractmethod
    def destroy(self) -> None:
        """Remove everything this lab ever created, also after a SIGKILL; harmless when there is nothing."""

    @abstractmethod
    def snapshot(self, name: str) -> None:
        """Pause all machines, take a snapshot of each, resume.  One that failed leaves no part of it."""

    @abstractmethod
    def snapshots(self) -> list[Snapshot]:
        """Every snapshot there is, by the provider's own listing, oldest first."""

    @abstractmethod
    def forget_snapshot(self, name: str) -> None:
        """Delete a snapshot of all machines; harmless where one has none of that name."""

    @abstractmethod
    def restore(self, name: str) -> None:
        """Bring all machines back to the snapshot, running."""

    @abstractmethod
    def host_argv(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on this host but inside the lab's network."""

    @abstractmethod
    def reach(self, machine: str, port: int) -> tuple[str, int]:
        """Where the machine's port answers this host: at its own address, else at a forwarder on loopback."""

    @property
    def slowness(self) -> float:
        """How many times longer its machines compute than this host, as measured when they were made."""
        return 1.0

    @property
    def is_measured(self) -> bool:
        """Whether `slowness` is known already; else it is once there are machines."""
        return True

    @property
    def is_slow(self) -> bool:
        """Whether starting everything at once would starve what is in the middle of an election."""
        return self.slowness >= SLOW

    @property
    def ends_with_boot(self) -> bool:
        """Whether this host's next boot finds no machine; else they are only off, and `create` boots them."""
        return False

    @property
    def is_furnished(self) -> bool:
        """Whether its machines come with programs, packages and images; else a stage brings them."""
        return True

    @property
    @abstractmethod
    def platform(self) -> Platform:
        """What its machines run on."""

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """What it can do here."""
