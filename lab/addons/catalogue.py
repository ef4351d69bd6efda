"""Which addons a plan needs."""

from collections.abc import Mapping

from lab.addons.base import Addon
from lab.addons.bootstrap import Bootstrap
from lab.addons.coredns import CoreDns
from lab.addons.rbac import FlannelAccess, KubeletAccess
from lab.topology import Cni, Topology

CHOICES: Mapping[str, type[Addon]] = {CoreDns.name: CoreDns}


def access(topology: Topology) -> tuple[Addon, ...]:
    """What the programs need of each other, before the first kubelet starts."""
    flannel = (FlannelAccess(topology),) if topology.cni is Cni.FLANNEL else ()
    return Bootstrap(topology), KubeletAccess(topology), *flannel


def chosen(topology: Topology) -> tuple[Addon, ...]:
    """What the plan lists, in its order; KeyError for a name that is not in `CHOICES`."""
    return tuple(CHOICES[name](topology) for name in topology.addons)
