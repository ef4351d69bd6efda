"""Seeded defects of certificates: a master with others than it should have, on each of its sides."""

from collections.abc import Callable

import pytest
from support_dropin import FOLDER, apiserver, drop_in, insist_green, with_flags

from lab.cluster import Cluster
from lab.components.base import await_ready
from lab.components.scheduler import Scheduler
from lab.kubeconfig import kubeconfig
from lab.machine import File, Machine
from lab.pki import CA_FILES, Pair, Usage, foreign_ca, issue
from lab.topology import Profile, Role

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
API, SCHEDULER = "kube-apiserver", "kube-scheduler"
NAMES = "test_certificates.py::test_the_right_server_certificate_verifies_by_every_name[4-kube-apiserver]"
PURPOSE = "test_certificates.py::test_the_server_shows_the_certificate_that_lies_there[4-kube-apiserver]"
KNOWN = "test_certificates.py::test_the_right_client_certificate_is_accepted_everywhere[6-kube-scheduler]"
OBEYED = (
    "test_certificates.py::test_the_right_client_certificate_is_accepted_everywhere"
    "[11-kube-apiserver-to-kubelets]"
)
EXEC = "test_kubelet_access.py::test_exec_runs_on_every_node_by_every_way"
DIRECT = "test_kubelet_access.py::test_every_apiserver_reaches_every_kubelet_itself"


@pytest.fixture
def victim(lab: Cluster) -> Machine:
    return lab.of(Role.CONTROL_PLANE)[-1]


def test_an_apiserver_whose_certificate_is_for_too_few_names_and_too_much(
    lab: Cluster, victim: Machine, turns_red: TurnsRed
) -> None:
    """It is good for all addresses, so that bring-up, kubectl and kubelets see nothing."""
    addresses = (str(victim.node.address), str(lab.topology.api_address), "127.0.0.1")
    inside = str(lab.topology.networks.kubernetes_service)
    ca = lab.credentials.authorities["kubernetes"]
    pair = issue(ca, cn=API, sans=(*addresses, inside), usages=set(Usage))
    flags, files = placed(pair, "tls-cert-file", "tls-private-key-file")
    with apiserver(lab, victim, flags, files):
        turns_red(NAMES, f"{victim.name}, called as kubernetes.default: refused")
        turns_red(PURPOSE, f"{victim.name}: its certificate is for ['clientAuth', 'serverAuth']")
    insist_green(lab, NAMES, PURPOSE)


def test_an_apiserver_that_expects_kubelets_of_another_ca(
    lab: Cluster, victim: Machine, turns_red: TurnsRed
) -> None:
    """Use 10 with the real client: it refuses every kubelet, on both sides of the table's right and wrong."""
    if lab.topology.profile is Profile.GUIDE:
        pytest.skip("the guide's apiserver does not verify kubelets")
    ca = File(f"{FOLDER}/ca.pem", foreign_ca("kubernetes").cert)
    with apiserver(lab, victim, {"kubelet-certificate-authority": ca.path}, [ca]):
        nodes = [f"exec of {node.name} through {victim.name}" for node in lab.topology.of(Role.WORKER)]
        turns_red(EXEC, *nodes, "x509", "no serving request is pending")
    insist_green(lab, EXEC)


def test_an_apiserver_whose_client_certificate_kubelets_do_not_obey(
    lab: Cluster, victim: Machine, turns_red: TurnsRed
) -> None:
    """Use 11 with the real client: a name that nobody gave the right."""
    pair = issue(lab.credentials.authorities["kubernetes"], cn="kubernetes", usages={Usage.CLIENT})
    flags, files = placed(pair, "kubelet-client-certificate", "kubelet-client-key")
    with apiserver(lab, victim, flags, files):
        turns_red(DIRECT, f"{victim.name} asked the kubelet of", "got 403")
        turns_red(OBEYED, f"{victim.name}, calling ", "answered 403")
    insist_green(lab, DIRECT, OBEYED)


def test_a_scheduler_that_works_as_administrator(lab: Cluster, victim: Machine, turns_red: TurnsRed) -> None:
    """It works, and better than it should."""
    pair = issue(lab.credentials.authorities["kubernetes"], cn="k8s-admin", o="system:masters",
                 usages={Usage.CLIENT})  # fmt: skip
    server = f"https://{victim.node.address}:{lab.topology.networks.api_port}"
    content = kubeconfig("kubernetes", server, CA_FILES["kubernetes"], user="kube-scheduler", pair=pair)
    config = File(f"{FOLDER}/scheduler.kubeconfig", content, 0o600)
    settings, conf = with_flags(victim, SCHEDULER, {"kubeconfig": config.path})
    scheduler = Scheduler(lab.topology, lab.lab.provider.platform)
    try:
        with drop_in(victim, f"{SCHEDULER}.service", *settings, files=[conf, config]):
            await_ready(scheduler, victim)
            turns_red(KNOWN, f"{victim.name}, calling ", "it is known as k8s-admin of", "system:masters")
    finally:
        await_ready(scheduler, victim)
    insist_green(lab, KNOWN)


def placed(pair: Pair, cert_flag: str, key_flag: str) -> tuple[dict[str, str], list[File]]:
    """Flags that point to the pair, and its files."""
    cert, key = File(f"{FOLDER}/own.pem", pair.cert), File(f"{FOLDER}/own-key.pem", pair.key, 0o600)
    return {cert_flag: cert.path, key_flag: key.path}, [cert, key]
