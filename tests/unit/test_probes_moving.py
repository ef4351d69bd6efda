"""What moves when a worker is lost begins on the first one, wherever an earlier run has left it."""

from typing import Any

import pytest
from fixed import guide_topology

from lab.probes import moving
from lab.probes.moving import EARLY, MOVED, ORDINAL
from lab.wait import NotYet

PLAN = guide_topology()
FIRST, SECOND = "k8s-worker1", "k8s-worker2"


class Api:
    """An apiserver with one pod of each; one that is deleted comes back on the first worker."""

    def __init__(self, node: str, *, ready: bool = True) -> None:
        self.nodes, self.ready, self.applied = dict.fromkeys((MOVED, ORDINAL, EARLY), node), ready, []

    def apply(self, manifest: Any) -> None:
        self.applied.append((manifest["kind"], manifest["metadata"]["name"]))

    def items(self, path: str, labelSelector: str) -> list[Any]:
        app = labelSelector.removeprefix("app=")
        conditions = [{"type": "Ready", "status": str(self.ready)}]
        spec = {"nodeName": self.nodes[app]}
        return [{"metadata": {"name": f"{app}-0"}, "spec": spec, "status": {"conditions": conditions}}]

    def delete(self, path: str) -> None:
        self.nodes[path.rpartition("/")[2].removesuffix("-0")] = FIRST


class Cluster:
    topology = PLAN

    def __init__(self, api: Api) -> None:
        self.api = lambda: api


def test_all_are_one_pod_each_that_wish_for_the_first_worker() -> None:
    found = moving.manifests(PLAN)
    assert [(each["kind"], each["spec"]["replicas"]) for each in found] == [
        ("Deployment", 1),
        ("StatefulSet", 1),
        ("Deployment", 1),
    ]
    for each in found:
        pod = each["spec"]["template"]["spec"]
        (wish,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert wish["preference"]["matchExpressions"][0]["values"] == [FIRST]
    *defaults, short = (each["spec"]["template"]["spec"].get("tolerations", []) for each in found)
    assert defaults == [[], []], "the default ones are what is measured"
    assert {each["key"].partition("/")[2]: each["tolerationSeconds"] for each in short} == {
        "not-ready": 30,
        "unreachable": 30,
    }


def test_what_an_earlier_run_has_moved_is_made_anew() -> None:
    api = Api(SECOND)
    cluster: Any = Cluster(api)
    moving.ensure(cluster)
    assert api.applied == [("Deployment", MOVED), ("StatefulSet", ORDINAL), ("Deployment", EARLY)]
    assert set(api.nodes.values()) == {FIRST}


def test_pods_that_are_not_ready_are_waited_for() -> None:
    cluster: Any = Cluster(Api(FIRST, ready=False))
    with pytest.raises(NotYet, match="one that is ready is wanted"):
        moving._check_there(cluster)
