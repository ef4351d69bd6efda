"""The API while masters may be down: whichever apiserver answers."""

from typing import Any

from lab.cluster import Cluster
from lab.kubeapi import KubeApi, Refused
from lab.topology import Role
from lab.wait import NotYet


def answering(cluster: Cluster) -> KubeApi:
    """The first apiserver, in the order of the plan, that is ready; `NotYet` with what each one said."""
    said = []
    for node in cluster.topology.of(Role.CONTROL_PLANE):
        api = cluster.api(node.name)
        try:
            api.text("/readyz")
        except (NotYet, Refused) as error:
            said.append(f"{node.name}: {error}")
            continue
        return api
    raise NotYet("; ".join(said))


def items(cluster: Cluster, path: str, **query: str) -> list[dict[str, Any]]:
    """The items of a list, from whoever is ready."""
    return answering(cluster).items(path, **query)
