"""What administrators do to etcd as a whole, and the loss of its quorum."""

from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.errors import LabError
from lab.faults import quorum
from lab.faults.base import Fault, Script
from lab.faults.process import KillAndHold
from lab.faults.shell import RUN, ShellFault, sh
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet

DEFRAG = 60.0  # seconds


@dataclass(frozen=True)
class EtcdFault(ShellFault):
    """Done once to members of etcd; whole again is a cluster whose every member is started and commits."""

    lasts: ClassVar[bool] = False

    def unavailable(self, cluster: Cluster) -> str:
        """A machine without a member."""
        return no_members(cluster, self.machines)

    def mending(self) -> tuple[Script, ...]:
        """It heals by itself; only our notes go."""
        return tuple(Script(name, f"rm -f {NOTE}") for name in self.machines)

    def check_healed(self, cluster: Cluster) -> None:  # noqa: D102
        quorum.check_healthy(cluster)


@dataclass(frozen=True)
class MoveLeader(EtcdFault):
    """The victim, which leads, hands its leadership to the next member in the order of the plan."""

    word: ClassVar[str] = "move-leader"

    def unavailable(self, cluster: Cluster) -> str:
        """There is nobody else, or more than one is meant."""
        if len(self.machines) != 1 or len(cluster.topology.of(Role.ETCD)) < 2:
            return "leadership is moved from one member to another"
        return super().unavailable(cluster)

    def inject(self, cluster: Cluster) -> None:
        """`LabError` if the victim does not lead."""
        (name,) = self.machines
        seen = quorum.statuses(cluster)
        if name not in seen or not seen[name].leads:
            raise LabError(f"{name} does not lead etcd, so nothing can be moved", remedy="aim at etcd:leader")
        others = [status for status in seen.values() if status.machine != name]
        if not others:
            raise LabError(f"no member but {name} answers")
        machine = cluster.machines[name]
        sh(machine, f'mkdir -p -m 0700 {RUN}; echo "$1" >{NOTE}', str(seen[name].term))
        moved = quorum.own(cluster, machine, "move-leader", f"{others[0].member:x}")
        if not moved.ok:
            raise LabError(f"{name}: etcdctl move-leader: {moved.stderr.strip()}")

    def in_force(self, cluster: Cluster) -> str:
        """Another leads, in a later term."""
        (name,) = self.machines
        before = cluster.machines[name].run("cat", NOTE).stdout.strip()
        first = quorum.leading(cluster)
        told = f"{first.machine} leads in term {first.term}"
        if first.machine == name or not before or first.term <= int(before):
            raise NotYet(f"{told}, before it was {name} in term {before or 'unknown'}")
        return f"{told}, {name} led in term {before}"


@dataclass(frozen=True)
class Defrag(EtcdFault):
    """The victims' databases are written anew, one after the other; each member stands still meanwhile."""

    word: ClassVar[str] = "defrag"
    takes: ClassVar[float] = DEFRAG

    def inject(self, cluster: Cluster) -> None:
        """Returns when all are done."""
        for machine in self.victims(cluster):
            sh(machine, f'mkdir -p -m 0700 {RUN}; stat -c "%i %s" {DATABASE} >{NOTE}')
            limit = f"--command-timeout={DEFRAG:.0f}s"
            done = quorum.own(cluster, machine, limit, "defrag", timeout=DEFRAG + 5)
            if not done.ok:
                raise LabError(f"{machine.name}: etcdctl defrag: {(done.stderr or done.stdout).strip()}")

    def in_force(self, cluster: Cluster) -> str:
        """Each has another file than before."""

        def told(machine: Machine) -> str:
            seen = machine.run("sh", "-c", f'cat {NOTE} && stat -c "%i %s" {DATABASE}')
            before, _, now = seen.stdout.strip().partition("\n")
            if not now or before.split()[0] == now.split()[0]:
                raise NotYet(
                    f"{machine.name}: its database is the file of before: {now or seen.stderr.strip()}"
                )
            return f"{machine.name}: database of {before.split()[1]} bytes written anew, now {now.split()[1]}"

        return self.on_victims(cluster, told)


@dataclass(frozen=True)
class Disarm(Fault):
    """Every alarm of etcd is disarmed; for scenarios that leave that step out of `space-alarm`."""

    word: ClassVar[str] = "disarm"
    lasts: ClassVar[bool] = False

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        quorum.disarm(cluster)

    def in_force(self, cluster: Cluster) -> str:  # noqa: D102
        if raised := quorum.alarms(cluster):
            raise NotYet(f"alarms: {raised}")
        return "etcdctl alarm list is empty"

    def heal(self, cluster: Cluster) -> None:
        """Nothing lasts."""
        return

    def check_healed(self, cluster: Cluster) -> None:  # noqa: D102
        quorum.check_healthy(cluster)


@dataclass(frozen=True)
class QuorumLost(ShellFault):
    """The victims' members are killed and held down; they must be so many that no quorum is left."""

    word: ClassVar[str] = "quorum-lost"

    @property
    def _held(self) -> KillAndHold:
        return KillAndHold(self.machines, "etcd")

    def unavailable(self, cluster: Cluster) -> str:
        """Too few."""
        members = [node.name for node in cluster.topology.of(Role.ETCD)]
        left = len(set(members) - set(self.machines))
        if left > len(members) // 2:
            return f"{left} of {len(members)} members would be left, which is a quorum: aim at etcd:majority"
        return no_members(cluster, self.machines)

    def mending(self) -> tuple[Script, ...]:
        """Let them start, and start them."""
        return self._held.mending()

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self._held.inject(cluster)

    def in_force(self, cluster: Cluster) -> str:
        """No process of them is left, and none of the others knows a leader."""
        told = self._held.in_force(cluster)
        left = {name: s for name, s in quorum.statuses(cluster).items() if name not in self.machines}
        if led := [f"{name} has leader {status.leader:x}" for name, status in left.items() if status.leader]:
            raise NotYet("; ".join(led))
        return f"{told}; no leader is known to {', '.join(left) or 'anybody'}"

    def still_in_force(self, cluster: Cluster) -> str:
        """No process of them is left; who asks members that are down waits for seconds."""
        return self._held.in_force(cluster)

    def ended(self, cluster: Cluster) -> str:  # noqa: D102
        return self._held.ended(cluster)

    def check_healed(self, cluster: Cluster) -> None:
        """They run, and every member commits."""
        self._held.check_healed(cluster)
        quorum.check_healthy(cluster)


def no_members(cluster: Cluster, machines: tuple[str, ...]) -> str:
    """Which of these have no member, as a reason; empty if all do."""
    members = {node.name for node in cluster.topology.of(Role.ETCD)}
    others = [name for name in machines if name not in members]
    return f"{', '.join(others)} has no member of etcd" if others else ""


NOTE = f"{RUN}/etcd-before"
DATABASE = "/var/lib/etcd/default.etcd/member/snap/db"

FAULTS: tuple[type[Fault], ...] = (MoveLeader, Defrag, Disarm, QuorumLost)
