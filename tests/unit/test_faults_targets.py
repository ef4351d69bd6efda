"""Roles become machines at the moment they are asked for; a role without a holder is not there yet."""

from typing import Any

import pytest
from fault_machines import PLAN, cluster_of

from lab.faults import pods, targets
from lab.faults.pods import PodDelete
from lab.kubeapi import Refused
from lab.machine import Result
from lab.wait import NotYet

MASTERS = ("k8s-master1", "k8s-master2")


class Api:
    """One apiserver; a status instead of an answer where it is not ready."""

    def __init__(self, holder: str = "", *, ready: bool = True, pods: tuple[Any, ...] = ()) -> None:
        self.holder, self.ready, self.pods, self.deleted = holder, ready, list(pods), []

    def text(self, path: str) -> str:
        if not self.ready:
            raise Refused(f"GET {path}", 500, "etcd failed")
        return "ok"

    def get(self, path: str, **_: str) -> Any:
        return {"spec": {"holderIdentity": self.holder} if self.holder else {}}

    def items(self, path: str, **_: str) -> Any:
        return self.pods

    def delete(self, path: str) -> None:
        self.deleted.append(path.rpartition("/")[2])


def lab_of(**apis: Api) -> Any:
    machines = {node.name: NamedMachine(node.name) for node in PLAN.nodes}
    by_name = {name.replace("_", "-"): api for name, api in apis.items()}
    return cluster_of(machines, api=lambda name: by_name[name])


class NamedMachine:
    """Keeps what scripts write down."""

    def __init__(self, name: str) -> None:
        self.name, self.note, self.power = name, "", "running"

    def check(self, *argv: str, **_: Any) -> str:
        self.note = " ".join(argv[4:])
        return ""

    def run(self, *argv: str, **_: Any) -> Result:
        return Result(0, self.note.encode())


def pod(name: str, node: str, phase: str = "Running", ready: str = "True", *, going: bool = False) -> Any:
    metadata = {"name": name, **({"deletionTimestamp": "now"} if going else {})}
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": metadata,
        "spec": {"nodeName": node},
        "status": {"phase": phase, "conditions": conditions},
    }


def test_words_need_no_lab() -> None:
    words = targets.words(PLAN)
    assert words[:5] == tuple(node.name for node in PLAN.nodes)
    assert {"etcd:leader", "kube-scheduler:leader", "node-of:coredns", "all"} <= set(words)


@pytest.mark.parametrize(
    ("asked", "machines"),
    [
        ("k8s-worker2", ("k8s-worker2",)),
        ("control-plane", MASTERS),
        ("workers", ("k8s-worker1", "k8s-worker2")),
        ("load-balancer", ("k8s-lb",)),
        ("etcd:all", (*MASTERS, "k8s-lb")),
        ("all", tuple(node.name for node in PLAN.nodes)),
    ],
)
def test_what_the_plan_says_needs_no_question(asked: str, machines: tuple[str, ...]) -> None:
    assert targets.resolve(lab_of(), asked) == machines


def test_an_unknown_role_is_no_machine() -> None:
    with pytest.raises(KeyError):
        targets.resolve(lab_of(), "etcd:lieder")


def test_the_holder_of_a_lease_leads() -> None:
    lab = lab_of(k8s_master1=Api("k8s-master2_3f0c-41"), k8s_master2=Api())
    assert targets.resolve(lab, "kube-scheduler:leader") == ("k8s-master2",)


@pytest.mark.parametrize("holder", ["", "stranger_1"])
def test_without_a_holder_there_is_nobody_to_aim_at(holder: str) -> None:
    with pytest.raises(NotYet, match="holds the lease kube-controller-manager"):
        targets.resolve(lab_of(k8s_master1=Api(holder)), "kube-controller-manager:leader")


def test_the_next_apiserver_is_asked_where_one_is_not_ready() -> None:
    lab = lab_of(k8s_master1=Api(ready=False), k8s_master2=Api("k8s-master1_x"))
    assert targets.resolve(lab, "kube-apiserver:any") == ("k8s-master2",)
    assert targets.resolve(lab, "kube-scheduler:leader") == ("k8s-master1",)
    with pytest.raises(NotYet, match=r"k8s-master1: .*500.*k8s-master2: .*500"):
        targets.resolve(
            lab_of(k8s_master1=Api(ready=False), k8s_master2=Api(ready=False)), "kube-apiserver:any"
        )


def test_nodes_of_coredns_are_in_the_order_of_the_plan() -> None:
    there = (pod("b", "k8s-worker2"), pod("a", "k8s-worker1"), pod("c", "k8s-worker1", going=True))
    lab = lab_of(k8s_master1=Api(pods=there))
    assert targets.resolve(lab, "node-of:coredns") == ("k8s-worker1",)
    assert targets.resolve(lab, "nodes-of:coredns") == ("k8s-worker1", "k8s-worker2")
    with pytest.raises(NotYet, match="no CoreDNS pod runs"):
        targets.resolve(
            lab_of(k8s_master1=Api(pods=(pod("a", "k8s-worker1", "Pending"),))), "node-of:coredns"
        )


# -- pods --------------------------------------------------------------------------------------------------


def test_deleted_pods_are_gone_or_going() -> None:
    api = Api(pods=(pod("a", "k8s-worker1"), pod("b", "k8s-worker2")))
    lab, fault = lab_of(k8s_master1=api), PodDelete(("k8s-worker1",))
    with pytest.raises(NotYet, match="had no CoreDNS pod"):
        fault.in_force(lab)
    fault.inject(lab)
    assert api.deleted == ["a"]
    with pytest.raises(NotYet, match="a not deleted yet"):
        fault.in_force(lab)
    api.pods[0] = pod("a", "k8s-worker1", going=True)
    assert fault.in_force(lab) == "k8s-worker1: a deleted"
    api.pods[0] = pod("c", "k8s-worker1")
    assert fault.in_force(lab) == "k8s-worker1: a deleted"


def test_only_pods_that_wait_are_made_anew() -> None:
    api = Api(
        pods=(
            pod("a", "k8s-worker1", ready="False"),
            pod("b", "k8s-worker1"),
            pod("c", "k8s-worker2", ready="False"),
        )
    )
    pods.replace_waiting(lab_of(k8s_master1=api), ("k8s-worker1",))
    assert api.deleted == ["a"]
