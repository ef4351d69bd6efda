"""Seeded defects of one master of two: other rules, another front proxy, other keys at rest."""

from collections.abc import Callable

import pytest
import test_masters
from support_dropin import API, FOLDER, apiserver, insist_green, mounted
from support_holdings import holdings

from lab.cluster import Cluster
from lab.components.apiserver import ENCRYPTION
from lab.errors import ClusterError
from lab.machine import File, Machine
from lab.pki import foreign_ca
from lab.topology import Profile, Role

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
RESTRICTED = "test_node_restriction.py::test_a_node_can_neither_read_nor_change_what_is_anothers"
ADMITS = "test_masters.py::test_every_master_admits_by_the_same_rules"
FLAGS = "test_masters.py::test_masters_run_a_program_by_the_same_flags[kube-apiserver]"
POSING = "test_certificates.py::test_nobody_is_believed_who_says_that_he_speaks_for_another"
TOLD = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"


@pytest.fixture
def victim(lab: Cluster) -> Machine:
    masters = lab.of(Role.CONTROL_PLANE)
    if len(masters) < 2:
        pytest.skip("one master cannot differ from another")
    return masters[-1]


def test_a_master_with_other_rules(lab: Cluster, victim: Machine, turns_red: TurnsRed) -> None:
    """Through the balancer every second question would find the master whose rules are right."""
    flags = {"enable-admission-plugins": "Priority --disable-admission-plugins=PodSecurity,ServiceAccount"}
    with apiserver(lab, victim, flags, []):
        turns_red(RESTRICTED, f"got 200 from {victim.name}, not 403", "NodeRestriction")
        admitted = (f"{victim.name}: PodSecurity lets", f"{victim.name}: ServiceAccount gives a pod no token")
        turns_red(ADMITS, *admitted)
        turns_red(FLAGS, f"{victim.name}: kube-apiserver has --disable-admission-plugins=")
    insist_green(lab, RESTRICTED, ADMITS, FLAGS)


def test_a_master_that_believes_another_front_proxy(
    lab: Cluster, victim: Machine, turns_red: TurnsRed
) -> None:
    """What it told everybody of its front proxy is told anew afterwards."""
    ca = File(f"{FOLDER}/front-proxy-ca.pem", foreign_ca("front-proxy").cert)
    try:
        with apiserver(lab, victim, {"requestheader-client-ca-file": ca.path}, [ca]):
            turns_red(POSING, f"{victim.name}, told to take the caller for")
            turns_red(FLAGS, f"{victim.name}: kube-apiserver has --requestheader-client-ca-file={ca.path!r}")
    finally:
        lab.api().delete(TOLD)
    insist_green(lab, POSING, FLAGS)


def test_a_master_with_another_key_at_rest(lab: Cluster, victim: Machine) -> None:
    """By a mount over the file, and judged here: a session of its own would mend the file first."""
    if lab.topology.profile is not Profile.HARDENED:
        pytest.skip("the profile `guide` encrypts nothing")
    masters = lab.of(Role.CONTROL_PLANE)
    with mounted(victim, ENCRYPTION, b"another"):
        with pytest.raises(ClusterError) as said:
            test_masters.test_masters_read_the_same_files(holdings(lab, masters), API)
        where = f"{victim.name}: {ENCRYPTION}, --encryption-provider-config of {API}"
        assert where in str(said.value), said.value
        assert f"than on {masters[0].name}" in str(said.value)
    test_masters.test_masters_read_the_same_files(holdings(lab, masters), API)
