"""Seeded defects of controllers: no rights, keys of their own, a scheduler that is down everywhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support_dropin import insist_green

from lab.cluster import Cluster
from lab.kubeapi import path_of

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
ACTS = "test_controllers.py::test_every_controller_acts"
MAY = "test_controllers.py::test_a_controller_may_do_what_shows_too_late"
BINDINGS = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"


@contextmanager
def without_rights(lab: Cluster, *accounts: str) -> Iterator[None]:
    """Nobody is bound to these controllers' roles, for the body."""
    api = lab.api()
    bindings = [api.get(f"{BINDINGS}/system:controller:{account}") for account in accounts]
    given = [_bare(binding) for binding in bindings]
    try:
        for manifest in given:
            api.delete(path_of(manifest))
        yield
    finally:
        for manifest in given:
            api.delete(path_of(manifest))
            api.post(BINDINGS, manifest)


def _bare(binding: dict[str, object]) -> dict[str, object]:
    metadata = binding["metadata"]
    assert isinstance(metadata, dict)
    kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": kept,
        "roleRef": binding["roleRef"],
        "subjects": binding["subjects"],
    }


def test_controllers_without_their_rights(lab: Cluster, turns_red: TurnsRed) -> None:
    """Some that everybody would notice, and some whose work is not missed for days."""
    seen, unseen = ("deployment-controller", "generic-garbage-collector"), "node-controller"
    masters = [node.name for node in lab.topology.nodes if "control-plane" in {r.value for r in node.roles}]
    with without_rights(lab, *seen, "namespace-controller", unseen):
        named = [f"{account} owes" for account in (*seen, "namespace-controller")]
        turns_red(ACTS, *named, "leads; k8s-master", "is forbidden", 'deployment-controller" cannot create')
        turns_red(f"{MAY}[{unseen}]", *[f"{master}: {unseen} may not patch nodes" for master in masters])
    insist_green(lab, "test_controllers.py")
