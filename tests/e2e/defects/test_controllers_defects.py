"""Seeded defects of controllers: no rights, keys of their own, a scheduler that is down everywhere."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial

import pytest
from support_controllers import LEASES, PROGRAM, SCHEDULER
from support_dropin import FOLDER, drop_in, idle, insist_green, with_flags
from support_eventually import eventually

from lab.cluster import Cluster
from lab.kubeapi import path_of
from lab.machine import File
from lab.pki import foreign_ca
from lab.pki.issuing import key_pair, new_key
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
ACTS = "test_controllers.py::test_every_controller_acts"
MAY = "test_controllers.py::test_a_controller_may_do_what_shows_too_late"
TOKEN = "test_controllers.py::test_every_master_knows_the_token_that_the_leading_controller_manager_signs"
RENEWED = "test_nodes.py::test_every_kubelets_next_client_certificate_would_be_signed"
HEALTHY = "test_control_plane.py::test_every_master_calls_its_own_controllers_healthy"
LEADS = "test_control_plane.py::test_one_master_leads[kube-scheduler]"
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
    masters = [node.name for node in lab.topology.of(Role.CONTROL_PLANE)]
    with without_rights(lab, *seen, "namespace-controller", unseen):
        named = [f"{account} owes" for account in (*seen, "namespace-controller")]
        turns_red(ACTS, *named, "leads; k8s-master", "is forbidden", 'deployment-controller" cannot create')
        turns_red(f"{MAY}[{unseen}]", *[f"{master}: {unseen} may not patch nodes" for master in masters])
    insist_green(lab, "test_controllers.py")


def test_controller_managers_that_sign_by_keys_of_their_own(lab: Cluster, turns_red: TurnsRed) -> None:
    """On every master, so that whoever leads does: nothing fails until somebody shows what they signed."""
    ca, pair = foreign_ca("kubernetes"), key_pair(new_key())
    files = [
        File(f"{FOLDER}/ca.pem", ca.cert),
        File(f"{FOLDER}/ca-key.pem", ca.key, 0o600),
        File(f"{FOLDER}/sa.key", pair.private, 0o600),
    ]
    flags = ("cluster-signing-cert-file", "cluster-signing-key-file", "service-account-private-key-file")
    paths = dict(zip(flags, (file.path for file in files), strict=True))
    begun = datetime.now(UTC)
    try:
        with ExitStack() as stack:
            for machine in lab.of(Role.CONTROL_PLANE):
                settings, conf = with_flags(machine, PROGRAM, paths)
                stack.enter_context(drop_in(machine, f"{PROGRAM}.service", *settings, files=[conf, *files]))
            await_leader(lab, PROGRAM, begun)
            masters = [node.name for node in lab.topology.of(Role.CONTROL_PLANE)]
            refused = [f"{name}: answered 401 to a token signed by the controller" for name in masters]
            turns_red(TOKEN, *refused, "--service-account-private-key-file")
            workers = [node.name for node in lab.topology.of(Role.WORKER)]
            turns_red(
                RENEWED,
                *[f"{name}: the controller manager of" for name in workers],
                "signs for it by another CA",
            )
            begun = datetime.now(UTC)
    finally:
        await_leader(lab, PROGRAM, begun)
    insist_green(lab, TOKEN, RENEWED)


def test_no_scheduler_anywhere(lab: Cluster, turns_red: TurnsRed) -> None:
    """What runs goes on; a session that knows the lab as whole tells of the stage, and goes on as well."""
    begun = datetime.now(UTC)
    try:
        with ExitStack() as stack:
            for machine in lab.of(Role.CONTROL_PLANE):
                stack.enter_context(idle(machine, f"{SCHEDULER}.service"))
            turns_red(LEADS, SCHEDULER, "renewed its lease")
            turns_red(ACTS, f"{SCHEDULER} owes a node for a Pod")
            begun = datetime.now(UTC)
    finally:
        await_leader(lab, SCHEDULER, begun)
    insist_green(lab, LEADS, ACTS)


def test_a_scheduler_that_is_dead_on_one_master(lab: Cluster, turns_red: TurnsRed) -> None:
    """The other leads and all goes on; who asks through the balancer may hear the healthy one only."""
    victim = lab.of(Role.CONTROL_PLANE)[-1]
    with idle(victim, f"{SCHEDULER}.service"):
        turns_red(HEALTHY, f"{victim.name}: scheduler", "127.0.0.1:10259")
    eventually("a leader again", partial(_check_held, lab, SCHEDULER), timeout=60)
    insist_green(lab, HEALTHY)


def await_leader(lab: Cluster, program: str, since: datetime) -> None:
    """Wait until somebody has begun to lead after that time."""
    check = partial(_check_leader, lab, program, since)
    eventually(f"a new leader of {program}", check, timeout=60)


def _check_leader(lab: Cluster, program: str, since: datetime) -> None:
    lease = lab.api().get(f"{LEASES}/{program}")["spec"]
    if datetime.fromisoformat(lease["acquireTime"]) < since:
        raise NotYet(f"{lease['holderIdentity']} leads since {lease['acquireTime']}")


def _check_held(lab: Cluster, program: str) -> None:
    if not lab.api().get(f"{LEASES}/{program}")["spec"].get("holderIdentity"):
        raise NotYet(f"nobody holds the lease of {program}")
