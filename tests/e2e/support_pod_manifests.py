"""The objects of the session's test pods.  Pure."""

from collections.abc import Sequence
from typing import Any

from lab.topology import Node, Topology

HTTP, UDP = 8080, 8081
ACCOUNT = "pods"
MANY = 120  # addresses in one answer: more than 512 bytes, and more than a packet holds
Manifest = dict[str, Any]


def manifests(topology: Topology, workers: Sequence[Node], namespace: str) -> list[Manifest]:
    """Namespace, servers, clients and Services, in the order to create them."""
    image = f"registry.k8s.io/e2e-test-images/agnhost:{topology.versions.agnhost}"
    return [
        _object("v1", "Namespace", namespace),
        _object("v1", "ServiceAccount", ACCOUNT, namespace),
        _servers(image, len(workers), namespace),
        *(_client(image, number, node, namespace) for number, node in enumerate(workers, 1)),
        *_services(len(workers), namespace),
        *_many(namespace),
    ]


def path_of(manifest: Manifest) -> str:
    """Where objects of its kind are created."""
    version, kind, metadata = manifest["apiVersion"], manifest["kind"], manifest["metadata"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{root}{place}/{kind.lower()}s"


def _object(version: str, kind: str, name: str, namespace: str | None = None, **more: Any) -> Manifest:
    place = {"namespace": namespace} if namespace else {}
    metadata = {"name": name, **place, "labels": more.pop("labels", {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **more}


def _servers(image: str, count: int, namespace: str) -> Manifest:
    """One server per worker, bound by the scheduler."""
    labels = {"app": "web"}
    apart = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    spec = {
        **_spec(image),
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
    }
    deployment = {
        "replicas": count,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    return _object("apps/v1", "Deployment", "web", namespace, labels=labels, spec=deployment)


def _client(image: str, number: int, node: Node, namespace: str) -> Manifest:
    name = f"client-{number}"
    spec = {**_spec(image), "nodeSelector": {"kubernetes.io/hostname": node.name}}
    return _object("v1", "Pod", name, namespace, labels={"app": name}, spec=spec)


def _spec(image: str) -> Manifest:
    container = {
        "name": "agnhost",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["netexec", f"--http-port={HTTP}", f"--udp-port={UDP}"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": HTTP}, "periodSeconds": 1},
        "volumeMounts": [{"name": "uploads", "mountPath": "/uploads"}],
    }
    uploads = {"name": "uploads", "emptyDir": {}}
    return {
        "serviceAccountName": ACCOUNT,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [uploads],
    }


def _services(clients: int, namespace: str) -> list[Manifest]:
    """Cluster-wide, local, headless, and one for each client that leads to itself."""
    local = {"type": "NodePort", "externalTrafficPolicy": "Local"}
    owns = (_service(f"self-{n}", namespace, f"client-{n}") for n in range(1, clients + 1))
    return [
        _service("web", namespace, "web", type="NodePort", sessionAffinity="None"),
        _service("local", namespace, "web", **local),
        _service("direct", namespace, "web", clusterIP="None"),
        *owns,
    ]


def _service(name: str, namespace: str, app: str, **more: Any) -> Manifest:
    ports = [
        {"name": "http", "port": 80, "targetPort": HTTP, "protocol": "TCP"},
        {"name": "echo", "port": 81, "targetPort": UDP, "protocol": "UDP"},
    ]
    return _object("v1", "Service", name, namespace, spec={"selector": {"app": app}, "ports": ports, **more})


def _many(namespace: str) -> list[Manifest]:
    """A headless Service with so many addresses that its answer fits no UDP packet."""
    spec = {"clusterIP": "None", "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80}]}
    service = _object("v1", "Service", "many", namespace, spec=spec)
    ends = _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "many-1",
        namespace,
        labels={"kubernetes.io/service-name": "many"},
        addressType="IPv4",
        ports=[{"port": 80}],
        endpoints=[{"addresses": [address]} for address in many_addresses()],
    )
    return [service, ends]


def many_addresses() -> list[str]:
    """What `many` resolves to; documentation addresses that nobody is asked at."""
    return [f"198.51.100.{last}" for last in range(1, MANY + 1)]
