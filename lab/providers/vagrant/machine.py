"""A machine that is a VM: commands by SSH, power by its hypervisor."""

import os
import time
from collections.abc import Mapping
from functools import partial

from lab.errors import LabError
from lab.machine import Machine, Result, patience
from lab.providers.vagrant.connection import Connection, OtherHostKey, Unreachable
from lab.providers.vagrant.hypervisor import OFF, PAUSED, RUNNING, SAVED, STOPPED, Hypervisor
from lab.providers.vagrant.plan import BOOT_TIMEOUT, DEFAULT_BOOT
from lab.providers.vagrant.ssh import execute
from lab.topology import Node
from lab.wait import NotYet, stretched, wait_until

TRY, LONGEST_TRY = 10.0, 60.0  # seconds for one question to a machine that boots; the latter to a slow one
CLOCK_TIMEOUT = 30.0
LATE = 1.0  # seconds that a command took, from which on it was late
BOOT_ID = "/proc/sys/kernel/random/boot_id"


class VagrantMachine(Machine):
    """A VM of the lab's.  ``domain`` is its name at the hypervisor."""

    def __init__(self, node: Node, domain: str, hypervisor: Hypervisor, connection: Connection) -> None:
        super().__init__(node)
        self.domain = domain
        self.connection = connection
        self._hypervisor = hypervisor

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:  # noqa: D102
        return self.ask(*argv, stdin=stdin, timeout=patience(timeout))

    def ask(self, *argv: str, stdin: bytes = b"", timeout: float) -> Result:
        """The same for exactly so many seconds, however slow the machine is."""
        try:
            return execute(self.connection, argv, stdin=stdin, timeout=timeout)
        except Unreachable as error:
            if plight := self.plight():
                raise Unreachable(f"{self.name} is {plight}", remedy="thwlab up") from error
            raise

    def plight(self) -> str:
        """See `Machine.plight`."""
        try:
            state = self.state()
        except LabError:
            return ""
        return "" if state == RUNNING else state or "gone"

    def pull_plug(self) -> None:
        """Cut links and power, if there is any.  Our own connection is closed after it: closing it sends."""
        if self.state() not in OFF:
            self._hypervisor.cut(self.domain)
        self.connection.close()

    def boot(self) -> None:
        """See `Machine.boot`.  One that was saved does not boot: it goes on, and its clock stood still."""
        state = self.state()
        if state == RUNNING and self._hypervisor.is_unplugged(self.domain):  # a cut that was interrupted
            self.pull_plug()
            state = STOPPED
        if state != RUNNING:
            self.connection.close()
            self._hypervisor.start(self.domain)
        self.await_boot()
        if state == SAVED:
            self.set_clock()

    def reboot(self) -> None:  # noqa: D102
        before = self.check("cat", BOOT_ID, timeout=TRY)
        self.check("systemctl", "--no-block", "reboot", timeout=TRY)
        self.await_boot(other_than=before)

    def pause(self) -> None:  # noqa: D102
        if self.state() != PAUSED:
            self._hypervisor.pause(self.domain)

    def resume(self) -> None:
        """Let it go on, its clock set: it stood still, which a container's does not."""
        if self.state() == PAUSED:
            self._hypervisor.resume(self.domain)
            self.set_clock()

    def disk_cache(self) -> str:
        """See `Machine.disk_cache`."""
        return self._hypervisor.disk_cache(self.domain)

    def set_clock(self) -> None:
        """Give it this host's time at once, instead of the minutes that time synchronisation takes.

        A slow machine is late by as long as it took to be told, and stays it: so it is told by how much.
        One that went back to a snapshot has its network a few seconds later, if it was off since.
        """
        wait_until(f"{self.name} to be told the time", self._told_time, timeout=CLOCK_TIMEOUT, every=0.5)

    def _told_time(self) -> None:
        begun = time.monotonic()
        try:
            self.check("date", "-u", "-s", f"@{time.time():.3f}", timeout=CLOCK_TIMEOUT)
        except OtherHostKey:
            raise
        except Unreachable as error:
            if self.plight():
                raise
            raise NotYet(str(error)) from error
        if time.monotonic() - begun > LATE:
            self._catch_up()

    def _catch_up(self) -> None:
        before = time.time()
        said = self.check("date", "+%s.%N", timeout=CLOCK_TIMEOUT)
        late = (before + time.time()) / 2 - float(said)
        self.check("date", "-u", "--set", f"{late:+.3f} seconds", timeout=CLOCK_TIMEOUT)

    def await_boot(self, *, other_than: str = "", timeout: float | None = None) -> None:
        """Return once its systemd takes jobs and its planned address is up; ``other_than`` is a boot's id."""
        within = boot_timeout(os.environ) if timeout is None else timeout
        wait_until(f"{self.name} to boot", partial(check_booted, self, other_than), timeout=within, every=0.5)

    def state(self) -> str | None:
        """The hypervisor's word for it this moment; None if it is not there."""
        return self._hypervisor.state(self.domain)


def boot_timeout(environ: Mapping[str, str]) -> float:
    """Seconds that a boot may take: the user's word for the first one is good for all.  Pure."""
    return float(environ.get(BOOT_TIMEOUT) or DEFAULT_BOOT)


def check_booted(machine: VagrantMachine, other_than: str = "") -> None:
    """Return if it takes jobs and has its address; `NotYet` while it may come to that; see `await_boot`."""
    script = 'cat "$2" && systemctl list-jobs >/dev/null && ip -4 -o addr show to "$1" | grep -q .'
    # Whoever is not up yet is asked anew. But an answer that is cut off means a new connection, much
    # work for an emulated machine: one that was busy starting its programs never came as far as its answer.
    within = min(stretched(TRY), LONGEST_TRY)
    try:
        seen = machine.ask("sh", "-c", script, "sh", str(machine.node.address), BOOT_ID, timeout=within)
    except OtherHostKey:
        raise
    except LabError as error:
        if machine.state() != RUNNING:
            raise
        machine.connection.close()
        raise NotYet(str(error)) from error
    if seen.timed_out:
        if plight := machine.plight():
            raise LabError(f"{machine.name} is {plight}", remedy="thwlab up")
        raise NotYet(f"no answer by SSH within {within:.0f}s")
    if other_than and seen.stdout.strip() == other_than.strip():
        machine.connection.close()
        raise NotYet("it has not gone down yet")
    if not seen.ok:
        raise NotYet(seen.stderr.strip() or f"no {machine.node.address} on any interface yet")
