"""Seeded defects of nodes and machines: rights that nobody should have, twins, a certificate that ended."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from support_dropin import insist_green, mounted
from support_eventually import eventually

from lab.addons.base import cluster_role, cluster_role_binding
from lab.cluster import Cluster
from lab.kubeapi import path_of
from lab.machine import File
from lab.pki import Usage, issue
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
ISOLATED = "test_node_restriction.py::test_a_node_can_neither_read_nor_change_what_is_anothers"
TWINS = "test_machines.py::test_no_two_machines_share_an_identity"
IN_FORCE = "test_certificate_lives.py::test_every_certificate_is_in_force_and_its_days_are_reported"
SCHEDULER = "test_identity.py::test_a_program_may_do_its_own_work_and_nothing_of_anothers[kube-scheduler]"


@contextmanager
def granted(lab: Cluster, kind: str, whom: str, resource: str, *verbs: str) -> Iterator[None]:
    """A right of the core group, given to somebody in the whole cluster, for the body.

    Each apiserver has heard of it when the body begins, and that it is gone when all is over.
    """
    name = f"defect-{uuid.uuid4().hex[:8]}"
    rules = [{"apiGroups": [""], "resources": [resource], "verbs": list(verbs)}]
    given = (cluster_role(name, rules), cluster_role_binding(name, name, kind, whom))
    try:
        for manifest in given:
            lab.api().apply(manifest)
        _await_right(lab, kind, whom, resource, verbs[-1], allowed=True)
        yield
    finally:
        for manifest in given:
            lab.api().delete(path_of(manifest))
        _await_right(lab, kind, whom, resource, verbs[-1], allowed=False)


def _await_right(lab: Cluster, kind: str, whom: str, resource: str, verb: str, *, allowed: bool) -> None:
    who = {"user": whom} if kind == "User" else {"user": "defect", "groups": [whom]}
    spec = {**who, "resourceAttributes": {"resource": resource, "verb": verb}}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}

    def check(master: str) -> None:
        said = lab.api(master).post("/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]
        if said["allowed"] is not allowed:
            raise NotYet(f"{master}: {whom} may {verb} {resource}: {said}")

    for node in lab.topology.of(Role.CONTROL_PLANE):
        eventually(f"{node.name} to know who may {verb} {resource}", partial(check, node.name), timeout=30)


def test_nodes_that_may_read_every_secret(lab: Cluster, turns_red: TurnsRed) -> None:
    with granted(lab, "Group", "system:nodes", "secrets", "get", "list"):
        reads = [f"{node.name}, GET " for node in lab.topology.of(Role.WORKER)]
        turns_red(ISOLATED, *reads, "/secrets/of-nobody: got 200 from")
    insist_green(lab, ISOLATED)


def test_a_scheduler_that_may_delete_nodes(lab: Cluster, turns_red: TurnsRed) -> None:
    with granted(lab, "User", "system:kube-scheduler", "nodes", "delete"):
        masters = [f"{n.name}: kube-scheduler may delete nodes" for n in lab.topology.of(Role.CONTROL_PLANE)]
        turns_red(SCHEDULER, *masters)
    insist_green(lab, SCHEDULER)


def test_a_machine_with_the_machine_id_of_another(lab: Cluster, turns_red: TurnsRed) -> None:
    """Case B1, by a mount over the file, so that nothing on its disk is changed."""
    first, *_, twin = lab.machines.values()
    with mounted(twin, "/etc/machine-id", first.check("cat", "/etc/machine-id").encode()):
        turns_red(TWINS, f"{first.name} and {twin.name} share machine-id")
    insist_green(lab, TWINS)


def test_a_certificate_that_ended_yesterday(lab: Cluster, turns_red: TurnsRed) -> None:
    machine, now = lab.of(Role.CONTROL_PLANE)[-1], datetime.now(UTC)
    path = "/opt/kubernetes/ssl/e2e-ended.pem"
    ca = lab.credentials.authorities["kubernetes"]
    begun, ended = now - timedelta(days=9), now - timedelta(days=1)
    pair = issue(ca, cn="ended", usages={Usage.CLIENT}, not_before=begun, not_after=ended)
    try:
        machine.apply([File(path, pair.cert)])
        turns_red(IN_FORCE, f"{machine.name}: {path}")
    finally:
        machine.check("rm", "-f", path)
    insist_green(lab, IN_FORCE)
