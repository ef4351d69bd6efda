"""One program without the processor time it needs."""

from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.faults import units
from lab.faults.base import Percent, Script
from lab.faults.serving import check_unit
from lab.faults.shell import RUN, ShellFault, sh
from lab.machine import Machine
from lab.wait import NotYet


@dataclass(frozen=True)
class Starve(ShellFault):
    """A program gets no more than a share of one processor; the others on its machine are left alone.

    `unit`: a systemd unit without its `.service`.  `percent`: of one processor, from 1.  Where systemd has no
    hold on processor time, as in containers of a host with cgroups of version 1, its processes are put in a
    cgroup of the fault's own; one that is started anew is then free again.
    """

    word: ClassVar[str] = "starve"

    unit: str
    percent: Percent = 5.0

    def unavailable(self, cluster: Cluster) -> str:
        """A kernel that cannot bound processor time, or no such unit."""
        for machine in self.victims(cluster):
            tried = machine.run("sh", "-c", self._head + _CAN)
            if not tried.ok:
                return f"{machine.name}: {tried.stderr.strip() or f'no unit {self.unit}'}"
        return ""

    def mending(self) -> tuple[Script, ...]:
        """It may use what it likes."""
        return tuple(Script(name, self._head + _FREE) for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        percent = str(max(1, round(self.percent)))
        self.on_victims(cluster, lambda machine: sh(machine, self._head + _BOUND, percent))

    def in_force(self, cluster: Cluster) -> str:
        """How often it had to wait since the bound was set, as the kernel counts."""

        def told(machine: Machine) -> str:
            seen = machine.run("sh", "-c", self._head + _COUNT)
            if not seen.ok:
                raise NotYet(f"{machine.name}: {self.unit} is not bound: {seen.stderr.strip()}")
            before, now = (int(each) for each in seen.stdout.split())
            if now <= before:
                raise NotYet(f"{machine.name}: {self.unit} never had to wait yet")
            return f"{machine.name}: {self.unit} had to wait in {now - before} periods, at {self.percent:g} %"

        return self.on_victims(cluster, told)

    def still_in_force(self, cluster: Cluster) -> str:
        """All its processes are bound: one started anew may be free, whatever was counted before."""

        def told(machine: Machine) -> str:
            running, free = sh(machine, self._head + _FREE_NOW).split()
            if running == "0" or free != "0":
                raise NotYet(f"{machine.name}: {free} of {running} processes of {self.unit} are not bound")
            return f"{machine.name}: all {running} processes of {self.unit} are bound"

        return self.on_victims(cluster, told)

    def check_healed(self, cluster: Cluster) -> None:
        """No bound is left, and it answers."""
        for machine in self.victims(cluster):
            if left := sh(machine, self._head + _LEFT).strip():
                raise NotYet(f"{machine.name}: {self.unit} is still bound: {left}")
            check_unit(cluster, machine, sh(machine, self._head + 'echo "$unit"').strip())

    @property
    def _head(self) -> str:
        return units.head(self.unit) + _WHERE


# With version 2 by systemd; else in a hierarchy that is mounted for it, for a container's systemd has none.
_WHERE = f"""\
starved={RUN}/starved-$unit
mount={RUN}/cpu
group=$mount/thwlab-starve-$unit
control=/run/systemd/system.control/$unit.service.d
unified() {{ test "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs; }}
throttled() {{
  if unified; then file=/sys/fs/cgroup$(show ControlGroup)/cpu.stat; else file=$group/cpu.stat; fi
  sed -n 's/^nr_throttled //p' "$file"
}}
"""
_CAN = f"""\
{units.IS_THERE} || exit 1
unified && exit 0
grep -q '^cpu[[:space:]].*1$' /proc/cgroups && exit 0
echo "the kernel has no cgroup for processor time" >&2; exit 1
"""
_BOUND = """\
if unified; then
  systemctl set-property --runtime "$unit.service" CPUQuota="$1%" || exit
else
  mkdir -p "$mount"
  mountpoint -q "$mount" || mount -t cgroup -o cpu cgroup "$mount" || exit
  mkdir -p "$group"
  echo 100000 >"$group/cpu.cfs_period_us" && echo "$(($1 * 1000))" >"$group/cpu.cfs_quota_us" || exit
  for pid in $(pids); do echo "$pid" >"$group/cgroup.procs"; done
fi
throttled >"$starved"
"""
_COUNT = """\
cat "$starved" && throttled
"""
# How many processes it has, and how many of them may use what they like.
_FREE_NOW = """\
all=0; free=0; limit=max
unified && limit=$(cut -d ' ' -f 1 "/sys/fs/cgroup$(show ControlGroup)/cpu.max" 2>/dev/null || echo max)
for pid in $(pids); do
  all=$((all + 1))
  if unified; then test "$limit" != max; else grep -qx "$pid" "$group/cgroup.procs" 2>/dev/null; fi ||
    free=$((free + 1))
done
echo $all $free
"""
_FREE = """\
if unified; then
  if ls $control/50-CPUQuota* >/dev/null 2>&1; then
    systemctl set-property --runtime "$unit.service" CPUQuota=
    rm -f $control/50-CPUQuota*
    rmdir --ignore-fail-on-non-empty $control
    systemctl daemon-reload
  fi
elif mountpoint -q "$mount"; then
  if test -d "$group"; then
    for pid in $(cat "$group/cgroup.procs"); do echo "$pid" >"$mount/cgroup.procs" 2>/dev/null; done
    rmdir "$group" || exit
  fi
  ls -d "$mount"/thwlab-starve-* >/dev/null 2>&1 || { umount "$mount" && rmdir "$mount"; }
fi
rm -f "$starved"
"""
_LEFT = """\
if unified; then ls $control/50-CPUQuota* 2>/dev/null; else ls -d "$group" 2>/dev/null; fi
ls "$starved" 2>/dev/null; true
"""

FAULTS = (Starve,)
