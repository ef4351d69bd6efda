"""Who looks at what the cluster says of itself: leaders, nodes, pods, endpoints."""

from collections.abc import Callable, Iterator

from lab.components.etcd import CLIENT_PORT
from lab.probes.question import SLOW, Probe, Question, https_to
from lab.probes.workload import Workload
from lab.topology import Role, Topology

LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    "?labelSelector=kubernetes.io/service-name%3Dkubernetes"
)


def _raft(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.ETCD):
        plan = {
            **https_to(str(node.address), CLIENT_PORT),
            "requests": [{"method": "POST", "path": "/v3/maintenance/status", "body": "{}"}],
            "take": "raft",
        }
        yield Probe(f"raft@{node.name}", "raft", 0.25, plan, secrets="etcd", target=node.name, deadline=2.0)


def _observer(word: str, path: str, take: str, interval: float) -> Callable[..., Iterator[Probe]]:
    def each(topology: Topology, _: Workload) -> Iterator[Probe]:
        for node in topology.of(Role.CONTROL_PLANE):
            plan = {
                **https_to(str(node.address), topology.networks.api_port),
                "requests": [{"method": "GET", "path": path}],
                "take": take,
            }
            yield Probe(
                f"{word}@{node.name}",
                word,
                interval,
                plan,
                secrets="kubernetes",
                target=node.name,
                deadline=2.0,
            )

    return each


QUESTIONS = (
    Question("raft", "term and leader, as each member knows them", _raft, observes=True),
    Question("leases", "who leads", _observer("leases", LEASES, "leases", SLOW), observes=True),
    Question(
        "nodes", "which nodes are Ready", _observer("nodes", "/api/v1/nodes", "nodes", SLOW), observes=True
    ),
    Question("pods", "where pods are", _observer("pods", "/api/v1/pods", "pods", SLOW), observes=True),
    Question(
        "endpoints",
        "the masters in the Service",
        _observer("endpoints", SLICES, "endpoints", SLOW),
        observes=True,
    ),
)
