"""What Vagrant cannot do with a VM, asked of its hypervisor: power cuts, pauses, coherent snapshots."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.providers.vagrant.process import Call, carry_out
from lab.providers.vagrant.troubles import ProgramFailed

RUNNING, PAUSED, STOPPED, SAVED = "running", "paused", "stopped", "saved"
OFF = (STOPPED, SAVED)  # no processor works, nothing is in memory; what is saved goes on where it was
ASK, ACT, SNAPSHOT = 20.0, 60.0, 300.0  # seconds


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot of one VM, and when it was taken, in UTC."""

    name: str
    at: str


@dataclass(frozen=True, slots=True)
class Belonging:
    """What a hypervisor keeps beside a VM and may keep without one; ``place`` is a disk's pool."""

    name: str
    place: str = ""

    @property
    def is_disk(self) -> bool:
        """Or else a network."""
        return bool(self.place)


class Hypervisor(ABC):
    """VMs by name, as they are this moment: every answer is read anew, every call has a deadline."""

    name: str  # Vagrant's word for the provider
    parallel: bool  # whether Vagrant may bring up several at once

    def __init__(self, log: Path | None = None) -> None:
        self._log = log

    @abstractmethod
    def states(self) -> Mapping[str, str]:
        """Every VM there is, of whoever, with its state: running, paused, stopped, saved, or its own word."""

    @abstractmethod
    def start(self, domain: str) -> None:
        """Switch on what is off; what is saved goes on, with the clock that it had."""

    @abstractmethod
    def cut(self, domain: str) -> None:
        """Take the links away, then the power: the guest can tell nobody."""

    @abstractmethod
    def is_unplugged(self, domain: str) -> bool:
        """Whether it runs without a link, as `cut` leaves it if it is interrupted."""

    @abstractmethod
    def pause(self, domain: str) -> None:
        """Stop its processors."""

    @abstractmethod
    def resume(self, domain: str) -> None:
        """Let its processors go on."""

    @abstractmethod
    def snapshots(self, domain: str) -> list[Taken]:
        """Its snapshots, oldest first."""

    @abstractmethod
    def take(self, domain: str, name: str) -> None:
        """Take a snapshot of disk and memory of a VM that is paused and stays so."""

    @abstractmethod
    def revert(self, domain: str, name: str) -> None:
        """Go back to a snapshot, whatever it does now, and leave it paused."""

    @abstractmethod
    def forget(self, domain: str, name: str) -> None:
        """Delete a snapshot."""

    @abstractmethod
    def remove(self, domain: str) -> None:
        """Remove the VM and its disks, whatever it does now."""

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that reaches the VMs' network; by default that is this host's."""
        return list(argv)

    @property
    def network(self) -> Path | None:
        """The network namespace the VMs are in, if it is not this host's."""
        return None

    def disk_cache(self, domain: str) -> str:
        """The cache mode of its own disk; empty where the hypervisor has no word for it."""
        return ""

    def console(self, machine: str) -> Path | None:
        """The file that has what a machine's VM said while it booted; None where there is no such file."""
        return None

    def networks(self) -> Mapping[str, str]:
        """Networks that Vagrant makes and never removes, by name, with this host's address in each."""
        return {}

    def bridges(self) -> Mapping[str, str]:
        """Networks that run and have names of their own, by the interface that each has on this host."""
        return {}

    def remove_network(self, name: str) -> None:
        """Remove one of `networks` that no VM uses."""
        raise NotImplementedError(f"{self.name} removes its networks itself, {name} too")

    def belongings(self, prefix: str) -> list[Belonging]:
        """Disks and networks whose names begin so, those of VMs too; none where they end with their VM."""
        return []

    def remove_belonging(self, belonging: Belonging) -> None:
        """Remove one of `belongings` that no VM uses."""
        raise NotImplementedError(f"{self.name} keeps nothing without a VM, nor {belonging.name}")

    def shared(self, box: str) -> list[str]:
        """What Vagrant makes for all VMs of this box and never removes, in the order in which it may go."""
        return []

    def remove_shared(self, thing: str) -> bool:
        """Remove one of `shared` that nobody uses; whether it is gone."""
        raise NotImplementedError(f"{self.name} shares nothing, nor {thing}")

    def begin(self) -> None:
        """Have running whatever the VMs need beside Vagrant; harmless when it runs."""
        return

    def is_there(self) -> bool:
        """Whether it can be asked at all; False where what would run for this lab alone does not."""
        return True

    def insist_answers(self) -> None:
        """Raise `Gone` if what runs for this lab alone was started and does not answer any more."""
        return

    def end(self) -> None:
        """End whatever runs for this lab alone, once its VMs are gone."""
        return

    def state(self, domain: str) -> str | None:
        """The state of one VM; None if it is not there."""
        return self.states().get(domain)

    def _say(self, argv: Sequence[str], timeout: float = ASK) -> str:
        """Run the hypervisor's program; `ProgramFailed` if it fails or does not end."""
        call = Call(tuple(argv), timeout, log=self._log, env=self._environment())
        ended = carry_out(call)
        if ended.status != 0:
            raise ProgramFailed(call, ended, otherwise="thwlab doctor")
        return ended.out

    def _environment(self) -> Mapping[str, str] | None:
        return None


def of_prefix(states: Mapping[str, str], prefix: str) -> dict[str, str]:
    """Those whose name begins so.  Pure."""
    return {name: state for name, state in states.items() if name.startswith(prefix)}
