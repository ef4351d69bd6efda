"""A slower or lossier network: what the victim sends passes a queue of the fault's own.

nftables chooses the packets and counts them, by giving them the priority of a class; so no classifier is
needed that a kernel may lack.
"""

import json
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.cluster import Cluster
from lab.faults.base import BytesPerSecond, Peers, Percent, Ports, Script, Seconds
from lab.faults.network import check_gone, control, peers_of
from lab.faults.packets import DEVICE, Cut, counted, marking, table_of
from lab.faults.shell import ShellFault, sh
from lab.machine import Machine
from lab.wait import NotYet

HANDLE, CLASS, LEAF = "7417:", "7417:1", "7418:"
BURST = 16_384  # bytes that pass at once; a packet from a container may be larger than the wire's
WIDE = 10_000_000_000  # bits per second: as good as none


@dataclass(frozen=True)
class ShapingFault(ShellFault):
    """Packets that leave the victim on the lab's network; `peers` and `ports` choose which."""

    kind: ClassVar[str] = "netem"

    ports: Ports = ()
    peers: Peers = ()

    @property
    def options(self) -> str:
        """What the queue does, in tc's words."""
        raise NotImplementedError

    def unavailable(self, cluster: Cluster) -> str:
        """A kernel without such a queue, as it says itself in a network namespace that is gone at once."""
        for machine in self.victims(cluster):
            tried = machine.run("unshare", "-n", "sh", "-c", self._queue("lo"))
            if not tried.ok:
                return f"{machine.name}'s kernel has no {self.kind}: {tried.stderr.strip().splitlines()[0]}"
        return ""

    def mending(self) -> tuple[Script, ...]:
        """Rules and queue go; the interface gets the queue back that it has by itself."""
        text = _REMOVE.format(table=table_of(self), handle=HANDLE)
        return tuple(Script(name, f"set -- {name}\n{DEVICE}{text}") for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        cut = Cut(peers=peers_of(cluster, self.peers), ports=self.ports, spared=control(cluster))
        script = f"{DEVICE}{self._queue('$dev')}{marking(table_of(self), cut, CLASS)}"
        self.on_victims(cluster, lambda machine: sh(machine, script, machine.name))

    def in_force(self, cluster: Cluster) -> str:
        """How many packets were chosen, and what the queue did with them."""
        return self.on_victims(cluster, self._told)

    def check_healed(self, cluster: Cluster) -> None:
        """Rules and queue are not there."""

        def check(machine: Machine) -> str:
            check_gone(machine, table_of(self))
            if HANDLE in (shown := sh(machine, f"{DEVICE}tc qdisc show dev $dev", machine.name)):
                raise NotYet(f"{machine.name}: still there: {shown.strip()}")
            return ""

        self.on_victims(cluster, check)

    def bites(self, queue: dict[str, Any]) -> str:
        """What proves that the queue acts, from its counters; empty if nothing does yet."""
        return f"{queue['packets']} packets passed {self.kind} {self.options}" if queue["packets"] else ""

    def _queue(self, device: str) -> str:
        leaf = f"{self.kind} {self.options}"
        return _QUEUE.format(device=device, handle=HANDLE, cls=CLASS, leaf=f"{LEAF} {leaf}", bits=WIDE)

    def _told(self, machine: Machine) -> str:
        script = f"{DEVICE}nft -j list table inet {table_of(self)} && echo && tc -s -j qdisc show dev $dev"
        seen = machine.run("sh", "-c", script, "sh", machine.name)
        if not seen.ok:
            raise NotYet(f"{machine.name}: {seen.stderr.strip()}")
        rules, queues = (line for line in seen.stdout.splitlines() if line.strip())
        chosen = sum(counted(rules).values())
        queue = next((each for each in json.loads(queues) if each["handle"] == LEAF), None)
        if queue is None:
            raise NotYet(f"{machine.name}: no queue {LEAF}, only {queues.strip()}")
        if not chosen or not (said := self.bites(queue)):
            raise NotYet(f"{machine.name}: {chosen} packets were chosen, and its queue says {queue}")
        return f"{machine.name}: {chosen} packets were chosen, {said}"


@dataclass(frozen=True)
class Delay(ShapingFault):
    """What the victim sends arrives later.

    `latency`: by so much.  `jitter`: more or less by up to so much.  `ports`, `peers`: only to or from these.
    """

    word: ClassVar[str] = "delay"

    latency: Seconds = 0.1
    jitter: Seconds = 0.0

    @property
    def options(self) -> str:  # noqa: D102
        return f"delay {self.latency * 1000:g}ms {self.jitter * 1000:g}ms"


@dataclass(frozen=True)
class Loss(ShapingFault):
    """Some of what the victim sends is lost.

    `percent`: so many of a hundred packets, by chance.  `ports`, `peers`: only to or from these.
    """

    word: ClassVar[str] = "loss"

    percent: Percent = 10.0

    @property
    def options(self) -> str:  # noqa: D102
        return f"loss {self.percent:g}%"

    def bites(self, queue: dict[str, Any]) -> str:  # noqa: D102
        return f"{queue['drops']} of {queue['packets'] + queue['drops']} were lost" if queue["drops"] else ""


@dataclass(frozen=True)
class Bandwidth(ShapingFault):
    """What the victim sends passes through a narrow pipe.

    `rate`: its width.  `ports`, `peers`: only to or from these.
    """

    word: ClassVar[str] = "bandwidth"
    kind: ClassVar[str] = "tbf"

    rate: BytesPerSecond = 125_000

    @property
    def options(self) -> str:  # noqa: D102
        return f"rate {8 * self.rate}bit burst {max(BURST, self.rate // 100)} latency 400ms"

    def bites(self, queue: dict[str, Any]) -> str:  # noqa: D102
        waited = queue["overlimits"]
        return f"{waited} times one had to wait for a pipe of {self.rate} bytes per second" if waited else ""


_QUEUE = """\
tc qdisc add dev {device} root handle {handle} htb || exit
tc class add dev {device} parent {handle} classid {cls} htb rate {bits} burst 64k || exit
tc qdisc add dev {device} parent {cls} handle {leaf} || exit
"""
_REMOVE = """\
nft delete table inet {table} 2>/dev/null
tc qdisc show dev $dev root | grep -q 'htb {handle}' || exit 0
tc qdisc del dev $dev root
"""
FAULTS: tuple[type[ShapingFault], ...] = (Delay, Loss, Bandwidth)
