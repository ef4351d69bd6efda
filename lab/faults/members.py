"""A member of etcd that loses its data, and one that is replaced.

A member whose data is gone is no member any more: started as it was it ends at once, for the others know it.
It must be removed, added, and started with the state `existing`.  That takes steps on several machines, so
somebody on this host does it.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from lab.cluster import Cluster
from lab.components.etcd import DATA, peer_url
from lab.errors import LabError
from lab.faults import quorum
from lab.faults.etcd import no_members
from lab.faults.shell import LONG, RUN, ShellFault, sh
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet, wait_until

JOIN = 60.0  # seconds for a new member to catch up


@dataclass(frozen=True)
class MemberFault(ShellFault):
    """Of one member at a time, for two without data are no quorum."""

    destroys_data: ClassVar[bool] = True

    def unavailable(self, cluster: Cluster) -> str:
        """Too few others, or no member at all."""
        members = len(cluster.topology.of(Role.ETCD))
        if len(self.machines) != 1 or members < 3:
            return f"one member of three or more, not {len(self.machines)} of {members}"
        return no_members(cluster, self.machines)

    def heal(self, cluster: Cluster) -> None:
        """Have a started member there again, with the others' data."""
        for machine in self.victims(cluster):
            rejoin(cluster, machine)

    def check_healed(self, cluster: Cluster) -> None:
        """As many started members as planned, no learner; the unit is as rendered."""
        for machine in self.victims(cluster):
            if left := sh(machine, f"ls {DROPIN} {JOINING} 2>/dev/null; true").split():
                raise NotYet(f"{machine.name}: {', '.join(left)} is still there")
        quorum.check_healthy(cluster)


@dataclass(frozen=True)
class MemberWiped(MemberFault):
    """The victim's data is deleted, and its member started as it was; it does not come back by itself."""

    word: ClassVar[str] = "member-wiped"

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self.on_victims(cluster, lambda machine: sh(machine, f"{_NOTE}{_WIPE}{_START}", timeout=LONG))

    def in_force(self, cluster: Cluster) -> str:
        """It does not serve, and why, by its own last words."""

        def told(machine: Machine) -> str:
            if machine.name in quorum.statuses(cluster):
                raise NotYet(f"{machine.name}: its member answers")
            if not (said := sh(machine, _LAST_WORDS).strip()):
                raise NotYet(f"{machine.name}: its member has not given up yet")
            name = cluster.topology.etcd_name(machine.node)
            remedy = f"removed and added anew it does: thwlab rejoin {machine.name}"
            return f"{machine.name}: {name} did not come back: {said[:400]}; {remedy}"

        return self.on_victims(cluster, told)

    def still_in_force(self, cluster: Cluster) -> str:
        """Its unit, which is active only while the member serves, and who asks it waits long."""

        def told(machine: Machine) -> str:
            if (state := _state(machine)) == "active":
                raise NotYet(f"{machine.name}: its member serves")
            return f"{machine.name}: its member does not serve, its unit is {state}"

        return self.on_victims(cluster, told)


@dataclass(frozen=True)
class MemberReplaced(MemberFault):
    """The victim's member is removed from the cluster, its data deleted, and a new one added in its place."""

    word: ClassVar[str] = "member-replaced"
    lasts: ClassVar[bool] = False
    takes: ClassVar[float] = 3 * JOIN

    def inject(self, cluster: Cluster) -> None:
        """Returns when the new member is started."""
        for machine in self.victims(cluster):
            sh(machine, f'mkdir -p -m 0700 {RUN}; echo "$1" >{BEFORE}', _number(cluster, machine))
            sh(machine, _WIPE, timeout=LONG)
            rejoin(cluster, machine)

    def in_force(self, cluster: Cluster) -> str:
        """The member there has another number than before."""

        def told(machine: Machine) -> str:
            before, now = machine.run("cat", BEFORE).stdout.strip(), _number(cluster, machine)
            if not before or before == now:
                raise NotYet(f"{machine.name}: its member is {now}, before it was {before or 'unknown'}")
            return f"{machine.name}: member {now} in the place of {before}"

        return self.on_victims(cluster, told)

    def heal(self, cluster: Cluster) -> None:
        """Help where it was interrupted; our note goes."""
        super().heal(cluster)
        self.on_victims(cluster, lambda machine: sh(machine, f"rm -f {BEFORE}"))


def rejoin_lost(cluster: Cluster, machine: Machine) -> bool:
    """`rejoin`, for a member that nobody here broke; whether there was anything to do.

    Raises `LabError` where the machine has no member, or the others are no quorum without it: then what it
    has may be all there is.  Also where it runs and only does not answer, frozen, cut off or slow: it will be
    back with its data.
    """
    if lacking := no_members(cluster, (machine.name,)):
        raise LabError(lacking, remedy="thwlab status")
    serving = [name for name, status in quorum.statuses(cluster).items() if status.leader]
    if machine.name in serving:
        return False
    needed = len(quorum.await_listed(cluster)) // 2 + 1 if serving else 1
    if len(serving) < needed:
        raise LabError(
            f"{machine.name}: nothing was done, for {len(serving)} of the others serve and {needed} are a "
            "quorum; the data that it has may be all there is",
            remedy="have the others serve first; thwlab status",
        )
    if _state(machine) == "active":
        raise LabError(
            f"{machine.name}: nothing was done, for its member runs and does not answer: it is not lost",
            remedy=f"thwlab logs {machine.name} etcd shows why; to replace it all the same, first: "
            f"thwlab exec {machine.name} -- systemctl stop etcd",
        )
    rejoin(cluster, machine)
    return True


def _state(machine: Machine) -> str:
    """Of its member's unit, which is active from when the member serves until its process is gone."""
    return sh(machine, "systemctl show --property=ActiveState --value etcd.service").strip()


def rejoin(cluster: Cluster, machine: Machine) -> None:
    """Have the machine's member started, whatever became of it; leaves alone one that serves.

    Raises `WaitExpired` if the new one does not catch up in time.
    """
    if machine.name not in quorum.statuses(cluster):
        sh(machine, _WIPE, timeout=LONG)
        _remove(cluster, machine)
        _add(cluster, machine)
        sh(machine, _JOIN.format(initial=_initial(cluster)), timeout=LONG)
        what = f"the new member on {machine.name} to serve"
        wait_until(what, partial(_check_serves, cluster, machine), timeout=JOIN, every=0.5)
    sh(machine, _SETTLE)


def _remove(cluster: Cluster, machine: Machine) -> None:
    for each in quorum.await_listed(cluster):
        if peer_url(machine.node) in each["peerURLs"]:
            _insist(cluster, machine, "remove", f"{each['ID']:x}")


def _add(cluster: Cluster, machine: Machine) -> None:
    name = cluster.topology.etcd_name(machine.node)
    _insist(cluster, machine, "add", name, f"--peer-urls={peer_url(machine.node)}")


def _insist(cluster: Cluster, machine: Machine, *order: str) -> None:
    """Etcd takes no such order while it has lost sight of one of the others, just after an election too."""
    wait_until(
        f"etcd to take the order: member {' '.join(order)}",
        lambda: quorum.from_anybody(cluster, "member", *order, but=machine.name),
        timeout=JOIN,
        every=0.5,
    )


def _initial(cluster: Cluster) -> str:
    nodes = cluster.topology.of(Role.ETCD)
    return ",".join(f"{cluster.topology.etcd_name(node)}={peer_url(node)}" for node in nodes)


def _check_serves(cluster: Cluster, machine: Machine) -> None:
    status = quorum.statuses(cluster).get(machine.name)
    if status is None or not status.leader:
        raise NotYet(
            f"{machine.name}: its member knows no leader" if status else f"{machine.name}: no answer"
        )


def _number(cluster: Cluster, machine: Machine) -> str:
    for each in quorum.await_listed(cluster):
        if peer_url(machine.node) in each["peerURLs"]:
            return f"{each['ID']:x}"
    raise LabError(f"{machine.name} has no member in etcd's own list", remedy="thwlab heal --all")


BEFORE = f"{RUN}/member-before"
WIPED = f"{RUN}/member-wiped"
JOINING = f"{RUN}/etcd-joining"
DROPIN = "/run/systemd/system/etcd.service.d/thwlab-joining.conf"
_NOTE = f"mkdir -p -m 0700 {RUN}; date +%s >{WIPED}\n"
_WIPE = f"""\
systemctl stop etcd.service
rm -rf {DATA}
"""
_START = "systemctl start --no-block etcd.service\n"
# A second file of variables, for those of the unit's own file win over any that a drop-in sets itself.
_JOIN = f"""\
mkdir -p -m 0700 {RUN}
mkdir -p {DROPIN.rpartition("/")[0]}
printf 'ETCD_INITIAL_CLUSTER_STATE="existing"\\nETCD_INITIAL_CLUSTER="%s"\\n' '{{initial}}' >{JOINING}
printf '[Service]\\nEnvironmentFile={JOINING}\\n' >{DROPIN}
systemctl daemon-reload
{_START}"""
_SETTLE = f"""\
rm -f {WIPED}
if test -e {DROPIN} || test -e {JOINING}; then
  rm -f {DROPIN} {JOINING}
  rmdir --ignore-fail-on-non-empty {DROPIN.rpartition("/")[0]}
  systemctl daemon-reload
fi
systemctl reset-failed etcd.service 2>/dev/null
systemctl start --no-block etcd.service
"""
_LAST_WORDS = f"""\
journalctl -u etcd.service --since "@$(cat {WIPED} || date +%s)" -o cat --no-pager |
  grep -E '"level":"(fatal|panic)"' | tail -n 1
"""

FAULTS: tuple[type[MemberFault], ...] = (MemberWiped, MemberReplaced)
