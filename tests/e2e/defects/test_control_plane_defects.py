"""Seeded defects of the control plane: masters that disagree on a key, a master nobody is led to."""

from collections.abc import Callable

import pytest
from support_dropin import FOLDER, apiserver_runs, drop_in, insist_green, restart
from support_eventually import eventually

from lab.cluster import Cluster
from lab.components.rendering import CFG, SA_KEY, SA_PUB
from lab.machine import File, Machine
from lab.pki.issuing import key_pair, new_key
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.defects
UNIT = "kube-apiserver.service"
UNITS = (UNIT, "kube-controller-manager.service", "kube-scheduler.service", "etcd.service")
READERS = list(UNITS[:2])  # of the service accounts' key
CONF = f"{CFG}/kube-apiserver.conf"
DIRECTLY = "test_control_plane.py::test_every_master_accepts_the_tokens_of_every_master"
THROUGH = "test_control_plane.py::test_no_call_through_the_service_is_refused"
LISTED = "test_control_plane.py::test_the_kubernetes_service_leads_to_every_master"


@pytest.fixture
def victim(lab: Cluster) -> Machine:
    masters = lab.of(Role.CONTROL_PLANE)
    if len(masters) < 2:
        pytest.skip("one master has nobody to disagree with")
    return masters[-1]


def with_conf(machine: Machine, changed: Callable[[str], str]) -> tuple[tuple[str, ...], File]:
    """Lines of a drop-in, and the file with other flags that they point to."""
    conf = machine.check("cat", CONF)
    other = changed(conf)
    assert other != conf, f"{machine.name}: nothing to change in {CONF}"
    file = File(f"{FOLDER}/kube-apiserver.conf", other.encode())
    return ("EnvironmentFile=", f"EnvironmentFile={file.path}"), file


def invocations(machine: Machine) -> dict[str, str]:
    said = machine.check("systemctl", "show", "-p", "InvocationID", "--value", *UNITS)
    return dict(zip(UNITS, said.split(), strict=True))


def test_a_master_with_a_service_account_key_of_its_own(
    lab: Cluster, victim: Machine, turns_red: Callable[..., None]
) -> None:
    """Case A1, where bring-up does not see it: the master's flags point to another pair."""
    pair = key_pair(new_key())
    private, public = f"{FOLDER}/sa.key", f"{FOLDER}/sa.pub"
    settings, conf = with_conf(victim, lambda text: text.replace(SA_KEY, private).replace(SA_PUB, public))
    files = [conf, File(private, pair.private, 0o600), File(public, pair.public)]
    others = [machine.name for machine in lab.of(Role.CONTROL_PLANE) if machine is not victim]
    try:
        with drop_in(victim, UNIT, *settings, files=files):
            apiserver_runs(lab, victim)
            both_ways = [f"{other} answers 401 to a token minted by {victim.name}" for other in others]
            both_ways += [f"{victim.name} answers 401 to a token minted by {other}" for other in others]
            turns_red(DIRECTLY, *both_ways)
            turns_red(THROUGH, "'401':")
    finally:
        apiserver_runs(lab, victim)
    insist_green(lab, DIRECTLY, THROUGH)


def test_a_second_up_repairs_the_key_and_restarts_only_what_reads_it(lab: Cluster, victim: Machine) -> None:
    """Case A1 as it was reported: other files in the same place, and the apiserver restarted by hand.

    The case wants one unit restarted.  It is two: the controller manager signs with the same sa.key, and
    bring-up cannot know whether it has read the wrong one.
    """
    pair, right = key_pair(new_key()), lab.credentials.service_account
    rightful = [File(SA_KEY, right.private, 0o600), File(SA_PUB, right.public)]
    try:
        victim.apply([File(SA_KEY, pair.private, 0o600), File(SA_PUB, pair.public)])
        restart(victim, UNIT)
        apiserver_runs(lab, victim)
        before = invocations(victim)
        insist_green(lab, DIRECTLY)
        assert not victim.apply(rightful), f"{victim.name}: the second up left another key in place"
        after = invocations(victim)
        restarted = [unit for unit in UNITS if before[unit] != after[unit]]
        assert restarted == READERS, f"{victim.name}: the second up restarted {restarted}"
    finally:
        if victim.apply(rightful):
            restart(victim, UNIT)
        apiserver_runs(lab, victim)


def test_a_master_that_does_not_list_itself(
    lab: Cluster, victim: Machine, turns_red: Callable[..., None]
) -> None:
    def stop_listing(text: str) -> str:
        return text.replace("--v=2", "--v=2 \\\n--endpoint-reconciler-type=none")

    def unlisted() -> None:
        slice_ = lab.api().get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        if any(str(victim.node.address) in each["addresses"] for each in slice_["endpoints"]):
            raise NotYet(f"{victim.name} is still listed")

    settings, conf = with_conf(victim, stop_listing)
    try:
        with drop_in(victim, UNIT, *settings, files=[conf]):
            apiserver_runs(lab, victim)
            eventually(f"{victim.name} to be listed no more", unlisted, timeout=40)
            turns_red(LISTED, "lacks", victim.name)
    finally:
        apiserver_runs(lab, victim)
    insist_green(lab, LISTED)
