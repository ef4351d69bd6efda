"""Who is meant: a machine by its name, or a role that is looked up at the moment a fault begins."""

from collections.abc import Callable, Mapping

from lab.cluster import Cluster
from lab.topology import Role, Topology

Lookup = Callable[[Cluster], tuple[str, ...]]


def words(topology: Topology) -> tuple[str, ...]:
    """Everything that a scenario may aim at in this plan: machines by name, then roles.  Pure."""
    return (*(node.name for node in topology.nodes), *ROLES)


def resolve(cluster: Cluster, asked: str) -> tuple[str, ...]:
    """The machines behind the word now.  Raises `NotYet` while a role has no holder."""
    if asked in cluster.machines:
        return (asked,)
    return ROLES[asked](cluster)


def _with(role: Role) -> Lookup:
    return lambda cluster: tuple(node.name for node in cluster.topology.of(role))


ROLES: Mapping[str, Lookup] = {
    "load-balancer": _with(Role.LOAD_BALANCER),
    "control-plane": _with(Role.CONTROL_PLANE),
    "workers": _with(Role.WORKER),
    "etcd:all": _with(Role.ETCD),
}
