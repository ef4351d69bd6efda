"""Who is meant: a machine by its name, or a role that is looked up at the moment a fault begins."""

from collections.abc import Callable, Mapping

from lab.cluster import Cluster
from lab.faults import pods, quorum
from lab.faults.api import answering
from lab.topology import Role, Topology
from lab.wait import NotYet

Lookup = Callable[[Cluster], tuple[str, ...]]
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"


def words(topology: Topology) -> tuple[str, ...]:
    """Everything that a scenario may aim at in this plan: machines by name, then roles.  Pure."""
    return (*(node.name for node in topology.nodes), *ROLES)


def resolve(cluster: Cluster, asked: str) -> tuple[str, ...]:
    """The machines behind the word now; plans that are done again name several, with a + between them.

    `NotYet` while a role has no holder, `KeyError` if the word is unknown.
    """
    names = tuple(asked.split("+"))
    if cluster.machines.keys() >= set(names):
        return names
    return ROLES[asked](cluster)


LEASES_OF_MASTERS = ("kube-controller-manager", "kube-scheduler")


def holder(cluster: Cluster, lease: str) -> str:
    """The machine whose program holds this lease of kube-system."""
    told = answering(cluster).get(f"{LEASES}/{lease}")["spec"].get("holderIdentity") or ""
    name = str(told).rpartition("_")[0]  # the host's name, and a number drawn at the program's start
    if name not in cluster.machines:
        raise NotYet(f"{told or 'nobody'} holds the lease {lease}")
    return name


def _with(role: Role) -> Lookup:
    return lambda cluster: tuple(node.name for node in cluster.topology.of(role))


def _everybody(cluster: Cluster) -> tuple[str, ...]:
    return tuple(node.name for node in cluster.topology.nodes)


def _leader(cluster: Cluster) -> tuple[str, ...]:
    return (quorum.leader(cluster),)


def _followers(cluster: Cluster) -> tuple[str, ...]:
    first = quorum.leader(cluster)
    found = tuple(node.name for node in cluster.topology.of(Role.ETCD) if node.name != first)
    if not found:
        raise NotYet("etcd has one member only")
    return found


def _follower(cluster: Cluster) -> tuple[str, ...]:
    return _followers(cluster)[:1]


def _majority(cluster: Cluster) -> tuple[str, ...]:
    """The leader, and as many others as it takes to leave no quorum."""
    members = cluster.topology.of(Role.ETCD)
    first = quorum.leader(cluster)
    others = [node.name for node in members if node.name != first]
    return (first, *others[: len(members) // 2])


def _edge(cluster: Cluster) -> tuple[str, ...]:
    return (*_leader(cluster), *_follower(cluster))


def _holds(lease: str) -> Lookup:
    return lambda cluster: (holder(cluster, lease),)


def _leading(cluster: Cluster) -> tuple[str, ...]:
    """The one machine that leads etcd and holds both leases; `NotYet` with who has what where they differ."""
    have = {"etcd": quorum.leader(cluster), **{each: holder(cluster, each) for each in LEASES_OF_MASTERS}}
    if len(set(have.values())) > 1:
        told = ", ".join(f"{name} leads {what}" for what, name in have.items())
        raise NotYet(f"no master leads all: {told}; the fault `gather` brings it about")
    return (have["etcd"],)


def _first_apiserver(cluster: Cluster) -> tuple[str, ...]:
    ready = answering(cluster)
    masters = cluster.topology.of(Role.CONTROL_PLANE)
    return tuple(node.name for node in masters if cluster.api(node.name) is ready)


def _nodes_of_coredns(cluster: Cluster) -> tuple[str, ...]:
    return pods.nodes_of(cluster)


ROLES: Mapping[str, Lookup] = {
    "all": _everybody,
    "load-balancer": _with(Role.LOAD_BALANCER),
    "control-plane": _with(Role.CONTROL_PLANE),
    "workers": _with(Role.WORKER),
    "etcd:all": _with(Role.ETCD),
    "etcd:leader": _leader,
    "etcd:follower": _follower,
    "etcd:followers": _followers,
    "etcd:majority": _majority,
    "etcd:leader-and-follower": _edge,
    "master:leading": _leading,
    "kube-apiserver:any": _first_apiserver,
    "kube-controller-manager:leader": _holds("kube-controller-manager"),
    "kube-scheduler:leader": _holds("kube-scheduler"),
    "node-of:coredns": lambda cluster: _nodes_of_coredns(cluster)[:1],
    "nodes-of:coredns": _nodes_of_coredns,
}
