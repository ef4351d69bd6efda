"""In which order machines that lost their power together get it back.

All at once, but for masters that are too slow for it.  An apiserver that is not done with its first writes
after 30 s ends itself and begins anew, and two that start on the processors of one host keep each other from
it for good: https://github.com/kubernetes/kubernetes/blob/v1.37.2/pkg/registry/scheduling/rest/storage_scheduling.go
So there each waits for the one before, as in the lab's own bring-up.
"""

import logging
from collections.abc import Collection, Sequence

from lab.cluster import Cluster
from lab.errors import WaitExpired
from lab.faults.serving import check_machines
from lab.machine import Machine, on_each
from lab.topology import Role
from lab.wait import hopeful, wait_until

SERVES = 60.0  # seconds, for a master to serve before the next is begun all the same

log = logging.getLogger(__name__)


def boot(cluster: Cluster, machines: Sequence[Machine]) -> None:
    """Boot what is off; returns once commands can be run on all of them."""
    if not cluster.lab.provider.is_slow:
        on_each(machines, lambda machine: machine.boot())
        return
    members = [node.name for node in cluster.topology.of(Role.ETCD)]
    *before, last = turns(machines, members)
    for turn in before:
        on_each(turn, lambda machine: machine.boot())
        _await_serving(cluster, turn)
    on_each(last, lambda machine: machine.boot())


def turns(machines: Sequence[Machine], members: Collection[str]) -> list[list[Machine]]:
    """Whom to boot together: no master before another serves, which it does only with most of ``members``.

    Who is neither comes with the last.  Pure.
    """
    masters = [each for each in machines if Role.CONTROL_PLANE in each.node.roles]
    first = [each for each in machines if each.name in members and each not in masters]
    others = [each for each in machines if each not in masters and each not in first]
    away = {each.name for each in machines}
    while masters:
        first.append(masters.pop(0))
        up = [name for name in members if name not in away or name in {each.name for each in first}]
        if 2 * len(up) > len(members):
            break
    found = [first, *([master] for master in masters)]
    return [*found[:-1], [*found[-1], *others]]


def _await_serving(cluster: Cluster, machines: Sequence[Machine]) -> None:
    """Also where they do not come to serve the others get their power: what is lacking may be those."""

    def check() -> None:
        with hopeful():
            check_machines(cluster, list(machines))

    names = ", ".join(machine.name for machine in machines)
    try:
        wait_until(f"{names} to serve before the next master boots", check, timeout=SERVES, every=1.0)
    except WaitExpired as error:
        log.warning("%s: not serving yet; the next master boots all the same: %s", names, error)
