"""A clock that is wrong, on a machine that has its own."""

import time
from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.faults.base import Script, Seconds, SignedSeconds
from lab.faults.machine import lacks
from lab.faults.shell import RUN, ShellFault, sh
from lab.machine import Machine
from lab.providers.base import Capability
from lab.wait import NotYet

NEAR = 1.0  # seconds by which a healed clock may differ from this host's
UNIT = "thwlab-strobe"


@dataclass(frozen=True)
class ClockStep(ShellFault):
    """The victim's wall clock jumps.

    `step`: by so much, back where it is negative.  `strobe`: if not 0, it jumps there and back again and
    again, after so much each time.
    """

    word: ClassVar[str] = "clock-step"

    step: SignedSeconds = 300.0
    strobe: Seconds = 0.0

    def unavailable(self, cluster: Cluster) -> str:
        """A container has its host's clock."""
        return lacks(cluster, Capability.OWN_CLOCK, "give a machine a clock of its own")

    def mending(self) -> tuple[Script, ...]:
        """The hardware's clock, which nobody touched, says what the time is, to the second."""
        return tuple(Script(name, _UNDO) for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        script = _STROBE if self.strobe else _STEP
        self.on_victims(cluster, lambda machine: sh(machine, script, f"{self.step:g}", f"{self.strobe:g}"))

    def in_force(self, cluster: Cluster) -> str:
        """By how much it differs from this host's; of a strobe, that it runs too."""

        def told(machine: Machine) -> str:
            away, doubt = offset(machine)
            if self.strobe and not machine.run("systemctl", "is-active", "--quiet", UNIT).ok:
                raise NotYet(f"{machine.name}: {UNIT} does not run")
            if abs(away - self.step) > abs(self.step) / 2 + doubt:
                raise NotYet(f"{machine.name}: its clock is {away:+.2f} s from this host's")
            return f"{machine.name}: its clock is {away:+.2f} s from this host's, known to {doubt:.2f} s"

        return self.on_victims(cluster, told)

    def still_in_force(self, cluster: Cluster) -> str:
        """Of a strobe only that it runs, for by turns its clock is right."""
        if not self.strobe:
            return self.in_force(cluster)

        def told(machine: Machine) -> str:
            state = machine.check("systemctl", "show", "--property=ActiveState", "--value", UNIT).strip()
            if state != "active":
                raise NotYet(f"{machine.name}: {UNIT} is {state}")
            return f"{machine.name}: {UNIT} runs"

        return self.on_victims(cluster, told)

    def heal(self, cluster: Cluster) -> None:
        """No more jumps, and this host's time at once."""
        super().heal(cluster)
        self.on_victims(cluster, lambda machine: sh(machine, 'date -u -s "@$1"', f"{time.time():.3f}"))

    def check_healed(self, cluster: Cluster) -> None:
        """Its clock is this host's."""

        def check(machine: Machine) -> str:
            away, doubt = offset(machine)
            if abs(away) > NEAR + doubt:
                raise NotYet(f"{machine.name}: its clock is {away:+.2f} s from this host's")
            return ""

        self.on_victims(cluster, check)


def offset(machine: Machine) -> tuple[float, float]:
    """Seconds by which the machine's clock is ahead of this host's, and how far that may be wrong."""
    begun = time.time()
    there = float(machine.check("date", "+%s.%N", timeout=10))
    ended = time.time()
    return there - (begun + ended) / 2, (ended - begun) / 2


_STOP_SYNC = "systemctl stop systemd-timesyncd.service chrony.service 2>/dev/null\n"
_JUMP = 'jump() { date -u -s "@$(awk "BEGIN { printf \\"%.3f\\", $(date +%s.%N) + $1 }")" >/dev/null; }\n'
_STEP = f"{_STOP_SYNC}{_JUMP}jump $1\n"
# From a file, for systemd would take the dollars of a command line for its own.
_STROBE = f"""\
{_STOP_SYNC}mkdir -p -m 0700 {RUN}
cat >{RUN}/strobe <<'END'
{_JUMP}while :; do jump $1; sleep $2; jump $((0 - $1)); sleep $2; done
END
systemd-run --quiet --collect --unit={UNIT} sh {RUN}/strobe "$1" "$2"
"""
_UNDO = f"""\
systemctl stop {UNIT}.service 2>/dev/null
rm -f {RUN}/strobe
for clock in /sys/class/rtc/rtc*/since_epoch; do
  test -e "$clock" && date -u -s "@$(cat "$clock")" >/dev/null && break
done
for unit in systemd-timesyncd.service chrony.service; do
  systemctl is-enabled --quiet $unit 2>/dev/null && systemctl start --no-block $unit
done
true
"""

FAULTS = (ClockStep,)
