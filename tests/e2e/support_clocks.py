"""Whether machines have this host's time, where they have a clock of their own."""

from lab.cluster import Cluster
from lab.furnishing import identity
from lab.machine import on_each
from lab.providers.base import Capability

MARGIN = 1.0  # seconds; certificates are backdated by minutes


def own(cluster: Cluster) -> bool:
    """Whether each machine has a clock of its own; containers' is this host's."""
    return Capability.OWN_CLOCK in cluster.lab.provider.capabilities


def wrong(cluster: Cluster) -> list[str]:
    """Each machine whose clock is not this host's, with how far; none where they have none of their own."""
    if not own(cluster):
        return []
    seen = on_each(list(cluster.machines.values()), identity.ask)
    return list(identity.skewed(seen, MARGIN).values())
