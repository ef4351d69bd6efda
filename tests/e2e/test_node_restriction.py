"""What the API keeps from a node: secrets, pods and records of others, asked of every apiserver."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from support_eventually import eventually
from support_namespace import namespace
from support_nodes import Ask, as_kubelet
from support_pods import insist
from support_ways import ways

from lab.cluster import Cluster
from lab.machine import Machine, on_each
from lab.topology import Cni, Node, Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def own_secrets(lab_workers: Cluster) -> Iterator[tuple[str, dict[str, str]]]:
    """A namespace, and by worker the name of a Secret in it which a pod of that worker alone uses."""
    image = f"registry.k8s.io/pause:{lab_workers.topology.versions.pause}"
    names = {node.name: f"of-{node.name}" for node in lab_workers.topology.of(Role.WORKER)}
    with namespace(lab_workers, "nodes") as where:
        api = lab_workers.api()
        api.apply(_object("ServiceAccount", "default", where))
        for name in (*names.values(), "of-nobody"):
            api.apply(_object("Secret", name, where, stringData={"e2e": name}))
        for worker, name in names.items():
            spec = {
                "nodeName": worker,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "pause", "image": image, "imagePullPolicy": "Never"}],
                "volumes": [{"name": "own", "secret": {"secretName": name}}],
            }
            api.apply(_object("Pod", name, where, spec=spec))
        yield where, names


def _object(kind: str, name: str, where: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": where}, **more}


def test_a_node_can_neither_read_nor_change_what_is_anothers(
    lab_workers: Cluster, own_secrets: tuple[str, dict[str, str]]
) -> None:
    """Asked of every apiserver on each worker by its kubelet's own kubeconfig; changes are dry runs.

    It may read and change its own, so that what is refused is refused for being another's.
    """
    where, names = own_secrets

    def tried(machine: Machine) -> list[str]:
        may, may_not = _plan(machine.node, lab_workers, where, names)
        complaints = []
        for way, url in ways(lab_workers).items():
            check = partial(_check_own, machine, may, url)
            eventually(f"{machine.name} to get its own from {way}", check, timeout=15)
            complaints += [
                f"{machine.name}, {ask.method} {ask.path}: got {status} from {way}, not 403: {text}"
                for ask, (status, text) in zip(may_not, as_kubelet(machine, may_not, url), strict=True)
                if status != 403
            ]
        return complaints

    found = on_each(lab_workers.of(Role.WORKER), tried)
    insist(
        [complaint for complaints in found.values() for complaint in complaints],
        "every master needs Node in --authorization-mode, NodeRestriction in --enable-admission-plugins",
    )


def _plan(node: Node, cluster: Cluster, where: str, names: dict[str, str]) -> tuple[list[Ask], list[Ask]]:
    """What the node must get and what it must not.

    With a single worker the other is one that is not there: what would change it is not found, whoever asks.
    With flannel a node sees all nodes, for flanneld speaks as its node (`lab/addons/rbac.py`).
    """
    others = [n.name for n in cluster.topology.of(Role.WORKER) if n != node]
    other = others[0] if others else "k8s-nobody"
    sees_others = bool(others) and cluster.topology.cni is Cni.FLANNEL
    kept, nodes, dry = f"/api/v1/namespaces/{where}/secrets", "/api/v1/nodes", "?dryRun=All"
    note = {"metadata": {"annotations": {"thwlab/e2e": "tried"}}}
    fence = {"metadata": {"labels": {"node-restriction.kubernetes.io/e2e": "tried"}}}
    containers = [{"name": "c", "image": "c"}]
    mirror = _object("Pod", "e2e-mirror", where, spec={"nodeName": other, "containers": containers})
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "e2e"}
    look = Ask("GET", f"{nodes}/{other}")
    change = [Ask("PATCH", f"{nodes}/{other}{sub}{dry}", note) for sub in ("", "/status")]
    may = [
        Ask("GET", f"{kept}/{names[node.name]}"),
        Ask("GET", f"{nodes}/{node.name}"),
        Ask("PATCH", f"{nodes}/{node.name}{dry}", note),
        *([look] if sees_others else []),
    ]
    may_not = [
        Ask("GET", f"{kept}/{names.get(other, 'of-nobody')}"),
        Ask("GET", f"{kept}/of-nobody"),
        Ask("GET", kept),
        *([] if sees_others else [look]),
        *(change if others else []),
        Ask("DELETE", f"{nodes}/{other}{dry}"),
        Ask("PATCH", f"{nodes}/{node.name}{dry}", fence),
        Ask("POST", f"/api/v1/namespaces/{where}/pods{dry}", mirror),
    ]
    return may, may_not


def _check_own(machine: Machine, may: list[Ask], url: str) -> None:
    seen = zip(may, as_kubelet(machine, may, url), strict=True)
    wrong = [f"{ask.method} {ask.path}: {status} {text}" for ask, (status, text) in seen if status != 200]
    if wrong:
        raise NotYet(f"{machine.name} may not even have its own: {'; '.join(wrong)}")
