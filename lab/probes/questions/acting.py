"""Questions whether anybody acts on what is written: watches, controllers, scheduler, kubelets."""

from collections.abc import Iterator

from lab.probes.question import OUTSIDE, SLOW, Probe, Question, https_to
from lab.probes.workload import MOVED, NAMESPACE, PORT, SCALED, Workload, configmap, new_pod
from lab.topology import Role, Topology

WATCH_SILENCE = 20.0  # seconds without a word, bookmarks neither, after which a watch is begun anew


def _api_watch(topology: Topology, _: Workload) -> Iterator[Probe]:
    root = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    plan = {
        **https_to(str(topology.api_address), topology.networks.api_port),
        "ask": "watch",
        "watched": root,
        "object": configmap(),
        "prefix": "watched-",
        "writes": True,
        "silence": WATCH_SILENCE,
        "steps": ("write", "event"),
    }
    yield Probe("api-watch", "api-watch", 0.5, plan, secrets="kubernetes", deadline=WATCH_SILENCE + 5.0)


def _new_pod(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = {
            **https_to(str(topology.api_address), topology.networks.api_port),
            "ask": "pod",
            "pods": f"/api/v1/namespaces/{NAMESPACE}/pods",
            "pod": new_pod(topology, node.name),
            "pod-port": PORT,
            "prefix": f"new-{node.name}-",
        }
        yield Probe(
            f"new-pod@{node.name}",
            "new-pod",
            10.0,
            plan,
            secrets="kubernetes",
            target=node.name,
            deadline=30.0,
        )


def _scale(topology: Topology, _: Workload) -> Iterator[Probe]:
    plan = {
        **https_to(str(topology.api_address), topology.networks.api_port),
        "ask": "scale",
        "deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{SCALED}",
        "steps": ("act",),
    }
    yield Probe("scale", "scale", 5.0, plan, secrets="kubernetes", deadline=30.0)


def _moved(topology: Topology, _: Workload) -> Iterator[Probe]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{MOVED}"
    plan = {
        **https_to(str(topology.api_address), topology.networks.api_port),
        "requests": [{"method": "GET", "path": path, "accept": [200], "holds": '"availableReplicas":1'}],
    }
    yield Probe("moved", "moved", SLOW, plan, OUTSIDE, secrets="kubernetes")


QUESTIONS = (
    Question("api-watch", "write through a pool of connections and see the event in a watch", _api_watch),
    Question("new-pod", "a new pod on each worker: bound, started, answering", _new_pod),
    Question("scale", "a Deployment gets another size, and its controller acts", _scale),
    Question(
        MOVED,
        "whether a Deployment's only pod is available, first on the first worker; only where it is named",
        _moved,
        rare=True,
    ),
)
