"""Faults of one program: killed once, killed and held down, ended in order, stopped in the middle."""

from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.faults import pods, units
from lab.faults.base import Script
from lab.faults.pods import COREDNS
from lab.faults.serving import check_unit
from lab.faults.shell import LONG, ShellFault, age_of, sh
from lab.faults.units import BALANCER
from lab.machine import Machine
from lab.wait import NotYet

UNITS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "containerd",
    BALANCER,
    COREDNS,
)


@dataclass(frozen=True)
class ProcessFault(ShellFault):
    """Something done to one program on each victim.

    `unit` is a systemd unit without its `.service`, or `load-balancer` for whichever program is one, or
    `coredns` for the process in a pod.
    """

    unit: str

    def unavailable(self, cluster: Cluster) -> str:
        """A program that is not on the victim, or cannot be treated like this."""
        if self._in_pod:
            return "" if self.word in pods.SCRIPTS else f"a pod's process cannot be told to {self.word}"
        asked = self._head + units.IS_THERE
        lacking = [machine.name for machine in self.victims(cluster) if not machine.run("sh", "-c", asked).ok]
        return f"no unit {self.unit} on {', '.join(lacking)}" if lacking else ""

    def mending(self) -> tuple[Script, ...]:
        """Let it start, and start it; a stopped one goes on."""
        text = pods.UNDO if self._in_pod else self._head + units.UNDO
        return tuple(Script(name, text) for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        script = (pods if self._in_pod else units).SCRIPTS[self.word]
        self.on_victims(cluster, lambda machine: self.script(machine, script))

    def script(self, machine: Machine, text: str, *args: str) -> str:
        """Run a script that knows what program it is about; what it printed."""
        return sh(machine, self._head + text, *args, timeout=LONG)

    def heal(self, cluster: Cluster) -> None:
        """What the victims would do; a pod that its kubelet makes wait is made anew at once."""
        super().heal(cluster)
        if self._in_pod:
            pods.replace_waiting(cluster, self.machines)

    def check_healed(self, cluster: Cluster) -> None:
        """It runs, nothing forbids its next start, and it answers."""
        self.on_victims(cluster, self._told_running)
        if self._in_pod:
            pods.check_serving(cluster)
            return
        for machine in self.victims(cluster):
            check_unit(cluster, machine, self.script(machine, 'echo "$unit"').strip())

    def seen(self, machine: Machine) -> dict[str, str]:
        """What systemd, or the node, and the kernel say of it; `before` is its main process as noted."""
        words = self.script(machine, (pods if self._in_pod else units).SEE).split()
        return dict(zip(("held", "active", "pid", "running", "stopped", "before"), words, strict=True))

    def ended(self, cluster: Cluster) -> str:
        """For how long a main process has been running; of one that was only let go on nobody tells."""

        def told(machine: Machine) -> str:
            pid = self.seen(machine)["pid"]
            return f"pid {pid} has run for {age_of(machine, pid)} s" if pid != "0" else ""

        return self.on_victims(cluster, told)

    @property
    def _in_pod(self) -> bool:
        return self.unit == COREDNS

    @property
    def _head(self) -> str:
        return pods.HEAD if self._in_pod else units.head(self.unit)

    def _told_running(self, machine: Machine) -> str:
        seen = self.seen(machine)
        if seen["active"] != "active" or seen["held"] != "0" or seen["stopped"] != "0":
            raise NotYet(f"{machine.name}: {self.unit} is {_told(seen)}")
        return ""


@dataclass(frozen=True)
class _Replaced(ProcessFault):
    """Done once, and proven by a main process that is not the one of before."""

    lasts: ClassVar[bool] = False

    def in_force(self, cluster: Cluster) -> str:
        """The process of before is gone; whether a new one is there is for `check_healed`."""
        return self.on_victims(cluster, self._told_replaced)

    def _told_replaced(self, machine: Machine) -> str:
        seen = self.seen(machine)
        if seen["before"] == "0":
            raise NotYet(f"{machine.name}: {self.unit} had no process to begin with")
        if seen["pid"] == seen["before"]:
            raise NotYet(f"{machine.name}: {self.unit} still runs as pid {seen['pid']}")
        return f"{machine.name}: pid {seen['before']} of {self.unit} is gone, {_told(seen)}"


@dataclass(frozen=True)
class Kill(_Replaced):
    """SIGKILL once; it is started again as its unit, or its kubelet, says."""

    word: ClassVar[str] = "kill"


@dataclass(frozen=True)
class Restart(_Replaced):
    """Stopped in order and started again, as an administrator does it."""

    word: ClassVar[str] = "restart"


@dataclass(frozen=True)
class _Held(ProcessFault):
    """Without a process until healed."""

    def in_force(self, cluster: Cluster) -> str:
        """Its main process is gone, and none may come."""
        return self.on_victims(cluster, self._told_down)

    def still_in_force(self, cluster: Cluster) -> str:
        """The same; in a pod whoever comes is ended too, but may take seconds for that."""
        return self.on_victims(cluster, self._told_kept) if self._in_pod else self.in_force(cluster)

    def _told_kept(self, machine: Machine) -> str:
        seen = self.seen(machine)
        if seen["held"] != "1":
            raise NotYet(f"{machine.name}: {self.unit} is {_told(seen)}")
        return f"{machine.name}: {self.unit} is {_told(seen)}"

    def _told_down(self, machine: Machine) -> str:
        seen = self.seen(machine)
        ended = seen["active"] in ("inactive", "failed") and seen["pid"] == "0"
        if seen["held"] == "0" or not ended:
            raise NotYet(f"{machine.name}: {self.unit} is {_told(seen)}")
        left = f"; {seen['running']} children outlive it" if seen["running"] != "0" else ""
        return f"{machine.name}: {self.unit} has no main process and may not start{left}"


@dataclass(frozen=True)
class KillAndHold(_Held):
    """SIGKILL, and kept from starting until healed: its sockets close at once, new ones are refused."""

    word: ClassVar[str] = "kill-and-hold"


@dataclass(frozen=True)
class Terminate(_Held):
    """Stopped in order, and kept from starting until healed."""

    word: ClassVar[str] = "terminate"


@dataclass(frozen=True)
class Stop(ProcessFault):
    """SIGSTOP to all its processes: the kernel still completes TCP handshakes, nobody answers."""

    word: ClassVar[str] = "stop"

    def in_force(self, cluster: Cluster) -> str:
        """All of its processes are stopped, and there are some."""
        return self.on_victims(cluster, self._told_stopped)

    def _told_stopped(self, machine: Machine) -> str:
        seen = self.seen(machine)
        if seen["stopped"] == "0" or seen["running"] != "0":
            raise NotYet(f"{machine.name}: {self.unit} is {_told(seen)}")
        return f"{machine.name}: {seen['stopped']} processes of {self.unit} stopped, none runs"


@dataclass(frozen=True)
class Reload(ProcessFault):
    """Told to read its configuration again, `times` times, each once the workers of the one before came."""

    word: ClassVar[str] = "reload"
    lasts: ClassVar[bool] = False
    takes: ClassVar[float] = LONG

    times: int = 1

    def unavailable(self, cluster: Cluster) -> str:
        """A program that can only be restarted."""
        if reason := super().unavailable(cluster):
            return reason
        asked = self._head + units.CAN_RELOAD
        unable = [machine.name for machine in self.victims(cluster) if not machine.run("sh", "-c", asked).ok]
        return f"{self.unit} on {', '.join(unable)} cannot be reloaded" if unable else ""

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        text, times = units.SCRIPTS[self.word], str(self.times)
        self.on_victims(cluster, lambda machine: self.script(machine, text, times))

    def in_force(self, cluster: Cluster) -> str:
        """Its main process is the same, and others are not."""
        return self.on_victims(cluster, self._told_reloaded)

    def _told_reloaded(self, machine: Machine) -> str:
        now, _, before = self.script(machine, units.SEE_WORKERS).strip().partition("\n")
        main, _, workers = now.partition(":")
        main_before, _, workers_before = before.partition(":")
        fresh = set(workers.split()) - set(workers_before.split())
        if not fresh or main != main_before:
            raise NotYet(f"{machine.name}: {self.unit} runs as {now!r}, before as {before!r}")
        told = f"{len(fresh)} new workers after {self.times} reloads, and pid {main} stayed"
        return f"{machine.name}: {self.unit} has {told}"


def _told(seen: dict[str, str]) -> str:
    held = "kept from starting, " if seen["held"] != "0" else ""
    return f"{held}{seen['active']}, {seen['running']} processes run and {seen['stopped']} are stopped"


FAULTS: tuple[type[ProcessFault], ...] = (Kill, Restart, KillAndHold, Terminate, Stop, Reload)
