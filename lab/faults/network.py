"""The network between machines: silence, refusal, one direction, partitions.

Evidence are the counters of the rules: a fault that met no packet is not in force.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import ClassVar, Literal

from lab.cluster import Cluster
from lab.faults.base import Bytes, Peers, Ports, Script
from lab.faults.packets import Cut, Direction, Peer, counted, install, remove, table_of
from lab.faults.shell import ShellFault, sh
from lab.machine import Machine
from lab.wait import NotYet

Shape = Literal["one", "halves", "bridge"]


@dataclass(frozen=True)
class NetworkFault(ShellFault):
    """Rules on each victim, in a table of the fault's own."""

    def cut(self, cluster: Cluster, machine: Machine) -> Cut:
        """What this victim does with which packets."""
        raise NotImplementedError

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        table = table_of(self)

        def begin(machine: Machine) -> str:
            return sh(machine, install(table, self.cut(cluster, machine)), machine.name)

        self.on_victims(cluster, begin)

    def in_force(self, cluster: Cluster) -> str:
        """How many packets each rule has met; every victim's table must have met some."""
        return self.on_victims(cluster, lambda machine: _met(machine, table_of(self)))

    def undo(self) -> tuple[Script, ...]:
        """Its table goes."""
        text = remove(table_of(self)) + "true\n"
        return tuple(Script(name, text) for name in self.machines)

    def check_healed(self, cluster: Cluster) -> None:
        """Its table is not there."""
        self.on_victims(cluster, lambda machine: check_gone(machine, table_of(self)))


@dataclass(frozen=True)
class Silent(NetworkFault):
    """All packets of the victim are dropped, both ways, without a word to anybody.

    `ports`: only those of servers on the victim.  `peers`: only what is exchanged with these machines.
    `bigger_than`: only packets of more bytes.  `inside`: also what never leaves the victim, such as what its
    own processes and pods ask of it or of each other; needs `ports`.
    """

    word: ClassVar[str] = "silent"

    ports: Ports = ()
    peers: Peers = ()
    bigger_than: Bytes = 0
    inside: bool = False

    def unavailable(self, cluster: Cluster) -> str:
        """Loopback as a whole is never cut."""
        return "inside needs ports" if self.inside and not self.ports else ""

    def cut(self, cluster: Cluster, machine: Machine) -> Cut:  # noqa: D102
        return Cut(
            peers=peers_of(cluster, self.peers),
            ports=self.ports,
            served=True,
            inside=self.inside,
            bigger_than=self.bigger_than,
            spared=control(cluster),
        )


@dataclass(frozen=True)
class Reject(NetworkFault):
    """Packets are refused at once: TCP by a reset, the rest by ICMP.

    `ports`: only what is sent to these.  `peers`: only what
    is exchanged with these machines.  `direction`: in refuses what comes to the victim, out what it or its
    pods send.  `inside`: also what never leaves the victim; needs `ports`.
    """

    word: ClassVar[str] = "reject"

    ports: Ports = ()
    peers: Peers = ()
    direction: Direction = "in"
    inside: bool = False

    def unavailable(self, cluster: Cluster) -> str:
        """Loopback as a whole is never cut."""
        return "inside needs ports" if self.inside and not self.ports else ""

    def cut(self, cluster: Cluster, machine: Machine) -> Cut:  # noqa: D102
        return Cut(
            rejects=True,
            direction=self.direction,
            peers=peers_of(cluster, self.peers),
            ports=self.ports,
            inside=self.inside,
            spared=control(cluster),
        )


@dataclass(frozen=True)
class OneWay(NetworkFault):
    """Packets are dropped in one direction only.

    `direction`: in drops what comes to the victim, out what it sends.  `ports`: only of connections to these
    ports, on either side.  `peers`: only what is exchanged with these machines.  `bigger_than`: only packets
    of more bytes.
    """

    word: ClassVar[str] = "one-way"

    direction: Literal["in", "out"] = "in"
    ports: Ports = ()
    peers: Peers = ()
    bigger_than: Bytes = 0

    def cut(self, cluster: Cluster, machine: Machine) -> Cut:  # noqa: D102
        return Cut(
            direction=self.direction,
            peers=peers_of(cluster, self.peers),
            ports=self.ports,
            bigger_than=self.bigger_than,
            spared=control(cluster),
        )


@dataclass(frozen=True)
class Partition(NetworkFault):
    """Machines of the lab that no longer hear each other; this host reaches all of them.

    `shape`: one cuts each victim from every other machine, victims too; halves cuts the victims, who still
    hear each other, from the rest; bridge cuts the victims from each other only, and the rest hears them all.
    `peers`: for one and halves, from these only.  `ports`: only of connections to these ports, on either
    side.  `bigger_than`: only packets of more bytes.
    """

    word: ClassVar[str] = "partition"

    shape: Shape = "one"
    peers: Peers = ()
    ports: Ports = ()
    bigger_than: Bytes = 0

    def unavailable(self, cluster: Cluster) -> str:
        """A shape without two sides."""
        lonely = [name for name in self.machines if not self.unheard(cluster, name)]
        return f"{', '.join(lonely)} would be cut from nobody by {self.shape}" if lonely else ""

    def unheard(self, cluster: Cluster, name: str) -> tuple[str, ...]:
        """Whom a victim does not hear any more, in the order of the plan."""
        others = [node.name for node in cluster.topology.nodes if node.name != name]
        if self.shape == "bridge":
            return tuple(other for other in others if other in self.machines)
        if self.shape == "halves":
            others = [other for other in others if other not in self.machines]
        return tuple(other for other in others if not self.peers or other in self.peers)

    def cut(self, cluster: Cluster, machine: Machine) -> Cut:  # noqa: D102
        return Cut(
            peers=peers_of(cluster, self.unheard(cluster, machine.name)),
            ports=self.ports,
            bigger_than=self.bigger_than,
        )


def peers_of(cluster: Cluster, names: tuple[str, ...]) -> tuple[Peer, ...]:
    """These machines with their addresses."""
    return tuple(Peer(name, cluster.topology.node(name).address) for name in names)


def control(cluster: Cluster) -> IPv4Address | None:
    """This host's address, where machines are commanded by SSH over the lab's own network."""
    if cluster.lab.provider.platform.container:
        return None
    return cluster.topology.networks.gateway


def check_gone(machine: Machine, table: str) -> str:
    """`NotYet` while the table is there."""
    if machine.run("nft", "list", "table", "inet", table).ok:
        raise NotYet(f"{machine.name}: table inet {table} is still there")
    return ""


def _met(machine: Machine, table: str) -> str:
    listing = machine.run("nft", "-j", "list", "table", "inet", table)
    if not listing.ok:
        raise NotYet(f"{machine.name}: no table inet {table}")
    told = counted(listing.stdout)
    if not any(told.values()):
        raise NotYet(f"{machine.name}: its {len(told)} rules met no packet")
    return f"{machine.name}: " + ", ".join(f"{n} packets {rule}" for rule, n in told.items() if n)


FAULTS: tuple[type[NetworkFault], ...] = (Silent, Reject, OneWay, Partition)
