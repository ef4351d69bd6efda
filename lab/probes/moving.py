"""What moves when a worker is lost for good: one pod of a Deployment, and one that must never be there twice.

They have the default tolerations, 300 s; another Deployment's pod bears a lost node for `SHORT` only.  All
are put on the first worker where it is free; a run that asks for them begins with them there.
"""

from functools import partial
from typing import Any

from lab.cluster import Cluster
from lab.kubeapi import Refused, path_of
from lab.probes.workload import MOVED, NAMESPACE, Manifest, server
from lab.topology import Role, Topology
from lab.wait import NotYet, wait_until

ORDINAL = "ordinal"  # a StatefulSet of one pod
EARLY = "early"  # a Deployment of one pod that does not wait for long
SHORT = 30  # seconds
START = 120.0  # seconds
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def manifests(topology: Topology) -> list[Manifest]:
    """All, in the order to create them.  Pure."""
    return [
        _one(topology, "Deployment", MOVED, {}),
        _one(topology, "StatefulSet", ORDINAL, {"serviceName": ORDINAL}),
        _one(topology, "Deployment", EARLY, {}, SHORT),
    ]


def ensure(cluster: Cluster) -> None:
    """Have all running, on the first worker."""
    for manifest in manifests(cluster.topology):
        what = path_of(manifest)
        wait_until(what, partial(_applied, cluster, manifest), timeout=START)
    what = f"pods of {MOVED}, {ORDINAL} and {EARLY}"
    wait_until(what, partial(_check_there, cluster), timeout=START, every=1.0)


def _applied(cluster: Cluster, manifest: Manifest) -> None:
    try:
        cluster.api().apply(manifest)
    except Refused as error:
        raise NotYet(str(error)) from error


def _check_there(cluster: Cluster) -> None:
    """One that an earlier run has moved is made anew, and so bound anew."""
    first = _first(cluster.topology)
    for app in (MOVED, ORDINAL, EARLY):
        pods = cluster.api().items(PODS, labelSelector=f"app={app}")
        for pod in pods:
            name, node = pod["metadata"]["name"], pod["spec"].get("nodeName", "")
            if node not in ("", first) and "deletionTimestamp" not in pod["metadata"]:
                cluster.api().delete(f"{PODS}/{name}")
                raise NotYet(f"{name} is on {node}, not on {first}")
        if [_ready(pod) for pod in pods] != [True]:
            raise NotYet(f"{app}: {len(pods)} pods, and one that is ready is wanted")


def _ready(pod: Any) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _first(topology: Topology) -> str:
    return topology.of(Role.WORKER)[0].name


def _one(topology: Topology, kind: str, name: str, more: Manifest, bears: int | None = None) -> Manifest:
    labels = {"app": name}
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [_first(topology)]}
    wish = [{"weight": 100, "preference": {"matchExpressions": [here]}}]
    affinity = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": wish}}
    pod = {**server(topology), "affinity": affinity, **({"tolerations": _for(bears)} if bears else {})}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template, **more}
    place = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": place, "spec": spec}


def _for(seconds: int) -> list[Manifest]:
    """In place of those that the apiserver adds: how long a pod stays bound to a node that is away."""
    away = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
    short = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
    return [{"key": key, **short} for key in away]
