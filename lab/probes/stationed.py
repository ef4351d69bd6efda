"""Probers on machines: units that stamp by the machine's clock, begun, looked at and ended by machine.

Each command on a machine costs a tenth of a second of processor time, and a run has some thirty of them.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.machine import File, Machine
from lab.pki import CA_FILES
from lab.probes import prober
from lab.probes.clocks import Clock, Clocks
from lab.probes.hosted import GRACE, parsed
from lab.probes.question import Probe
from lab.probes.vantage import Running, plan_of
from lab.probes.workload import Workload

PROGRAM = Path(prober.__file__)
PLACE = "/run/thwlab-probes"  # on machines
COMMAND = 20.0  # seconds
BEGIN = 60.0  # seconds for all probers of a machine
STAMPS = ("scheduled", "sent", "answered", "ready", "ended")  # by the prober's clock


@dataclass
class There(Running):
    """A unit of a machine, which stamps by that machine's clock."""

    machine: Machine
    clock: Clock
    kept: list[dict[str, Any]] = field(default_factory=list)

    @property
    def bound(self) -> float:  # noqa: D102
        return self.clock.bound

    @property
    def unit(self) -> str:
        """The unit it runs as."""
        return unit_of(self.probe)

    @property
    def output(self) -> str:
        """The file into which it writes."""
        return _path(self.probe, "jsonl")

    def trouble(self) -> str:  # noqa: D102
        return _troubles(self.machine, [self]).get(self.unit, "")

    def is_ready(self) -> bool:  # noqa: D102
        return self.machine.run("test", "-s", self.output, timeout=COMMAND).ok

    def stop(self) -> None:  # noqa: D102
        stop(self.machine, [self])

    def told(self) -> list[dict[str, Any]]:  # noqa: D102
        wait = self.probe.deadline + GRACE
        script = _COLLECT.format(unit=self.unit, path=self.output)
        lines = parsed(self.machine.check("sh", "-c", script, timeout=wait + COMMAND))
        return [_shifted(line, self.clock) for line in lines]


def begin(
    machine: Machine,
    probes: Sequence[Probe],
    workload: Workload,
    seconds: float,
    clocks: Clocks,
) -> list[Running]:
    """Begin to ask all these from the machine, for so many seconds at most.

    Raises `LabError` naming those that could not be begun, with what systemd said.
    """
    plans = [File(_path(probe, "plan"), _plan(probe), 0o600) for probe in probes]
    machine.apply([File(f"{PLACE}/prober.py", PROGRAM.read_bytes()), *plans])
    script = _BEGIN.format(
        units=shlex.join(map(unit_of, probes)),
        paths=shlex.join(_path(probe, "jsonl") for probe in probes),
        seconds=f"{seconds:.0f}",
        each="\n".join(f"begin {shlex.join(_words(probe, workload))} &" for probe in probes),
    )
    done = machine.run("sh", "-c", script, timeout=BEGIN)
    if not done.ok or done.stdout.strip():
        names = ", ".join(done.stdout.split()) or "the probers"
        said = done.stderr.strip()[-1000:] or f"no answer within {BEGIN:.0f} s"
        raise LabError(f"{machine.name}: {names} could not be started: {said}", remedy="thwlab status")
    return [There(probe, machine, clocks.of(machine)) for probe in probes]


def by_machine(running: Sequence[Running]) -> dict[str, list[There]]:
    """Those that run on machines, by the machine's name."""
    found: dict[str, list[There]] = {}
    for each in running:
        if isinstance(each, There):
            found.setdefault(each.machine.name, []).append(each)
    return found


def idle(machine: Machine, running: Sequence[There]) -> list[str]:
    """The probes of those that have not begun; raises `LabError` for those that have ended.

    A machine that does not answer in time is asked again by whoever waits.
    """
    argv = (word for each in running for word in (each.unit, each.output))
    seen = machine.run("sh", "-c", _LOOK, "look", *argv, timeout=COMMAND)
    said = dict(line.partition(" ")[::2] for line in seen.stdout.splitlines())
    if dead := [each for each in running if said.get(each.unit, "").startswith("ended")]:
        troubles = _troubles(machine, dead)
        raise LabError("; ".join(troubles.get(each.unit, f"{each.probe.name} ended") for each in dead))
    return [each.probe.name for each in running if not said.get(each.unit, "").endswith("began")]


def stop(machine: Machine, running: Sequence[There]) -> None:
    """Ask them to end; harmless if they have.  Does not wait."""
    machine.run("systemctl", "stop", "--no-block", *(each.unit for each in running), timeout=COMMAND)


def clear(machine: Machine) -> None:
    """End every prober on the machine and remove what it left."""
    machine.run("sh", "-c", _CLEAR, timeout=COMMAND)


def unit_of(probe: Probe) -> str:
    """The unit of a prober on a machine."""
    return f"thwlab-probe-{probe.name.replace('@', '-')}"


def _troubles(machine: Machine, running: Sequence[There]) -> dict[str, str]:
    """Why they are not at work, by their unit; nothing of those that are, or cannot be asked just now."""
    found = {}
    for each in running:
        seen = machine.run("systemctl", "is-active", each.unit, timeout=COMMAND)
        if seen.timed_out or seen.stdout.strip() == "active":
            continue
        said = machine.run("journalctl", "-u", each.unit, "-n", "5", "-o", "cat", timeout=COMMAND)
        last = said.stdout.strip()[-1000:]
        found[each.unit] = f"{each.probe.name}: the prober on {machine.name} ended: {last}"
    return found


def _plan(probe: Probe) -> bytes:
    tls = {"ca": CA_FILES["kubernetes"]} if probe.secrets == "kubernetes-ca" else None
    return json.dumps({**plan_of(probe, tls), "output": _path(probe, "jsonl")}).encode()


def _words(probe: Probe, workload: Workload) -> Iterator[str]:
    """The unit and its command."""
    yield unit_of(probe)
    if probe.pod:
        yield from ("nsenter", f"--net=/proc/{workload.pids[probe.at]}/ns/net")
    yield from ("python3", "-I", f"{PLACE}/prober.py", _path(probe, "plan"))


def _path(probe: Probe, ending: str) -> str:
    return f"{PLACE}/{probe.name}.{ending}"


def _shifted(line: Mapping[str, Any], clock: Clock) -> dict[str, Any]:
    """By this host's clock; what is counted from `sent` on may have a time in it that stood still there."""
    found = {name: clock.ours(value) if name in STAMPS else value for name, value in line.items()}

    def since(seconds: float) -> float:
        return round(clock.ours(line["sent"] + seconds) - found["sent"], 6)

    if line.get("phases"):
        found["phases"] = [since(each) for each in line["phases"]]
    if line.get("acknowledged") is not None:
        found["acknowledged"] = since(line["acknowledged"])
    return found


# In a container on cgroup v1 nobody has real-time priority until its group is given a share of each second,
# here a tenth; a prober that wanted more would be held up until the next one, and be seen to be late.
# Prints the units that could not be started.
_BEGIN = """\
systemctl stop {units} 2>/dev/null
systemctl reset-failed {units} 2>/dev/null
rm -f {paths}
{{ echo 100000 >/sys/fs/cgroup/cpu/cpu.rt_runtime_us; }} 2>/dev/null
begin() {{
  unit=$1; shift
  systemd-run --quiet --unit="$unit" --property=RuntimeMaxSec={seconds} "$@" || echo "$unit"
}}
{each}
wait
"""
# Pairs of a unit and its file.
_LOOK = """\
while [ $# -gt 0 ]; do
  state=ended; systemctl is-active "$1" >/dev/null && state=runs
  file=not; [ ! -s "$2" ] || file=began
  echo "$1 $state $file"
  shift 2
done
"""
_COLLECT = """\
systemctl stop {unit} 2>/dev/null
cat {path}
rm -f {path}
"""
_CLEAR = f"""\
systemctl stop 'thwlab-probe-*' 2>/dev/null
systemctl reset-failed 'thwlab-probe-*' 2>/dev/null
rm -rf {PLACE}
"""
