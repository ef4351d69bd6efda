"""A lab is whole when pods that nobody knew before come to life on every worker."""

from collections.abc import Mapping
from typing import Any

import pytest

from lab.errors import ClusterError
from lab.kubeapi import Refused
from lab.plan import load_topology
from lab.probes.fresh import insist_fresh_pods, lack

BOUND = {"type": "PodScheduled", "status": "True"}
READY = {"type": "Ready", "status": "True"}


class Api:
    """Pods get these conditions by the name of their worker."""

    def __init__(self, conditions: Mapping[str, list[dict[str, str]]]) -> None:
        self.conditions = conditions
        self.pods: dict[str, dict[str, Any]] = {}
        self.removed: set[str] = set()

    def apply(self, manifest: dict[str, Any]) -> None:
        if manifest["kind"] == "Pod":
            self.pods[manifest["metadata"]["name"]] = manifest

    def items(self, _: str) -> list[dict[str, Any]]:
        return [
            {**pod, "status": {"phase": "Pending", "conditions": self.of(pod)}} for pod in self.pods.values()
        ]

    def of(self, pod: dict[str, Any]) -> list[dict[str, str]]:
        return self.conditions[pod["spec"]["nodeSelector"]["kubernetes.io/hostname"]]

    def delete(self, path: str) -> None:
        self.removed.add(path.rpartition("/")[2])


class Cluster:
    topology = load_topology()

    def __init__(self, **conditions: list[dict[str, str]]) -> None:
        self.served = Api({f"k8s-{name}": these for name, these in conditions.items()})

    def api(self) -> Api:
        return self.served


def test_pods_that_answer_are_proof_and_are_taken_away_again() -> None:
    cluster: Any = Cluster(worker1=[BOUND, READY], worker2=[BOUND, READY])
    insist_fresh_pods(cluster, 0)
    assert len(cluster.served.pods) == 2
    assert cluster.served.removed == set(cluster.served.pods)


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}], "is not bound: 0/2 nodes"),
        (
            [BOUND, {"type": "Ready", "status": "False", "message": "unready: [web]"}],
            "does not answer: unready",
        ),
        ([], "is not bound: Pending"),
    ],
)
def test_a_worker_whose_new_pod_does_not_come_is_named_and_nothing_is_left(
    conditions: list[dict[str, str]], said: str
) -> None:
    cluster: Any = Cluster(worker1=[BOUND, READY], worker2=conditions)
    with pytest.raises(ClusterError, match="k8s-worker2: a new pod") as raised:
        insist_fresh_pods(cluster, 0)
    assert said in str(raised.value)
    assert "worker1" not in str(raised.value)
    assert cluster.served.removed == set(cluster.served.pods)


def test_why_no_pod_came_is_told_also_where_none_can_be_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise Refused(f"DELETE {path}", 500, "etcdserver: no leader")

    cluster: Any = Cluster(worker1=[BOUND, READY], worker2=[])
    monkeypatch.setattr(cluster.served, "delete", refuse)
    with pytest.raises(ClusterError, match="k8s-worker2: a new pod is not bound"):
        insist_fresh_pods(cluster, 0)


def test_a_pod_that_nobody_knows_has_every_step_before_it() -> None:
    assert lack({}) == "is not bound: nobody knows it"
