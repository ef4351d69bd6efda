"""What probes talk to inside the cluster: a small server on every worker, and a Service before them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from lab.cluster import Cluster
from lab.errors import LabError
from lab.kubeapi import Refused, path_of
from lab.topology import Role, Topology
from lab.wait import NotYet, wait_until

NAMESPACE = "thwlab-probes"
PORT = 8080
CONTAINER = "web"
RESOLVERS = "/api/v1/namespaces/kube-system/pods"
MOVED = "moved"  # a Deployment of one pod, and the word of who asks for it
SCALED = "scaled"  # a Deployment whose pods nobody binds
CRI = "unix:///run/containerd/containerd.sock"
START, GONE = 90.0, 120.0  # seconds
Manifest = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """The server's Service, and the server's process on each worker, whose network is a pod's.

    `resolvers` are CoreDNS's own pods: the machine of each, and its address.
    """

    cluster_ip: str
    node_port: int
    pids: Mapping[str, int]
    resolvers: tuple[tuple[str, str], ...] = ()


def manifests(topology: Topology) -> list[Manifest]:
    """Namespace, DaemonSet and Service, in the order to create them.  Pure."""
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": server(topology)}
    unbound = {
        "metadata": {"labels": {"app": SCALED}},
        "spec": {**server(topology), "schedulerName": "nobody"},
    }
    scaled = {"replicas": 1, "selector": {"matchLabels": {"app": SCALED}}, "template": unbound}
    return [
        _object("v1", "Namespace", NAMESPACE, spec={}),
        _object(
            "apps/v1", "DaemonSet", "web", spec={"selector": {"matchLabels": labels}, "template": template}
        ),
        _object(
            "v1",
            "Service",
            "web",
            spec={"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": PORT}]},
        ),
        _object("apps/v1", "Deployment", SCALED, spec=scaled),
    ]


def configmap() -> Manifest:
    """An object that a probe writes; %KEY% stands for its name.  Pure."""
    labels = {"thwlab": "probe"}
    metadata = {"name": "%KEY%", "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": "%KEY%"}}


def new_pod(topology: Topology, worker: str) -> Manifest:
    """A pod that the scheduler can bind to this worker only; %KEY% stands for its name.  Pure."""
    spec = {**server(topology), "nodeSelector": {"kubernetes.io/hostname": worker}, "restartPolicy": "Never"}
    metadata = {"name": "%KEY%", "labels": {"thwlab": "probe"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def quiet_pod(topology: Topology, name: str) -> Manifest:
    """A pod that says a line or two when it begins, and nothing ever after.  Pure."""
    image = server(topology)["containers"][0]["image"]
    container = {"name": CONTAINER, "image": image, "imagePullPolicy": "Never", "args": ["pause"]}
    spec = {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    pod = _object("v1", "Pod", name, spec=spec)
    return {**pod, "metadata": {**pod["metadata"], "labels": {"thwlab": "probe"}}}


def server(topology: Topology) -> Manifest:
    """The spec of a pod with a small web server.  Pure."""
    container = {
        "name": CONTAINER,
        "image": f"registry.k8s.io/e2e-test-images/agnhost:{topology.versions.agnhost}",
        "imagePullPolicy": "Never",
        "args": ["netexec", f"--http-port={PORT}", "--udp-port=8081"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "uploads", "mountPath": "/uploads"}],
    }
    return {
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "uploads", "emptyDir": {}}],
    }


def _object(version: str, kind: str, name: str, spec: Any) -> Manifest:
    place = {} if kind == "Namespace" else {"namespace": NAMESPACE}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place}, "spec": spec}


def ensure(cluster: Cluster) -> Workload:
    """Have the servers running and ready, one on each worker."""
    wait_until(f"namespace {NAMESPACE} to be usable", lambda: _check_usable(cluster), timeout=GONE)
    for manifest in manifests(cluster.topology):
        wait_until(path_of(manifest), partial(_applied, cluster, manifest), timeout=START)
    wait_until(f"pods of {NAMESPACE}/web", lambda: _check_ready(cluster), timeout=START)
    service, resolvers = wait_until(f"{NAMESPACE}/web to be told", lambda: _told(cluster), timeout=START)
    pids = {machine.name: _pid(machine) for machine in cluster.of(Role.WORKER)}
    return Workload(service["clusterIP"], service["ports"][0]["nodePort"], pids, resolvers)


def remove(cluster: Cluster) -> None:
    """Take it all away again, also what probes wrote; returns once it is gone."""
    wait_until(f"removing {NAMESPACE}", lambda: _check_gone(cluster), timeout=GONE, every=0.5)


def _applied(cluster: Cluster, manifest: Manifest) -> None:
    try:
        cluster.api().apply(manifest)
    except Refused as error:
        raise NotYet(str(error)) from error


def _check_usable(cluster: Cluster) -> None:
    """An earlier one that is on its way out cannot be filled again."""
    if _phase(cluster) == "Terminating":
        raise NotYet(f"namespace {NAMESPACE} is being removed")


def _check_gone(cluster: Cluster) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}"
    if _phase(cluster) == "":
        return
    try:
        cluster.api().delete(path)
    except Refused as error:
        if error.status != 409:  # already on its way
            raise NotYet(str(error)) from error
    raise NotYet(f"namespace {NAMESPACE} is {_phase(cluster) or 'gone'}")


def _phase(cluster: Cluster) -> str:
    try:
        return str(cluster.api().get(f"/api/v1/namespaces/{NAMESPACE}")["status"]["phase"])
    except Refused as error:
        if error.status == 404:
            return ""
        raise NotYet(str(error)) from error


def _check_ready(cluster: Cluster) -> None:
    try:
        status = cluster.api().get(f"/apis/apps/v1/namespaces/{NAMESPACE}/daemonsets/web")["status"]
    except Refused as error:
        raise NotYet(str(error)) from error
    wanted = len(cluster.topology.of(Role.WORKER))
    ready = status.get("numberReady", 0)
    if ready != wanted or status.get("desiredNumberScheduled") != wanted:
        raise NotYet(f"{ready} of {wanted} pods of {NAMESPACE}/web are ready")


def _told(cluster: Cluster) -> tuple[Manifest, tuple[tuple[str, str], ...]]:
    """The Service's spec, and who resolves names."""
    try:
        service = cluster.api().get(f"/api/v1/namespaces/{NAMESPACE}/services/web")["spec"]
        return service, _resolvers(cluster)
    except Refused as error:
        raise NotYet(str(error)) from error


def _resolvers(cluster: Cluster) -> tuple[tuple[str, str], ...]:
    """Those that run, by machine and address; one that is on its way out, or that has ended, is none."""
    found = cluster.api().items(RESOLVERS, labelSelector="k8s-app=kube-dns")
    running = [
        pod
        for pod in found
        if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]
    ]
    return tuple(
        sorted((p["spec"].get("nodeName", ""), ip) for p in running if (ip := p["status"].get("podIP")))
    )


def _pid(machine: Any) -> int:
    """The server's process on its worker."""
    found = machine.check("crictl", "-r", CRI, "pods", "--namespace", NAMESPACE, "--label", "app=web", "-q")
    listed = (
        machine.check("crictl", "-r", CRI, "ps", "--pod", found.split()[0], "-q") if found.split() else ""
    )
    if not listed.split():
        raise LabError(f"{machine.name}: its container runtime knows no container of {NAMESPACE}")
    told = json.loads(machine.check("crictl", "-r", CRI, "inspect", listed.split()[0]))
    return int(told["info"]["pid"])
