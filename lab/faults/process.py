"""Faults of one program: killed once, killed and held down, ended in order, stopped in the middle."""

from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.faults.base import Fault, Script
from lab.machine import Machine
from lab.wait import NotYet

COMMAND = 10.0  # seconds for a command on a victim


@dataclass(frozen=True)
class ProcessFault(Fault):
    """Something done to a systemd unit on each victim.  `unit` is its name without `.service`."""

    unit: str

    def undo(self) -> tuple[Script, ...]:
        """Let it start, and start it."""
        return tuple(Script(name, _UNDO.format(unit=self.unit)) for name in self.machines)

    def heal(self, cluster: Cluster) -> None:
        """Let it start, and start it; a stopped one goes on."""
        for script in self.undo():
            cluster.machines[script.machine].check("sh", "-c", script.text, timeout=60)

    def check_healed(self, cluster: Cluster) -> None:
        """The unit is active, its processes run, and nothing forbids its next start."""
        for machine in self._victims(cluster):
            seen = _seen(machine, self.unit)
            if seen["active"] != "active" or seen["held"] != "0" or seen["stopped"] != "0":
                raise NotYet(f"{machine.name}: {self.unit} is {_told(seen)}")

    def _victims(self, cluster: Cluster) -> list[Machine]:
        return [cluster.machines[name] for name in self.machines]

    def _on_each(self, cluster: Cluster, script: str) -> None:
        for machine in self._victims(cluster):
            machine.check("sh", "-c", script.format(unit=self.unit), timeout=COMMAND)


@dataclass(frozen=True)
class Kill(ProcessFault):
    """SIGKILL once; systemd starts it again by itself."""

    word: ClassVar[str] = "kill"
    lasts: ClassVar[bool] = False

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self._on_each(cluster, _MARK + "systemctl kill --kill-whom=main --signal=KILL {unit}")

    def in_force(self, cluster: Cluster) -> str:  # noqa: D102
        return _replaced(self._victims(cluster), self.unit)


@dataclass(frozen=True)
class Restart(ProcessFault):
    """Stopped in order and started again, as an administrator does it."""

    word: ClassVar[str] = "restart"
    lasts: ClassVar[bool] = False

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self._on_each(cluster, _MARK + "systemctl restart --no-block {unit}")

    def in_force(self, cluster: Cluster) -> str:  # noqa: D102
        return _replaced(self._victims(cluster), self.unit)


@dataclass(frozen=True)
class KillAndHold(ProcessFault):
    """SIGKILL, and kept from starting until healed: its sockets close at once, new ones are refused."""

    word: ClassVar[str] = "kill-and-hold"

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self._on_each(cluster, _HOLD + _KILL)

    def in_force(self, cluster: Cluster) -> str:  # noqa: D102
        return _is_down(self._victims(cluster), self.unit)


@dataclass(frozen=True)
class Terminate(ProcessFault):
    """Stopped in order, and kept from starting until healed."""

    word: ClassVar[str] = "terminate"

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self._on_each(cluster, _HOLD + "systemctl stop --no-block {unit}")

    def in_force(self, cluster: Cluster) -> str:  # noqa: D102
        return _is_down(self._victims(cluster), self.unit)


@dataclass(frozen=True)
class Stop(ProcessFault):
    """SIGSTOP to all its processes: the kernel still completes TCP handshakes, nobody answers."""

    word: ClassVar[str] = "stop"

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self._on_each(cluster, "systemctl kill --kill-whom=all --signal=STOP {unit}")

    def in_force(self, cluster: Cluster) -> str:  # noqa: D102
        told = []
        for machine in self._victims(cluster):
            seen = _seen(machine, self.unit)
            if seen["stopped"] == "0" or seen["running"] != "0":
                raise NotYet(f"{machine.name}: {self.unit} is {_told(seen)}")
            told.append(f"{machine.name}: {seen['stopped']} processes of {self.unit} stopped, none runs")
        return "; ".join(told)


def _replaced(machines: list[Machine], unit: str) -> str:
    """That the process of before is gone; whether a new one is there is for `check_healed`."""
    told = []
    for machine in machines:
        before = machine.check("cat", f"/run/thwlab-main-{unit}", timeout=COMMAND).strip()
        seen = _seen(machine, unit)
        if before in ("", "0"):
            raise NotYet(f"{machine.name}: {unit} had no process to begin with")
        if seen["pid"] == before:
            raise NotYet(f"{machine.name}: {unit} still runs as pid {before}")
        told.append(f"{machine.name}: pid {before} of {unit} is gone, {_told(seen)}")
    return "; ".join(told)


def _is_down(machines: list[Machine], unit: str) -> str:
    told = []
    for machine in machines:
        seen = _seen(machine, unit)
        if seen["held"] == "0" or seen["running"] != "0":
            raise NotYet(f"{machine.name}: {unit} is {_told(seen)}")
        told.append(f"{machine.name}: {unit} has no process and may not start")
    return "; ".join(told)


def _seen(machine: Machine, unit: str) -> dict[str, str]:
    """What systemd and the kernel say of the unit."""
    words = machine.check("sh", "-c", _SEE, "sh", unit, timeout=COMMAND).split()
    return dict(zip(("held", "active", "pid", "running", "stopped"), words, strict=True))


def _told(seen: dict[str, str]) -> str:
    held = "kept from starting, " if seen["held"] != "0" else ""
    return f"{held}{seen['active']}, {seen['running']} processes run and {seen['stopped']} are stopped"


# What was the main process before, for the proof that it is not any more.
_MARK = "systemctl show --property=MainPID --value {unit} >/run/thwlab-main-{unit}; "
# Forbidden first, else systemd starts it again between the two.  A runtime mask would not do: it gives way to
# a unit below /etc, where the guide has them.  A condition that fails leaves the unit inactive, not failed.
_HOLD = """\
dropins=/run/systemd/system/{unit}.service.d
mkdir -p $dropins
printf '[Unit]\\nConditionPathExists=/thwlab-holds-it-down\\n' >$dropins/thwlab-hold.conf
systemctl daemon-reload
"""
_KILL = """\
systemctl kill --kill-whom=all --signal=KILL {unit} 2>/dev/null
systemctl stop --no-block {unit}
"""
_UNDO = """\
systemctl kill --kill-whom=all --signal=CONT {unit} 2>/dev/null
dropins=/run/systemd/system/{unit}.service.d
if test -e $dropins/thwlab-hold.conf; then
  rm -f $dropins/thwlab-hold.conf
  rmdir --ignore-fail-on-non-empty $dropins
  systemctl daemon-reload
fi
systemctl reset-failed {unit} 2>/dev/null
rm -f /run/thwlab-main-{unit}
systemctl start --no-block {unit}
"""
_SEE = r"""
show() { systemctl show --property="$1" --value "$2"; }
group=$(show ControlGroup "$1"); run=0; stop=0
for where in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
  test -n "$group" && test -f "$where$group/cgroup.procs" || continue
  for pid in $(cat "$where$group/cgroup.procs"); do
    case "$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null)" in
      T*) stop=$((stop + 1));; Z*|'') ;; *) run=$((run + 1));;
    esac
  done
  break
done
held=0; test -e "/run/systemd/system/$1.service.d/thwlab-hold.conf" && held=1
echo $held "$(show ActiveState "$1")" "$(show MainPID "$1")" $run $stop
"""

FAULTS: tuple[type[ProcessFault], ...] = (Kill, Restart, KillAndHold, Terminate, Stop)
