"""Faults of whole machines: power, crash, reboot, freeze.

None of them can be undone by the victim itself; whoever watches on this host does it.  In a container a power
cut keeps the page cache, and a frozen one still completes TCP handshakes; a VM does neither.
"""

import sys
from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.errors import LabError
from lab.faults import booting
from lab.faults.serving import check_machines
from lab.faults.shell import ShellFault, sh
from lab.machine import Machine, on_each
from lab.providers.base import Capability
from lab.wait import NotYet

STOPPED, PAUSED = "stopped", "paused"
ANSWER = 1.0  # seconds


@dataclass(frozen=True)
class MachineFault(ShellFault):
    """Done to all of a machine by its provider; healed by switching on what is off."""

    silences: ClassVar[bool] = True
    leaves: ClassVar[str] = STOPPED  # the state in which its victims are while it lasts

    def still_in_force(self, cluster: Cluster) -> str:
        """The provider's word: a second in which nobody answers proves no more by now."""
        states = cluster.lab.provider.states()
        if others := [
            f"{n} is {states.get(n, 'gone')}" for n in self.machines if states.get(n) != self.leaves
        ]:
            raise NotYet("; ".join(others))
        return f"{', '.join(self.machines)} still {self.leaves}"

    def heal(self, cluster: Cluster) -> None:
        """Boot what is off, in the order of `booting`; returns once commands can be run there."""
        booting.boot(cluster, self.victims(cluster))

    def check_healed(self, cluster: Cluster) -> None:
        """Every victim runs, and all that is planned on it serves."""
        check_machines(cluster, self.victims(cluster))


@dataclass(frozen=True)
class PowerCut(MachineFault):
    """The link is cut, then the power: nothing is flushed, nobody is told."""

    word: ClassVar[str] = "power-cut"

    def unavailable(self, cluster: Cluster) -> str:  # noqa: D102
        return lacks(cluster, Capability.POWER_CUT, "cut the power")

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        on_each(self.victims(cluster), lambda machine: machine.pull_plug())

    def in_force(self, cluster: Cluster) -> str:
        """The provider says that it is off, and nobody answers at its address."""
        states = cluster.lab.provider.states()
        return self.on_victims(cluster, lambda machine: _told_off(cluster, machine, states[machine.name]))


@dataclass(frozen=True)
class ColdStart(PowerCut):
    """Every machine of the lab loses its power at once, and is booted again when it is healed."""

    word: ClassVar[str] = "cold-start"

    def unavailable(self, cluster: Cluster) -> str:
        """Less than all of it would be another fault."""
        left = [node.name for node in cluster.topology.nodes if node.name not in self.machines]
        return (
            f"a cold start is of all machines, {', '.join(left)} too"
            if left
            else super().unavailable(cluster)
        )


@dataclass(frozen=True)
class Crash(MachineFault):
    """Every process ends at once and the machine is off; as its link is up, its peers get resets."""

    word: ClassVar[str] = "crash"

    def inject(self, cluster: Cluster) -> None:
        """By the victim's own kernel, which does not come to say how it ended."""
        script = _END_CONTAINER if cluster.lab.provider.platform.container else _END_VM
        on_each(self.victims(cluster), lambda machine: _last(machine, script))

    def in_force(self, cluster: Cluster) -> str:
        """The provider says that it is off, and nobody answers at its address."""
        states = cluster.lab.provider.states()
        return self.on_victims(cluster, lambda machine: _told_off(cluster, machine, states[machine.name]))


@dataclass(frozen=True)
class Reboot(MachineFault):
    """Shut down in order and booted again, as an administrator does it."""

    word: ClassVar[str] = "reboot"
    lasts: ClassVar[bool] = False
    takes: ClassVar[float] = 300.0  # an emulated VM on a busy host

    def inject(self, cluster: Cluster) -> None:
        """Returns once it is up again, for nobody but us would boot some providers' machines."""

        def act(machine: Machine) -> None:
            sh(machine, _NOTE_BOOT)
            machine.reboot()

        on_each(self.victims(cluster), act)

    def in_force(self, cluster: Cluster) -> str:
        """It runs another boot than before."""
        return self.on_victims(cluster, _told_rebooted)

    def heal(self, cluster: Cluster) -> None:  # noqa: D102
        super().heal(cluster)
        self.on_victims(cluster, lambda machine: sh(machine, f"rm -f {NOTE}"))


@dataclass(frozen=True)
class Freeze(MachineFault):
    """Every process stands still until healed."""

    word: ClassVar[str] = "freeze"
    leaves: ClassVar[str] = PAUSED

    def unavailable(self, cluster: Cluster) -> str:  # noqa: D102
        return lacks(cluster, Capability.PAUSE, "pause machines")

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        on_each(self.victims(cluster), lambda machine: machine.pause())

    def in_force(self, cluster: Cluster) -> str:
        """The provider says so, and a command there does not end."""
        states = cluster.lab.provider.states()

        def told(machine: Machine) -> str:
            if states[machine.name] != PAUSED:
                raise NotYet(f"{machine.name} is {states[machine.name]}")
            return f"{machine.name} is paused, and {_stands_still(machine)}"

        return self.on_victims(cluster, told)

    def heal(self, cluster: Cluster) -> None:
        """Let it go on."""
        on_each(self.victims(cluster), lambda machine: machine.resume())


def lacks(cluster: Cluster, capability: Capability, what: str) -> str:
    """Why the lab's provider cannot do it; empty if it can."""
    provider = cluster.lab.provider
    return "" if capability in provider.capabilities else f"provider {provider.name} cannot {what} here"


def answers_at(cluster: Cluster, machine: Machine) -> str:
    """How a connection from this host to the machine's address ends: taken, refused, or not at all."""
    address = str(machine.node.address)
    done = cluster.from_host(sys.executable, "-I", "-c", _CONNECT, address, str(ANSWER), timeout=ANSWER + 9)
    if not done.ok:
        raise LabError(f"no connection from this host can be tried: {done.stderr.strip()}")
    return done.stdout.strip()


def _told_off(cluster: Cluster, machine: Machine, state: str) -> str:
    if state != STOPPED:
        raise NotYet(f"{machine.name} is {state}")
    if (said := answers_at(cluster, machine)) != "nobody":
        raise NotYet(f"{machine.name} is stopped, but somebody at {machine.node.address} {said} connections")
    return f"{machine.name} is off, and nobody answers at {machine.node.address} within {ANSWER:.0f} s"


def _stands_still(machine: Machine) -> str:
    try:
        done = machine.run("true", timeout=ANSWER)
    except LabError as error:  # a VM's connection has a deadline of its own
        return f"cannot be asked: {error}"
    if not done.timed_out:
        raise NotYet(f"{machine.name} still runs commands")
    return f"runs no command within {ANSWER:.0f} s"


def _last(machine: Machine, script: str) -> None:
    try:
        machine.run("sh", "-c", script, timeout=10)
    except LabError:  # whoever is cut off in the middle of a sentence: that is what was asked for
        return


def _told_rebooted(machine: Machine) -> str:
    seen = machine.run("cat", NOTE, BOOT)
    before, _, now = seen.stdout.strip().partition("\n")
    if not seen.ok or not now or before == now:
        raise NotYet(f"{machine.name}: boot {now or before or seen.stderr.strip()} is the one of before")
    return f"{machine.name}: boot {now} after {before}"


BOOT = "/proc/sys/kernel/random/boot_id"
NOTE = "/var/lib/thwlab-boot"  # must outlive the boot
_NOTE_BOOT = f"cat {BOOT} >{NOTE}"
# A container's own kernel call ends its init by SIGKILL, and with it all the rest.
_END_CONTAINER = "poweroff --force --force --no-sync --no-wtmp"
# A VM's would be silent; so its processes first, but for the shell that does it and init.
_END_VM = "kill -9 -1; sleep 0.1; echo o >/proc/sysrq-trigger"
_CONNECT = """\
import socket, sys
try:
    socket.create_connection((sys.argv[1], 22), float(sys.argv[2])).close()
    print("takes")
except ConnectionRefusedError:
    print("refuses")
except OSError:
    print("nobody")
"""

FAULTS: tuple[type[MachineFault], ...] = (PowerCut, ColdStart, Crash, Reboot, Freeze)
