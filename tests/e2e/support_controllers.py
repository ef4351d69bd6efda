"""What shows that a controller acts: for each an object of its own, so that none is blamed for another."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from support_nodes import short_lived, token_for
from support_rights import CSR, Deed

from lab.cluster import Cluster
from lab.kubeapi import KubeApi, Refused
from lab.machine import Machine
from lab.topology import Profile, Role
from lab.wait import NotYet

# The guide's tokens are in a file (its defect D15), and Kubernetes leaves that controller off by default.
OFF = {Profile.GUIDE: frozenset({"token-cleaner"}), Profile.HARDENED: frozenset[str]()}
Manifest = Mapping[str, Any]
PROGRAM, SCHEDULER = "kube-controller-manager", "kube-scheduler"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
ACCOUNT, TOKEN = "kubernetes.io/service-account.name", "kubernetes.io/service-account-token"


@dataclass(frozen=True, slots=True)
class Scene:
    """Where the controllers are given work: a namespace that stays and one that is deleted."""

    api: KubeApi
    namespace: str
    leaving: str
    expired: str  # name of a bootstrap token's Secret
    off: frozenset[str] = frozenset()  # controllers that the plan's profile does not run

    def get(self, kind: str, name: str = "") -> Any:
        """An object of the namespace that stays, or the list of its kind; None if it is not there."""
        return self.at(f"{_root(kind)}/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else ""))

    def at(self, path: str) -> Any:
        """The object at the path, or None."""
        try:
            return self.api.get(path)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def owned(self, kind: str, owner: str) -> bool:
        """Whether there is an object of this kind that a controller made for the owner."""
        owners = [each["metadata"].get("ownerReferences", ()) for each in self.get(kind)["items"]]
        return any(ref["name"] == owner for refs in owners for ref in refs)

    def is_bound(self, pod: str) -> bool:
        """Whether the pod has a node."""
        return bool((self.get("pods", pod) or {}).get("spec", {}).get("nodeName"))

    def signed(self) -> str:
        """The token that was signed for a service account's Secret."""
        data = (self.get("secrets", "token") or {}).get("data", {})
        if "token" not in data:
            raise NotYet(f"the Secret `token` in {self.namespace} has only {sorted(data)}")
        return base64.b64decode(data["token"]).decode()

    def published(self) -> str:
        """The CA that the namespace was told of."""
        found = self.get("configmaps", "kube-root-ca.crt")
        if not found:
            raise NotYet(f"no ConfigMap kube-root-ca.crt in {self.namespace}")
        return str(found["data"]["ca.crt"])


@dataclass(frozen=True, slots=True)
class Act:
    """A controller, what it owes, whether it has done it, the program it is part of, its name as caller."""

    controller: str
    owes: str
    done: Callable[[Scene], bool]
    program: str = PROGRAM
    user: str = ""

    @property
    def caller(self) -> str:
        """As apiservers and logs name it."""
        return self.user or f"system:serviceaccount:kube-system:{self.controller}"


ACTS = (
    Act("deployment-controller", "a ReplicaSet for a Deployment",
        lambda s: s.owned("replicasets", "deployed")),
    Act("replicaset-controller", "a Pod for a ReplicaSet", lambda s: s.owned("pods", "replicated")),
    Act("statefulset-controller", "a Pod for a StatefulSet", lambda s: s.owned("pods", "stateful")),
    Act("daemon-set-controller", "a Pod for a DaemonSet", lambda s: s.owned("pods", "everywhere")),
    Act("job-controller", "a Pod for a Job", lambda s: s.owned("pods", "once")),
    Act("endpointslice-controller", "an EndpointSlice for a Service",
        lambda s: s.owned("endpointslices", "served")),
    Act("endpoint-controller", "Endpoints for a Service", lambda s: bool(s.get("endpoints", "served"))),
    Act("service-account-controller", "the ServiceAccount `default` of a namespace",
        lambda s: bool(s.get("serviceaccounts", "default"))),
    Act("root-ca-cert-publisher", "the ConfigMap kube-root-ca.crt of a namespace",
        lambda s: bool(s.get("configmaps", "kube-root-ca.crt"))),
    Act("generic-garbage-collector", "the end of an object whose owner is gone",
        lambda s: s.get("configmaps", "child") is None),
    Act("resourcequota-controller", "what is used of a ResourceQuota",
        lambda s: bool((s.get("resourcequotas", "quota") or {}).get("status", {}).get("used"))),
    Act("disruption-controller", "a count of the Pods of a PodDisruptionBudget",
        lambda s: "observedGeneration" in (s.get("poddisruptionbudgets", "budget") or {}).get("status", {})),
    Act("namespace-controller", "the end of a deleted namespace",
        lambda s: s.at(f"/api/v1/namespaces/{s.leaving}") is None),
    Act("token-cleaner", "the end of an expired bootstrap token",
        lambda s: s.at(f"/api/v1/namespaces/kube-system/secrets/{s.expired}") is None),
    Act("serviceaccount-token", "the token of a service account's Secret",
        lambda s: "token" in (s.get("secrets", "token") or {}).get("data", {}),
        user=f"system:{PROGRAM}"),
    Act(SCHEDULER, "a node for a Pod", lambda s: s.is_bound("single"), SCHEDULER, f"system:{SCHEDULER}"),
)  # fmt: skip


RIGHTS: Mapping[str, tuple[Deed, ...]] = {
    "node-controller": (Deed("patch", "nodes"), Deed("patch", "nodes/status"), Deed("delete", "pods")),
    "certificate-controller": (Deed("update", f"{CSR}/status"), Deed("update", f"{CSR}/approval")),
    "pod-garbage-collector": (Deed("delete", "pods"), Deed("list", "nodes")),
    "cronjob-controller": (Deed("create", "jobs.batch"),),
    "ttl-after-finished-controller": (Deed("delete", "jobs.batch"),),
    "clusterrole-aggregation-controller": (Deed("patch", "clusterroles.rbac.authorization.k8s.io"),),
    "persistent-volume-binder": (Deed("update", "persistentvolumes"),
                                 Deed("update", "persistentvolumeclaims")),
    "pv-protection-controller": (Deed("update", "persistentvolumes"),),
    "pvc-protection-controller": (Deed("update", "persistentvolumeclaims"),),
    "horizontal-pod-autoscaler": (Deed("update", "deployments.apps/scale"),),
}  # fmt: skip


def may_not(api: KubeApi, account: str) -> list[Deed]:
    """What of its own work the controller may not do, in the judgement of this apiserver."""
    return [deed for deed in RIGHTS[account] if not _may(api, account, deed)]


def _may(api: KubeApi, account: str, deed: Deed) -> bool:
    user = f"system:serviceaccount:kube-system:{account}"
    groups = ["system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"]
    spec = {"user": user, "groups": groups, "resourceAttributes": deed.attributes}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    answer: dict[str, Any] = api.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])


def begin(cluster: Cluster, namespace: str, leaving: str, word: str) -> Scene:
    """Give every controller its work; the namespaces are there."""
    api = cluster.api()
    expired = short_lived(token_for(word, timedelta(minutes=-1)))
    scene = Scene(api, namespace, leaving, expired["metadata"]["name"], OFF[cluster.topology.profile])
    api.post("/api/v1/namespaces/kube-system/secrets", expired)
    api.post(f"/api/v1/namespaces/{leaving}/configmaps", {"metadata": {"name": "content"}})
    api.delete(f"/api/v1/namespaces/{leaving}")
    owner = _posted(scene, "configmaps", {"metadata": {"name": "owner"}})
    for kind, manifest in _work(f"registry.k8s.io/pause:{cluster.topology.versions.pause}", owner):
        _posted(scene, kind, manifest)
    api.delete(f"/api/v1/namespaces/{namespace}/configmaps/owner")
    return scene


def idle(scene: Scene) -> list[Act]:
    """What no controller has done so far."""
    return [act for act in ACTS if act.controller not in scene.off and not act.done(scene)]


def leader(api: KubeApi, program: str = PROGRAM) -> str:
    """The master whose program leads."""
    holder = api.get(f"{LEASES}/{program}")["spec"].get("holderIdentity")
    return (holder or "nobody").partition("_")[0]


def why_idle(cluster: Cluster, act: Act) -> str:
    """Who should have acted, and the last thing that it was refused."""
    refused = [_refusal(machine, act) for machine in cluster.of(Role.CONTROL_PLANE)]
    last = "; ".join(filter(None, refused)) or f"no log speaks of {act.caller} and `forbidden`"
    who = leader(cluster.api(), act.program)
    return f"{act.controller} owes {act.owes}; {act.program} of {who} leads; {last}"


def _refusal(machine: Machine, act: Act) -> str:
    said = machine.run("sh", "-c", _FORBIDDEN, act.program, act.caller, timeout=15).stdout
    return f"{machine.name}: {' '.join(said.split())[-600:]}" if said.strip() else ""


def _posted(scene: Scene, kind: str, manifest: Manifest) -> Any:
    return scene.api.post(f"{_root(kind)}/namespaces/{scene.namespace}/{kind}", manifest)


def _root(kind: str) -> str:
    return next((root for root, kinds in _GROUPS.items() if kind in kinds), "/api/v1")


_GROUPS = {
    "/apis/apps/v1": ("deployments", "replicasets", "statefulsets", "daemonsets"),
    "/apis/batch/v1": ("jobs",),
    "/apis/discovery.k8s.io/v1": ("endpointslices",),
    "/apis/policy/v1": ("poddisruptionbudgets",),
}


def _work(image: str, owner: Manifest) -> list[tuple[str, Manifest]]:
    """Kinds and objects; what becomes of a controller's pods is not asked, so that they are held back."""
    pod = _pod(image)
    held = {**pod, "schedulingGates": [{"name": "thwlab/e2e"}]}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    return [
        ("serviceaccounts", _named("worker")),
        ("deployments", _set("deployed", held)),
        ("replicasets", _set("replicated", held)),
        ("statefulsets", _set("stateful", held, serviceName="served")),
        ("daemonsets", _set("everywhere", held)),
        ("jobs", _named("once", template={"spec": {**held, "restartPolicy": "Never"}})),
        ("pods", _named("single", **pod)),
        ("services", _named("served", selector={"app": "deployed"}, ports=[{"port": 80}])),
        ("resourcequotas", _named("quota", hard={"persistentvolumeclaims": "1"})),
        ("poddisruptionbudgets", _named("budget", minAvailable=1, selector={})),
        ("configmaps", {"metadata": {"name": "child", "ownerReferences": [owned]}}),
        ("secrets", {"type": TOKEN, "metadata": {"name": "token", "annotations": {ACCOUNT: "worker"}}}),
    ]  # fmt: skip


def _pod(image: str) -> Manifest:
    """A pod's spec, of a service account that is there without any controller."""
    container = {"name": "pause", "image": image, "imagePullPolicy": "Never"}
    return {
        "serviceAccountName": "worker",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }


def _set(name: str, pod: Manifest, **more: Any) -> Manifest:
    labels = {"app": name}
    return _named(
        name, selector={"matchLabels": labels}, template={"metadata": {"labels": labels}, "spec": pod}, **more
    )


def _named(name: str, **spec: Any) -> Manifest:
    return {"metadata": {"name": name}, **({"spec": spec} if spec else {})}


# Of a long line only what was refused.
_FORBIDDEN = """\
journalctl -u "$0" -n 4000 -o cat --no-pager | tr -d '\\\\' |
    grep -oE '[^ ]+( [^ ]+)? is forbidden: User .{0,240}' | grep -F "\\"$1\\"" | tail -n 1
"""
