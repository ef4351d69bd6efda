"""What the tests of controllers take for an act, and for none."""

from types import SimpleNamespace
from typing import Any, cast

from support_controllers import ACTS, RIGHTS, Scene, idle, may_not, why_idle

from lab.cluster import Cluster
from lab.kubeapi import KubeApi, Refused

HERE = "/namespaces/here/"
GONE = {"generic-garbage-collector", "namespace-controller", "token-cleaner"}  # they act by removing


class Api:
    """Knows what it was given; of anything else a list is empty, and an object is not there."""

    def __init__(self, objects: dict[str, Any] | None = None, *, allows: str = "") -> None:
        self.objects = objects or {}
        self.allows = allows

    def get(self, path: str) -> Any:
        if path in self.objects:
            return self.objects[path]
        if path.rpartition("/")[0].endswith(HERE.rstrip("/")):
            return {"items": []}
        raise Refused(f"GET {path}", 404, "not found")

    def post(self, _: str, review: Any) -> Any:
        return {"status": {"allowed": review["spec"]["resourceAttributes"]["verb"] == self.allows}}


def scene(api: Api) -> Scene:
    return Scene(cast(KubeApi, api), "here", "leaving", "expired")


def owned_by(name: str) -> dict[str, Any]:
    return {"items": [{"metadata": {"ownerReferences": [{"name": name}]}}]}


def test_where_nothing_happened_everybody_is_idle_whose_act_makes_something() -> None:
    assert {act.controller for act in idle(scene(Api()))} == {act.controller for act in ACTS} - GONE


def test_where_nothing_was_removed_those_are_idle_whose_act_removes() -> None:
    left = ("/api/v1/namespaces/here/configmaps/child", "/api/v1/namespaces/leaving",
            "/api/v1/namespaces/kube-system/secrets/expired")  # fmt: skip
    assert {act.controller for act in idle(scene(Api({path: {} for path in left})))} >= GONE


def test_only_what_belongs_to_the_object_is_its_controllers_act() -> None:
    sets = "/apis/apps/v1/namespaces/here/replicasets"
    act = next(act for act in ACTS if act.controller == "deployment-controller")
    assert act.done(scene(Api({sets: owned_by("deployed")})))
    assert not act.done(scene(Api({sets: owned_by("replicated")})))
    assert not act.done(scene(Api({sets: {"items": [{"metadata": {}}]}})))


def test_a_right_that_an_apiserver_denies_is_named() -> None:
    denied = may_not(cast(KubeApi, Api(allows="delete")), "node-controller")
    assert [str(deed) for deed in denied] == ["patch nodes", "patch nodes/status"]
    assert all(RIGHTS.values())


def test_who_is_idle_is_named_with_the_leader_and_what_it_was_refused() -> None:
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager"
    api = Api({leases: {"spec": {"holderIdentity": "k8s-master2_1"}}})
    said = {"k8s-master1": "", "k8s-master2": 'x is forbidden: User "y"\n'}
    machines = [
        SimpleNamespace(name=name, run=lambda *_, text=text, **__: SimpleNamespace(stdout=text))
        for name, text in said.items()
    ]
    cluster = cast(Cluster, SimpleNamespace(api=lambda: api, of=lambda _: machines))
    assert why_idle(cluster, ACTS[0]) == (
        "deployment-controller owes a ReplicaSet for a Deployment; "
        'kube-controller-manager of k8s-master2 leads; k8s-master2: x is forbidden: User "y"'
    )
