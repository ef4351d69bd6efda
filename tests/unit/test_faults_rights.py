"""The right to look at pods is taken and given back; a lease goes on to be held."""

import copy
from typing import Any

import pytest
from fault_machines import PLAN, cluster_of

from lab.errors import LabError
from lab.faults import rights
from lab.faults.rights import AUTO, PODS, Deaf
from lab.wait import NotYet

MASTERS = ("k8s-master1", "k8s-master2")
LEASE = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]}
BOTH = {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}
BIND = {"apiGroups": [""], "resources": ["pods/binding"], "verbs": ["create"]}


class Api:
    """An apiserver with one role, by which it judges; one that begins mends a role that it may mend."""

    def __init__(self) -> None:
        rules = [LEASE, copy.deepcopy(PODS), BOTH, BIND]
        self.role: Any = {"metadata": {"name": "x", "annotations": {AUTO: "true"}}, "rules": rules}

    def text(self, _: str) -> str:
        return "ok"

    def get(self, path: str, **_: str) -> Any:
        if path == rights.ROLE:
            return copy.deepcopy(self.role)
        return {"spec": {"holderIdentity": "k8s-master2_7"}}

    def put(self, path: str, body: Any) -> None:
        assert path == rights.ROLE
        self.role = copy.deepcopy(dict(body))

    def post(self, path: str, body: Any) -> Any:
        assert path == rights.REVIEWS
        assert body["spec"]["user"] == "system:kube-scheduler"
        return {"status": {"allowed": PODS in self.role["rules"]}}

    def begin(self) -> None:
        """As an apiserver does when it is started."""
        if self.role["metadata"]["annotations"][AUTO] == "true" and PODS not in self.role["rules"]:
            self.role["rules"].append(copy.deepcopy(PODS))


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Any:
    api = Api()
    machines = {node.name: node for node in PLAN.nodes}
    cluster = cluster_of(machines, api=lambda _: api)
    cluster.restarted = []

    def sh(machine: Any, script: str, *_: str, **__: Any) -> str:
        cluster.restarted.append((machine.name, script.split()[-1]))
        api.begin()
        return ""

    monkeypatch.setattr(rights, "sh", sh)
    monkeypatch.setattr(rights, "check_unit", lambda *_: None)
    cluster.role = api
    return cluster


def test_it_bites_twice_and_is_healed(lab: Any) -> None:
    fault = Deaf(MASTERS)
    assert not fault.unavailable(lab)
    whole = lab.role.get(rights.ROLE)
    fault.heal(lab)
    assert lab.role.role == whole, "there was nothing to heal"
    for look in (fault.in_force, fault.still_in_force):
        with pytest.raises(NotYet, match=r"may still watch|may watch pods again"):
            look(lab)
    for _ in range(2):
        fault.inject(lab)
        assert "may not watch pods" in fault.in_force(lab)
        assert "k8s-master2 holds its lease" in fault.in_force(lab)
        assert lab.role.role["rules"] == [LEASE, {**BOTH, "resources": ["nodes"]}, BIND]
        with pytest.raises(NotYet):
            fault.check_healed(lab)
        fault.heal(lab)
        fault.check_healed(lab)
        assert PODS in lab.role.role["rules"]
    assert lab.restarted[:2] == [(name, "kube-apiserver.service") for name in MASTERS]


def test_all_apiservers_must_forget_their_watches(lab: Any) -> None:
    assert "k8s-master2 would go on" in Deaf(MASTERS[:1]).unavailable(lab)


def test_an_api_that_does_not_answer_disproves_nothing(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mute(_: Any) -> Any:
        raise NotYet("nobody is ready")

    monkeypatch.setattr(rights, "answering", mute)
    with pytest.raises(LabError, match="nobody is ready"):
        Deaf(MASTERS).still_in_force(lab)
