"""Chapter "kube-controller-manager": every controller of weight acts, and signs by the right keys."""

import secrets
from collections.abc import Iterator

import pytest
from support_controllers import RIGHTS, Scene, begin, idle, leader, may_not, why_idle
from support_eventually import eventually
from support_namespace import namespace
from support_nodes import who_is

from lab.cluster import Cluster
from lab.errors import ClusterError, WaitExpired
from lab.topology import Role
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.e2e
PATIENCE = 30.0  # seconds; a namespace alone is let be for five


@pytest.fixture(scope="module")
def scene(lab_network: Cluster) -> Iterator[Scene]:
    with namespace(lab_network, "controllers") as name, namespace(lab_network, "leaving") as leaving:
        yield begin(lab_network, name, leaving, secrets.token_hex(11))


def test_every_controller_acts(lab_network: Cluster, scene: Scene) -> None:
    """Each is given work of its own, all at once; who does not act is named with what it was refused."""

    def all_acted() -> None:
        if waiting := idle(scene):
            raise NotYet(", ".join(act.controller for act in waiting))

    try:
        wait_until("every controller to act", all_acted, timeout=PATIENCE)
    except WaitExpired as expired:
        told = [why_idle(lab_network, act) for act in idle(scene)]
        raise ClusterError("\n  ".join([f"within {PATIENCE:.0f} s", *told])) from expired


@pytest.mark.parametrize("account", RIGHTS)
def test_a_controller_may_do_what_shows_too_late(lab_network: Cluster, account: str) -> None:
    """Work that cannot be given for a try: every master is asked whether it would be allowed."""
    told = [
        f"{node.name}: {account} may not {deed}; who is bound: "
        f"`kubectl get clusterrolebinding system:controller:{account} -o wide`"
        for node in lab_network.topology.of(Role.CONTROL_PLANE)
        for deed in may_not(lab_network.api(node.name), account)
    ]
    assert not told, "\n".join(told)


# -- what is signed --------------------------------------------------------------------------------


def test_every_master_knows_the_token_that_the_leading_controller_manager_signs(
    lab_network: Cluster, scene: Scene
) -> None:
    """A manager with a key of its own would be noticed only once it leads."""
    token = eventually("a signed token", scene.signed, timeout=PATIENCE)
    told = [
        f"{name}: {outcome} to a token signed by the controller manager of {leader(lab_network.api())}"
        for name, outcome in who_is(lab_network, token).items()
        if outcome.status != 201
    ]
    assert not told, "\n".join([*told, "  --service-account-private-key-file must be the apiservers' key"])


def test_namespaces_are_told_the_clusters_ca(lab_network: Cluster, scene: Scene) -> None:
    """It comes from the leader's --root-ca-file, and pods believe it."""
    seen = eventually("kube-root-ca.crt", scene.published, timeout=PATIENCE)
    right = lab_network.credentials.ca("kubernetes").decode().strip()
    assert seen.strip() == right, (
        f"the controller manager of {leader(lab_network.api())} publishes another CA than the cluster's: "
        f"see its --root-ca-file; it says {seen[:200]}"
    )
