"""Leadership brought to one machine: what must be so before a fault can hit all that leads at once."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from lab.cluster import Cluster
from lab.errors import LabError
from lab.faults import quorum
from lab.faults.etcd import no_members
from lab.faults.serving import check_unit
from lab.faults.shell import ShellFault, sh
from lab.faults.targets import LEASES_OF_MASTERS, holder
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet, wait_until

UNITS = tuple(f"{each}.service" for each in LEASES_OF_MASTERS)
TAKEOVER = 60.0  # seconds; a lease is given up after 15, and a standby looks every few


@dataclass(frozen=True)
class Lead(ShellFault):
    """The victim's member is made the leader of etcd, if it is not."""

    word: ClassVar[str] = "lead"
    lasts: ClassVar[bool] = False

    def unavailable(self, cluster: Cluster) -> str:
        """More than one, or no member at all."""
        if len(self.machines) != 1:
            return f"one machine leads, not {len(self.machines)}"
        return no_members(cluster, self.machines)

    def inject(self, cluster: Cluster) -> None:
        """`LabError` if the victim's member does not answer, or the leader does not hand over."""
        (name,) = self.machines
        first = quorum.await_leader(cluster)
        if first == name:
            return
        if (own := quorum.statuses(cluster).get(name)) is None:
            raise LabError(f"{name}: its member does not answer, so it cannot lead")
        moved = quorum.own(cluster, cluster.machines[first], "move-leader", f"{own.member:x}")
        if not moved.ok:
            raise LabError(f"{first}: etcdctl move-leader: {moved.stderr.strip()}")

    def in_force(self, cluster: Cluster) -> str:
        """It leads."""
        (name,) = self.machines
        first = quorum.leading(cluster)
        if first.machine != name:
            raise NotYet(f"{first.machine} leads etcd, not {name}")
        return f"{name} leads etcd in term {first.term}"

    def check_healed(self, cluster: Cluster) -> None:  # noqa: D102
        quorum.check_healthy(cluster)


@dataclass(frozen=True)
class Gather(Lead):
    """The victim, a master, is made the leader of etcd and the holder of both leases.

    The other masters' controller-manager and scheduler are stopped until it holds them, and started again.
    """

    word: ClassVar[str] = "gather"
    takes: ClassVar[float] = TAKEOVER + 30.0

    def unavailable(self, cluster: Cluster) -> str:
        """Not a master with a member of etcd."""
        masters = {node.name for node in cluster.topology.of(Role.CONTROL_PLANE)}
        if others := [name for name in self.machines if name not in masters]:
            return f"{', '.join(others)} is no master, so it holds no lease"
        return super().unavailable(cluster)

    def inject(self, cluster: Cluster) -> None:
        """Returns when it holds all three."""
        (name,) = self.machines
        try:
            for lease in LEASES_OF_MASTERS:
                for other in self._others(cluster):
                    sh(other, f"systemctl stop --no-block {lease}.service")
            for lease in LEASES_OF_MASTERS:
                held = partial(_check_held, cluster, lease, name)
                wait_until(f"{name} to hold {lease}", held, timeout=TAKEOVER, every=0.5)
        finally:
            self.heal(cluster)
        super().inject(cluster)

    def in_force(self, cluster: Cluster) -> str:
        """It leads and holds both."""
        (name,) = self.machines
        told = super().in_force(cluster)
        for lease in LEASES_OF_MASTERS:
            _check_held(cluster, lease, name)
        return f"{told} and holds {' and '.join(LEASES_OF_MASTERS)}"

    def heal(self, cluster: Cluster) -> None:
        """Nobody is left stopped."""
        for other in self._others(cluster):
            sh(other, f"systemctl start --no-block {' '.join(UNITS)}")

    def check_healed(self, cluster: Cluster) -> None:
        """The others serve, for whoever is the next."""
        for other in self._others(cluster):
            for lease in LEASES_OF_MASTERS:
                check_unit(cluster, other, lease)
        super().check_healed(cluster)

    def _others(self, cluster: Cluster) -> list[Machine]:
        return [each for each in cluster.of(Role.CONTROL_PLANE) if each.name not in self.machines]


def _check_held(cluster: Cluster, lease: str, name: str) -> None:
    if (now := holder(cluster, lease)) != name:
        raise NotYet(f"{now} holds {lease}, not {name}")


FAULTS: tuple[type[Lead], ...] = (Lead, Gather)
