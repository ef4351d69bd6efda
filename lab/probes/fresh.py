"""Whether a pod that nobody knew before is bound, started and answers: a node that is Ready proves less."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import uuid4

from lab import health
from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.kubeapi import path_of
from lab.probes.workload import NAMESPACE, Manifest, manifests, new_pod
from lab.topology import Role, Topology
from lab.wait import NotYet

PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SECONDS = 60.0
# By condition, what it means if it is not true.
STEPS = {"PodScheduled": "is not bound", "Ready": "does not answer"}


def insist_fresh_pods(cluster: Cluster, seconds: float = SECONDS) -> None:
    """Return once a new pod on every worker answered its kubelet; `ClusterError` with those that did not.

    The pods are taken away again, also those that never came.
    """
    pods = dict(_pods(cluster.topology))
    try:
        for manifest in (manifests(cluster.topology)[0], *pods.values()):
            health.insist(path_of(manifest), partial(_applied, cluster, manifest), seconds)
        health.insist("a new pod on every worker to answer", partial(_check, cluster, pods), seconds)
    except BaseException:
        with suppress(ClusterError):  # what went wrong first is told
            _remove(cluster, pods.values(), seconds)
        raise
    _remove(cluster, pods.values(), seconds)


def _pods(topology: Topology) -> Iterator[tuple[str, Manifest]]:
    """By worker; their names are new each time."""
    suffix = uuid4().hex[:8]
    for number, node in enumerate(topology.of(Role.WORKER), 1):
        name = {"name": f"fresh-{suffix}-{number}", "namespace": NAMESPACE}
        yield node.name, {**new_pod(topology, node.name), "metadata": name}


def _applied(cluster: Cluster, manifest: Manifest) -> None:
    health.answered(lambda: cluster.api().apply(manifest))


def _remove(cluster: Cluster, pods: Iterable[Manifest], seconds: float) -> None:
    for manifest in pods:
        health.insist(f"removing {path_of(manifest)}", partial(_removed, cluster, manifest), seconds)


def _removed(cluster: Cluster, manifest: Manifest) -> None:
    health.answered(lambda: cluster.api().delete(path_of(manifest)))


def _check(cluster: Cluster, pods: Mapping[str, Manifest]) -> None:
    found = {pod["metadata"]["name"]: pod for pod in health.answered(lambda: cluster.api().items(PODS))}
    seen = {worker: lack(found.get(pod["metadata"]["name"], {})) for worker, pod in pods.items()}
    if lacking := [f"{worker}: a new pod {why}" for worker, why in seen.items() if why]:
        raise NotYet("; ".join(lacking))


def lack(pod: Mapping[str, Any]) -> str:
    """The first step that a pod has still to take, and why it has not; nothing if it answers.  Pure."""
    status = pod.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions", ())}
    for kind, meaning in STEPS.items():
        seen = conditions.get(kind, {})
        if seen.get("status") != "True":
            return f"{meaning}: {seen.get('message') or status.get('phase', 'nobody knows it')}"
    return ""
