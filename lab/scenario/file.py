"""What may stand in a scenario file: its keys, the form of each value, and what is refused by name.

Every field may be None, so that one mistake does not hide the next; `rules` asks for what is needed.  Faults
and invariants are read by `words`, from the fields of their dataclasses.
"""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from lab.scenario.forms import seconds
from lab.strictyaml import Flag, Schema

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,58}[a-z0-9])?")

# What other tools call things, and what we call them, or why we have no such thing.
HINTS = {
    **dict.fromkeys(("pause", "sigstop", "hang", "suspend"), "stop"),
    **dict.fromkeys(("container-pause", "vm-pause"), "freeze"),
    **dict.fromkeys(("poweroff", "power-off", "shutdown", "node-stop", "host-poweroff"), "power-cut"),
    **dict.fromkeys(("sigkill", "process-kill", "pod-kill", "container-kill"), "kill"),
    **dict.fromkeys(("sigterm", "kubelet-service-kill", "service-stop", "unit-stop"), "terminate"),
    **dict.fromkeys(("drop", "blackhole", "network-drop", "iptables"), "silent"),
    **dict.fromkeys(("network-partition", "isolate"), "partition"),
    **dict.fromkeys(("netem", "latency", "network-delay", "network-latency"), "delay"),
    **dict.fromkeys(("network-loss", "packet-loss"), "loss"),
    **dict.fromkeys(("rate", "network-bandwidth", "tbf"), "bandwidth"),
    **dict.fromkeys(("nic-down", "node-interface-down", "link-down"), "interface-down"),
    **dict.fromkeys(("disk-fill", "disk-pressure"), "disk-full"),
    **dict.fromkeys(("time-skew", "clock-skew", "timechaos"), "clock-step"),
    **dict.fromkeys(("cluster-shut-down", "cluster-shutdown"), "cold-start"),
    **dict.fromkeys(("stress", "stresschaos", "cpu-hog", "node-cpu-hog"), "starve"),
    "duplicate": "packets are not duplicated here: TCP hides it, and no invariant rests on it",
    "corrupt": "a corrupted packet is a lost one, by its checksum; write loss",
}

KEY_HINTS = {
    **dict.fromkeys(("title", "description"), "about"),
    **dict.fromkeys(("fault", "actions", "method", "experiments"), "faults"),
    **dict.fromkeys(("duration", "chaosduration", "timeout"), "how long it lasts is written in `phases`"),
    **dict.fromkeys(("steady-state-hypothesis", "checks", "limits"), "invariants"),
    **dict.fromkeys(("rollbacks", "rollback"), "every fault is undone by itself; remove it"),
    "tags": "sets",
}


def _time(value: Any) -> float:
    return seconds(value)


Time = Annotated[float, BeforeValidator(_time)]


class PhasesFile(Schema):
    """`phases:`"""

    steady: Time | None = Field(default=None, examples=["30s"])
    fault: Time | None = Field(default=None, examples=["60s"])
    recovery: Time | None = Field(default=None, examples=["30s"])


class ScenarioFile(Schema):
    """A whole scenario as written."""

    name: str | None = Field(default=None, examples=["apiserver-crash"])
    about: str | None = Field(default=None, examples=["One apiserver dies; the balancer hides it."])
    phases: PhasesFile | None = Field(default=None, examples=["{steady: 30s, fault: 60s, recovery: 30s}"])
    faults: tuple[Any, ...] | None = Field(default=None, examples=["[]"])
    probes: tuple[str, ...] | None = None
    invariants: tuple[Any, ...] | None = Field(default=None, examples=["[]"])
    expect: dict[str, tuple[str, ...] | None] | None = None
    sets: tuple[str, ...] | None = None
    destroys_data: Flag | None = None
