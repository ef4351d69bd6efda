"""Every member of etcd loses its power in the same instant, under write load, and the page cache with it.

A container's page cache is its host's and survives, so that this needs machines with a kernel of their own.
"""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import support_disks
import support_dropin
import support_etcd
import support_writes
from support_writes import Writes

from lab import health
from lab.cluster import Cluster
from lab.errors import ClusterError, WaitExpired
from lab.machine import File, Machine, on_each
from lab.providers.base import Capability
from lab.topology import Role
from lab.wait import NotYet, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
NEEDED = (Capability.POWER_CUT, Capability.SNAPSHOT, Capability.LOSES_PAGE_CACHE)
# Acknowledged before the cut; a kernel keeps to itself what it was told in the last seconds.
WRITTEN, WRITTEN_SECONDS, PERIOD = 40, 120, 0.2
LAZY = "/run/systemd/system/etcd.service.d/50-thwlab-defect.conf"


@dataclass(frozen=True)
class Loss:
    """What is left of a promise."""

    promised: int
    lost: list[str]
    unhealthy: ClusterError | None
    torn: list[str]

    @property
    def is_shown(self) -> bool:
        """Whether anything written was lost.  That etcd is not healthy may have other reasons."""
        return bool(self.lost or self.torn)

    def told(self) -> str:
        """For a report."""
        state = f"etcd does not serve: {self.unhealthy}" if self.unhealthy else "etcd serves"
        torn = (
            f"; {'; '.join(self.torn)}" if self.torn else ", and no member speaks of a torn log or database"
        )
        gone = f"{len(self.lost)} of {self.promised} acknowledged writes are gone: {self.lost[:5]}"
        return f"{gone}; {state}{torn}"


@pytest.fixture
def mortal(lab_etcd: Cluster, record_property: Callable[[str, object], None]) -> Iterator[Cluster]:
    """A lab whose members may lose what they know: afterwards it is as it was."""
    provider = lab_etcd.lab.provider
    if lacking := [each for each in NEEDED if each not in provider.capabilities]:
        pytest.skip(f"provider {provider.name} lacks {', '.join(lacking)} here")
    record_property("disk cache", support_disks.told(support_disks.cache_modes(lab_etcd.of(Role.ETCD))))
    with as_it_was(lab_etcd):
        yield lab_etcd


@contextmanager
def as_it_was(cluster: Cluster) -> Iterator[None]:
    """The whole lab goes back to its state of now."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    cluster.lab.provider.snapshot(name)
    health.await_etcd(cluster)
    try:
        yield
    finally:
        cluster.lab.provider.restore(name)
        cluster.lab.close()  # connections to machines of before
        health.await_etcd(cluster)
        cluster.lab.provider.forget_snapshot(name)


def test_nothing_acknowledged_is_lost_when_every_member_loses_its_power(mortal: Cluster) -> None:
    seen = cut_all(mortal)
    assert not seen.lost, seen.told()
    assert not seen.unhealthy, seen.told()


def test_members_that_do_not_flush_lose_what_they_acknowledged(mortal: Cluster) -> None:
    """Else the cut of the test before proves nothing; nor does a member that is only late, or away."""
    for machine in mortal.of(Role.ETCD):
        do_not_flush(machine)
        health.await_etcd(mortal)
    seen = cut_all(mortal)
    assert seen.is_shown, f"the power cut is none: {seen.told()}"


def do_not_flush(machine: Machine) -> None:
    """Its member acknowledges what its kernel alone knows, until the next boot."""
    machine.apply([File(LAZY, b"[Service]\nEnvironment=ETCD_UNSAFE_NO_FSYNC=true\n")])
    support_dropin.restart(machine, "etcd")
    said = machine.check("sh", "-c", "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID etcd)/environ")
    assert "ETCD_UNSAFE_NO_FSYNC=true" in said.splitlines(), f"{machine.name}: etcd was not told"


def cut_all(cluster: Cluster) -> Loss:
    """Cut the power of every member's machine while keys are written, boot them, and look for the keys."""
    members = cluster.of(Role.ETCD)
    loss = None
    try:
        with support_writes.etcd_writes(cluster, [each.node.address for each in members], PERIOD) as writes:
            wait_until(f"{WRITTEN} acknowledged writes", lambda: _enough(writes), timeout=WRITTEN_SECONDS)
            on_each(members, lambda machine: machine.pull_plug())
            writes.stop()
            on_each(members, lambda machine: machine.boot())
            cluster.lab.close()
            loss = _reckoned(cluster, writes)
    except WaitExpired:  # also of taking the keys away again
        if not loss or not loss.unhealthy:
            raise
    return loss


def _reckoned(cluster: Cluster, writes: Writes) -> Loss:
    promised = len(writes.acknowledged())
    try:
        health.await_etcd(cluster)
    except ClusterError as error:
        return Loss(promised, [], error, support_etcd.torn(cluster))
    return Loss(promised, support_writes.lost_of_etcd(cluster, writes), None, [])


def _enough(writes: Writes) -> None:
    if (there := len(writes.acknowledged())) < WRITTEN:
        raise NotYet(f"{there} up to now")
