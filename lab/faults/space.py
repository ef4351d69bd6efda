"""etcd's space alarm: a database that reached its quota, which refuses writes until the alarm is disarmed."""

import re
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from lab.cluster import Cluster
from lab.components.etcd import client_url, etcdctl
from lab.errors import LabError
from lab.faults import quorum
from lab.faults.base import Bytes
from lab.faults.etcd import DEFRAG, no_members
from lab.faults.shell import RUN, ShellFault, sh
from lab.kubeapi import Refused
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet, wait_until

MIB = 1024 * 1024
VALUE = 512 * 1024  # bytes of a value; base64 makes more of it, and 1.5 MiB is all that etcd takes at once
SPARE = 16  # values more than should do
PREFIX = "/thwlab/filler/"
FILL = 120.0  # seconds
RESTART = 60.0


@dataclass(frozen=True)
class SpaceAlarm(ShellFault):
    """All members get a small quota and are filled until etcd refuses writes; aim at `etcd:all`.

    `room`: so much above what the largest database holds.  `disarm`: whether the alarm is disarmed when it is
    healed; without, what was written is deleted, and the alarm stays.
    """

    word: ClassVar[str] = "space-alarm"
    takes: ClassVar[float] = 90.0  # a restart of each member and its apiserver, then some dozen writes

    room: Bytes = 4 * MIB
    disarm: bool = True

    def unavailable(self, cluster: Cluster) -> str:
        """A quota of one member alone would be an alarm of all the same, but not a case of anybody's."""
        left = [node.name for node in cluster.topology.of(Role.ETCD) if node.name not in self.machines]
        if left:
            return f"{', '.join(left)} would keep the old quota: aim at etcd:all"
        return no_members(cluster, self.machines)

    def inject(self, cluster: Cluster) -> None:
        """Returns when a write was refused."""
        # What the file has free is filled first, and that may be all of it: only then does the file grow.
        largest = max((status.size for status in quorum.statuses(cluster).values()), default=0)
        script = _QUOTA.format(quota=largest + self.room)
        for machine in self.victims(cluster):
            sh(machine, script)
            _restart(cluster, machine)
        for master in cluster.of(Role.CONTROL_PLANE):  # its apiserver may end with its member, alarm or none
            what = f"the apiserver on {master.name} to be ready again"
            wait_until(what, partial(_check_ready, cluster, master), timeout=RESTART)
        first = cluster.machines[quorum.await_leader(cluster)]  # the old one was just started anew
        program = f"{etcdctl()} --command-timeout=5s --endpoints={client_url(first.node)}"
        args = (PREFIX, str((largest + 2 * self.room) // VALUE + SPARE), str(VALUE), program)
        done = first.run("sh", "-c", _FILL, "sh", *args, timeout=FILL)
        if not done.ok:
            raise LabError(
                f"{first.name}: nothing refused to be written: {(done.stderr or done.stdout)[-500:]}"
            )

    def in_force(self, cluster: Cluster) -> str:
        """The alarm is raised, and a write is refused for it."""
        raised = quorum.alarms(cluster)
        if "NOSPACE" not in raised:
            raise NotYet(f"alarms: {raised or 'none'}")
        machine = self.victims(cluster)[0]
        tried = quorum.own(cluster, machine, "--command-timeout=5s", "put", f"{PREFIX}try", "x")
        if "database space exceeded" not in tried.stderr:
            raise NotYet(f"{machine.name}: a write ended with {(tried.stderr or tried.stdout).strip()}")
        return f"{machine.name}: a write is refused: database space exceeded; alarms: {raised}"

    def still_in_force(self, cluster: Cluster) -> str:
        """The alarm alone: no write is needed to know it; members that answer nobody tell nothing of it."""
        try:
            raised = quorum.alarms(cluster)
        except NotYet as error:
            raise LabError(str(error)) from error
        if "NOSPACE" not in raised:
            raise NotYet(f"alarms: {raised or 'none'}")
        return f"alarms: {raised}"

    def heal(self, cluster: Cluster) -> None:
        """Delete, compact, defragment; then disarm, and start the members anew with their own quota.

        Where the alarm is meant to stay they keep their quota until somebody has disarmed it: to start them
        anew meanwhile cures nothing, and with no alarm and a quota that small the next would soon come.
        """
        deleted = quorum.from_anybody(cluster, "del", "--prefix", PREFIX).stdout.split()
        if (deleted and deleted[0] != "0") or quorum.alarms(cluster):
            self._shrink(cluster)
        if self.disarm:
            quorum.disarm(cluster)
        elif quorum.alarms(cluster):
            return
        for machine in self.victims(cluster):
            if sh(machine, _OWN_QUOTA).strip():
                _restart(cluster, machine)

    def check_healed(self, cluster: Cluster) -> None:
        """No alarm is raised, nothing is left of what was written, and the units are as rendered."""
        if raised := quorum.alarms(cluster):
            raise NotYet(f"alarms: {raised}; remedy: etcdctl alarm disarm")
        for machine in self.victims(cluster):
            if left := sh(machine, f"ls {DROPIN} {SMALL} 2>/dev/null; true").split():
                raise NotYet(f"{machine.name}: {', '.join(left)} is still there")
        seen = quorum.from_anybody(cluster, "get", "--prefix", "--count-only", "--write-out=fields", PREFIX)
        if not re.search(r'"Count" : 0\b', seen.stdout):
            raise NotYet(f"keys below {PREFIX} are left: {seen.stdout.strip()}")
        quorum.check_healthy(cluster)

    def remedy(self, cluster: Cluster) -> str:
        """An alarm that is meant to stay goes by its own command alone; healing again would only wait."""
        if self.disarm:
            return super().remedy(cluster)
        member = self.victims(cluster)[0]
        order = f"{etcdctl()} --endpoints={client_url(member.node)} alarm disarm"
        name = cluster.topology.name
        return f"thwlab --name {name} exec {member.name} -- {order}; then thwlab --name {name} heal --all"

    def _shrink(self, cluster: Cluster) -> None:
        """A compaction to where it was compacted already is no failure."""
        first = quorum.leading(cluster)
        revision, machine = first.revision, cluster.machines[first.machine]
        done = quorum.own(cluster, machine, "--command-timeout=30s", "compact", str(revision), timeout=35)
        if not done.ok and "has been compacted" not in done.stderr:
            raise LabError(f"{machine.name}: etcdctl compact {revision}: {done.stderr.strip()}")
        for each in self.victims(cluster):
            limit = f"--command-timeout={DEFRAG:.0f}s"
            done = quorum.own(cluster, each, limit, "defrag", timeout=DEFRAG + 5)
            if not done.ok:
                raise LabError(f"{each.name}: etcdctl defrag: {done.stderr.strip()}")


def _restart(cluster: Cluster, machine: Machine) -> None:
    """One member at a time, and on only once it serves again."""
    sh(machine, "systemctl restart --no-block etcd.service")
    what = f"the member on {machine.name} to commit again"
    wait_until(what, partial(_check_commits, cluster, machine), timeout=RESTART, every=0.3)


def _check_commits(cluster: Cluster, machine: Machine) -> None:
    """A read through the quorum, for a `health` is red as long as an alarm is raised."""
    done = quorum.own(cluster, machine, "--command-timeout=3s", "get", f"{PREFIX}try", timeout=8)
    if not done.ok:
        raise NotYet(f"{machine.name}: {done.stderr.strip()[-300:]}")


def _check_ready(cluster: Cluster, master: Machine) -> None:
    try:
        cluster.api(master.name).text("/readyz")
    except Refused as error:
        raise NotYet(str(error)) from error


SMALL = f"{RUN}/etcd-quota"
DROPIN = "/run/systemd/system/etcd.service.d/thwlab-quota.conf"
_QUOTA = f"""\
mkdir -p -m 0700 {RUN}
mkdir -p {DROPIN.rpartition("/")[0]}
echo 'ETCD_QUOTA_BACKEND_BYTES="{{quota}}"' >{SMALL}
printf '[Service]\\nEnvironmentFile={SMALL}\\n' >{DROPIN}
systemctl daemon-reload
"""
# Prints something if there was another quota.
_OWN_QUOTA = f"""\
test -e {DROPIN} || test -e {SMALL} || exit 0
rm -f {DROPIN} {SMALL}
rmdir --ignore-fail-on-non-empty {DROPIN.rpartition("/")[0]}
systemctl daemon-reload
echo changed
"""
_FILL = """\
for turn in $(seq "$2"); do
  said=$(head -c "$3" /dev/urandom | base64 -w 0 | $4 put "$1$turn" 2>&1) && continue
  case "$said" in *"database space exceeded"*) exit 0;; esac
done
echo "$said"; exit 1
"""

FAULTS = (SpaceAlarm,)
