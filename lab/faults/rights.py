"""A scheduler that leads and does nothing: it may renew its lease, and look at pods no more."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from lab.cluster import Cluster
from lab.errors import LabError
from lab.faults.api import answering
from lab.faults.base import Fault
from lab.faults.serving import check_unit
from lab.faults.shell import sh
from lab.faults.targets import holder
from lab.kubeapi import KubeApi, Refused
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet, wait_until

SCHEDULER = "kube-scheduler"
ROLE = f"/apis/rbac.authorization.k8s.io/v1/clusterroles/system:{SCHEDULER}"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
AUTO = "rbac.authorization.kubernetes.io/autoupdate"  # else an apiserver that begins gives the right back
PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete", "get", "list", "watch"]}
RESTART = 60.0  # seconds for an apiserver to serve again


@dataclass(frozen=True)
class Deaf(Fault):
    """Schedulers may not look at pods any more, and keep the right to their lease; aim at control-plane.

    The victims' apiservers are started anew, one after the other, for nobody judges a watch that stands.
    """

    word: ClassVar[str] = "deaf"
    takes: ClassVar[float] = 2 * RESTART

    def unavailable(self, cluster: Cluster) -> str:
        """A master that is left out would go on to tell its scheduler."""
        left = [n.name for n in cluster.topology.of(Role.CONTROL_PLANE) if n.name not in self.machines]
        return f"{', '.join(left)} would go on to tell its scheduler: aim at control-plane" if left else ""

    def inject(self, cluster: Cluster) -> None:
        """Returns when every apiserver serves again."""
        api = answering(cluster)
        role = api.get(ROLE)
        role["rules"] = _but_pods(role["rules"])
        _put(api, role, auto=False)
        for machine in self._victims(cluster):
            sh(machine, "systemctl restart --no-block kube-apiserver.service")
            check = partial(check_unit, cluster, machine, "kube-apiserver")
            wait_until(f"the apiserver on {machine.name} to serve", check, timeout=RESTART, every=0.3)

    def in_force(self, cluster: Cluster) -> str:
        """It is not allowed, by the API's own judgement, and somebody holds the lease."""
        if _allowed(answering(cluster)):
            raise NotYet(f"{SCHEDULER} may still watch pods")
        leads = holder(cluster, SCHEDULER)
        return f"{SCHEDULER} may not watch pods, by the API's own judgement; {leads} holds its lease"

    def still_in_force(self, cluster: Cluster) -> str:
        """The same, but for an API that does not answer, which tells nothing."""
        try:
            api = answering(cluster)
        except NotYet as error:
            raise LabError(str(error)) from error
        if _allowed(api):
            raise NotYet(f"{SCHEDULER} may watch pods again")
        return f"{SCHEDULER} may not watch pods"

    def heal(self, cluster: Cluster) -> None:
        """It may again; apiservers keep its role as it should be from now on."""
        api = answering(cluster)
        role = api.get(ROLE)
        rules = role.get("rules") or []
        if _is_auto(role) and _but_pods(rules) != rules:
            return
        role["rules"] = [*_but_pods(rules), PODS]
        _put(api, role, auto=True)

    def check_healed(self, cluster: Cluster) -> None:
        """It is allowed, and the role is looked after again."""
        api = answering(cluster)
        if not _allowed(api) or not _is_auto(api.get(ROLE)):
            raise NotYet(f"{SCHEDULER} may not watch pods yet, or its role is not kept as it should be")
        for machine in self._victims(cluster):
            check_unit(cluster, machine, SCHEDULER)

    def _victims(self, cluster: Cluster) -> list[Machine]:
        return [cluster.machines[name] for name in self.machines]


def _but_pods(rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rules for all that they are about but pods themselves; one about nothing else is left out."""
    return [rule for each in rules if (rule := _without_pods(each)).get("resources") != []]


def _without_pods(rule: dict[str, Any]) -> dict[str, Any]:
    if "" not in rule.get("apiGroups", ()):
        return rule
    return {**rule, "resources": [each for each in rule["resources"] if each != "pods"]}


def _is_auto(role: dict[str, Any]) -> bool:
    return bool((role["metadata"].get("annotations") or {}).get(AUTO) == "true")


def _put(api: KubeApi, role: dict[str, Any], *, auto: bool) -> None:
    role["metadata"].setdefault("annotations", {})[AUTO] = str(auto).lower()
    try:
        api.put(ROLE, role)
    except Refused as error:
        raise LabError(f"the role of {SCHEDULER} cannot be changed: {error}") from error


def _allowed(api: KubeApi) -> bool:
    wish = {"verb": "watch", "resource": "pods"}
    spec = {"user": f"system:{SCHEDULER}", "resourceAttributes": wish}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    try:
        return bool(api.post(REVIEWS, review)["status"].get("allowed"))
    except Refused as error:
        raise NotYet(str(error)) from error


FAULTS: tuple[type[Fault], ...] = (Deaf,)
