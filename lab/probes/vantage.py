"""Where probers run, on this host or on a machine, and how they are started, ended and read.

Either way it ends by itself when we do: here its input closes, there its unit has a time limit.
"""

import json
import shutil
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster import Cluster
from lab.errors import LabError
from lab.machine import File, Machine
from lab.pki import CA_FILES
from lab.probes import dialogues, prober, several
from lab.probes.clocks import Clock, Clocks
from lab.probes.hosted import GRACE, Hosted
from lab.probes.question import OUTSIDE, Probe
from lab.probes.workload import Workload
from lab.topology import Role

PROGRAMS = (Path(several.__file__), Path(prober.__file__))
PLACE = "/run/thwlab-probes"  # on machines
COMMAND = 20.0  # seconds
STAMPS = ("scheduled", "sent", "answered", "ready", "ended")  # by the prober's clock


@dataclass
class Running(ABC):
    """One prober at work, whose end is that of those begun with it; what it told is complete after that."""

    probe: Probe

    @property
    def bound(self) -> float:
        """By how many seconds the moments that it tells may be wrong; not at all by this host's own clock."""
        return 0.0

    @abstractmethod
    def trouble(self) -> str:
        """Why it is not at work; empty if it is, or if its machine cannot be asked just now."""


# -- on this host ----------------------------------------------------------------------------------------


@dataclass
class Here(Running):
    """A process of this host, begun with others by one program."""

    program: Hosted

    def trouble(self) -> str:  # noqa: D102
        trouble = self.program.trouble()
        return trouble and f"the probers of this host: their program {trouble}"

    def stop(self) -> None:
        """Ask it to end; harmless if it has.  Does not wait."""
        self.program.stop()

    def told(self) -> list[dict[str, Any]]:
        """What it wrote; waits for its end.  `LabError` if nothing can be had."""
        self.program.finish(self.probe.deadline + GRACE)
        if not self.is_ready():
            raise LabError(self.trouble())
        return self.program.lines(self.probe.name)

    def is_ready(self) -> bool:
        """Whether it has read its plan and begun."""
        output = self.program.output(self.probe.name)
        return output.exists() and b"\n" in output.read_bytes()[:400]


def start_here(cluster: Cluster, asked: Sequence[Probe], folder: Path) -> list[Here]:
    """Begin to ask from this host; ``folder`` is private and has the secrets."""
    plans = {
        probe.name: {**_plan(probe, secrets_here(cluster, probe.secrets, folder)), "until-input-ends": True}
        for probe in asked
    }
    program = Hosted(cluster, [several, prober], folder, plans)
    return [Here(probe, program) for probe in asked]


def secrets_here(cluster: Cluster, authority_of: str, folder: Path) -> dict[str, str] | None:
    """Files with the certificates to show to `etcd` or `kubernetes`; None if none are asked for."""
    if not authority_of:
        return None
    known = cluster.credentials
    if authority_of == "etcd":
        authority, pair = known.ca("etcd"), known.pair("etcd-client", cluster.topology.of(Role.ETCD)[0])
    else:
        authority, pair = known.ca("kubernetes"), known.pair("user")
    names = {name: folder / f"{authority_of}.{name}" for name in ("ca", "cert", "key")}
    for name, content in (("ca", authority), ("cert", pair.cert), ("key", pair.key)):
        if not names[name].exists():  # else it may be read by another prober this moment
            part = names[name].with_suffix(f".{threading.get_ident()}")
            part.touch(0o600)
            part.write_bytes(content)
            part.replace(names[name])
    return {name: str(path) for name, path in names.items()}


# -- on a machine ----------------------------------------------------------------------------------------


@dataclass
class There(Running):
    """A process of a machine, begun with others by one unit, which stamps by that machine's clock."""

    machine: Machine
    clock: Clock
    unit: str

    @property
    def bound(self) -> float:  # noqa: D102
        return self.clock.bound

    def trouble(self) -> str:  # noqa: D102
        seen = self.machine.run("systemctl", "is-active", self.unit, timeout=COMMAND)
        if seen.timed_out or seen.stdout.strip() == "active":
            return ""
        said = self.machine.run("journalctl", "-u", self.unit, "-n", "10", "-o", "cat", timeout=COMMAND)
        return f"the probers on {self.machine.name}: {self.unit} ended: {said.stdout.strip()[-1000:]}"

    @property
    def output(self) -> str:
        """The file that it writes."""
        return _path(self.probe, "jsonl")

    def ours(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What it wrote, by this host's clock."""
        return [_shifted(line, self.clock) for line in lines]


def bring(machine: Machine, asked: Sequence[Probe]) -> None:
    """What these probers of the machine need there, before they are begun: their programs and their plans."""
    plans = [File(_path(probe, "plan"), _plan_there(probe), 0o600) for probe in asked]
    machine.apply([*(File(_there(path), path.read_bytes()) for path in PROGRAMS), *plans])


def start_there(
    cluster: Cluster, asked: Sequence[Probe], workload: Workload, seconds: float, clocks: Clocks
) -> list[There]:
    """Begin to ask from a machine, in one and the same network of it, for so many seconds at most."""
    first = asked[0]
    machine, unit = cluster.machines[first.at], unit_of(first)
    inside = ("nsenter", f"--net=/proc/{workload.pids[machine.name]}/ns/net") if first.pod else ()
    argv = (*inside, "python3", "-I", *map(_there, PROGRAMS), *(_path(probe, "plan") for probe in asked))
    machine.check(*_unit_argv(unit, seconds), *argv, timeout=COMMAND)
    return [There(probe, machine, clocks.of(machine), unit) for probe in asked]


def _there(path: Path) -> str:
    return f"{PLACE}/{path.name}"


def _plan_there(probe: Probe) -> bytes:
    tls = {"ca": CA_FILES["kubernetes"]} if probe.secrets == "kubernetes-ca" else None
    return json.dumps({**_plan(probe, tls), "output": _path(probe, "jsonl")}).encode()


def _unit_argv(unit: str, seconds: float) -> tuple[str, ...]:
    run = f"systemd-run --quiet --unit={unit} --property=RuntimeMaxSec={seconds:.0f}"
    return ("sh", "-c", f'{_FIRST}; exec {run} "$@"', "sh")


def clear(machine: Machine) -> None:
    """End every prober on the machine and remove what it left."""
    machine.run("sh", "-c", _CLEAR, timeout=COMMAND)


def _shifted(line: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """By this host's clock; what is counted from `sent` on may have a time in it that stood still there."""
    found = {name: clock.ours(value) if name in STAMPS else value for name, value in line.items()}

    def since(seconds: float) -> float:
        return round(clock.ours(line["sent"] + seconds) - found["sent"], 6)

    if line.get("phases"):
        found["phases"] = [since(each) for each in line["phases"]]
    if line.get("acknowledged") is not None:
        found["acknowledged"] = since(line["acknowledged"])
    return found


# -- both ------------------------------------------------------------------------------------------------


def begin(
    cluster: Cluster,
    asked: Sequence[Probe],
    workload: Workload,
    folder: Path,
    seconds: float,
    clocks: Clocks,
) -> list[Running]:
    """Begin to ask from the one place that all of these probes want; brings it what it needs for it."""
    if asked[0].at == OUTSIDE:
        return [*start_here(cluster, asked, folder)]
    bring(cluster.machines[asked[0].at], asked)
    networks = ([probe for probe in asked if probe.pod == pod] for pod in (False, True))
    return [
        each for alike in networks if alike for each in start_there(cluster, alike, workload, seconds, clocks)
    ]


def private_folder(path: Path) -> Path:
    """An empty folder that only its owner may enter."""
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(mode=0o700, parents=True)
    return path


def unit_of(probe: Probe) -> str:
    """The unit on a machine of a prober and of those that are begun with it."""
    return f"thwlab-probe-{probe.name.replace('@', '-')}"


def _path(probe: Probe, ending: str) -> str:
    return f"{PLACE}/{probe.name}.{ending}"


def _plan(probe: Probe, tls: Mapping[str, str] | None) -> dict[str, Any]:
    if probe.secrets and not tls:
        raise LabError(
            f"{probe.name}: {probe.secrets} certificates are not given to {probe.at or 'this host'}"
        )
    more = {"module": dialogues.__file__} if probe.plan["ask"] in dialogues.ASK else {}
    return {**probe.plan, **more, "interval": probe.interval, "deadline": probe.deadline, "tls": tls}


# In a container on cgroup v1 nobody has real-time priority until its group is given a share of each second,
# here a tenth; a prober that wanted more would be held up until the next one, and be seen to be late.
_FIRST = "{ echo 100000 >/sys/fs/cgroup/cpu/cpu.rt_runtime_us; } 2>/dev/null"
_CLEAR = f"""\
systemctl stop 'thwlab-probe-*' 2>/dev/null
systemctl reset-failed 'thwlab-probe-*' 2>/dev/null
rm -rf {PLACE}
"""
