"""Seeded defects of security: stray keys, open ports, a proxy, a secret in sight, a careless master."""

from collections.abc import Callable, Iterator

import pytest
from support_dropin import FOLDER, apiserver_runs, bystander, drop_in, insist_green
from support_machines import secrets_of

from lab.cluster import Cluster
from lab.components.apiserver import ENCRYPTION
from lab.components.rendering import CFG
from lab.kubeapi import Refused
from lab.machine import File, Machine
from lab.pki import paths
from lab.topology import Profile, Role

pytestmark = pytest.mark.defects
UNIT = "kube-apiserver.service"
CONF = f"{CFG}/kube-apiserver.conf"
STRAY = "/etc/thwlab-defect.pem"


@pytest.fixture
def worker(lab: Cluster) -> Machine:
    return lab.of(Role.WORKER)[-1]


@pytest.fixture
def master(lab: Cluster) -> Machine:
    if lab.topology.profile is not Profile.HARDENED:
        pytest.skip("the profile `guide` encrypts and audits nothing")
    return lab.of(Role.CONTROL_PLANE)[-1]


@pytest.fixture
def stray(worker: Machine) -> Iterator[str]:
    yield STRAY
    worker.check("rm", "-f", STRAY)


def test_a_copy_of_a_key_that_others_may_read(
    lab: Cluster, worker: Machine, stray: str, turns_red: Callable[..., None]
) -> None:
    worker.check("install", "-m", "0644", paths("kube-proxy")[1], stray)
    turns_red(
        "test_security.py::test_no_private_key_is_readable_by_others", worker.name, f"{stray} (644 root)"
    )
    test = "test_private_keys_lie_where_the_plan_puts_them_and_nowhere_else"
    turns_red(f"test_security.py::{test}", f"{worker.name} has {stray}")


def test_a_ca_key_on_a_worker(
    lab: Cluster, worker: Machine, stray: str, turns_red: Callable[..., None]
) -> None:
    worker.apply([File(stray, lab.credentials.ca_key("kubernetes"), 0o600)])
    test = "test_no_ca_key_is_on_a_machine_that_is_no_master"
    turns_red(f"test_security.py::{test}", worker.name, "key of the kubernetes CA", stray)


@pytest.mark.parametrize("port", [8080, 10255])
def test_an_insecure_port_that_somebody_opened(
    lab: Cluster, worker: Machine, port: int, turns_red: Callable[..., None]
) -> None:
    with bystander(worker, "nc", "-lk", "-p", str(port), "-s", "0.0.0.0"):
        turns_red(
            f"test_security.py::test_nobody_listens_on_the_insecure_port[{port}]", worker.name, str(port)
        )
        turns_red(
            "test_security.py::test_the_insecure_ports_are_closed_to_the_network", f"{worker.name}:{port}"
        )


def test_a_unit_with_a_proxy(lab: Cluster, worker: Machine, turns_red: Callable[..., None]) -> None:
    with bystander(worker, "sleep", "300", properties=["Environment=HTTPS_PROXY=http://127.0.0.1:9"]):
        test = "test_no_unit_and_no_process_inherits_a_proxy"
        turns_red(f"test_security.py::{test}", worker.name, "https_proxy in environment of")


def test_a_secret_in_an_environment(lab: Cluster, worker: Machine, turns_red: Callable[..., None]) -> None:
    """By a file that systemd reads, so that it is in no argument and no journal, which would keep it."""
    what = "the bootstrap token"
    file = File(f"{FOLDER}/environment", f"WORD={secrets_of(lab)[what][0]}\n".encode(), 0o600)
    worker.apply([file])
    with bystander(worker, "sleep", "300", properties=[f"EnvironmentFile={file.path}"]):
        test = "test_no_secret_shows_in_arguments_environments_journals_or_the_audit_log"
        turns_red(f"test_security.py::{test}", f"{worker.name} shows {what}")


def test_a_master_that_encrypts_nothing_and_records_nothing(
    lab: Cluster, master: Machine, turns_red: Callable[..., None]
) -> None:
    """What it stored meanwhile is written again afterwards, and so encrypted."""
    files = [
        File(f"{FOLDER}/kube-apiserver.conf", _careless(master.check("cat", CONF)).encode()),
        File(f"{FOLDER}/encryption.yml", _plain_first(master.check("cat", ENCRYPTION)).encode(), 0o600),
    ]
    settings = ("EnvironmentFile=", f"EnvironmentFile={FOLDER}/kube-apiserver.conf")
    try:
        with drop_in(master, UNIT, *settings, files=files):
            apiserver_runs(lab, master)
            plain = f"{master.name} stores secrets as plain text"
            turns_red("test_security.py::test_every_master_stores_secrets_encrypted", plain)
            turns_red(
                "test_security.py::test_every_master_records_who_asked_what", master.name, "no such line"
            )
    finally:
        apiserver_runs(lab, master)
        _write_secrets_again(lab)
    insist_green(lab, "test_security.py")


def _careless(conf: str) -> str:
    """The flags with another encryption file, and without the audit log."""
    kept = [line for line in conf.splitlines() if not line.startswith("--audit-")]
    text = "\n".join(kept).rstrip(' \\"') + '"\n'
    assert ENCRYPTION in text, "nothing to change"
    return text.replace(ENCRYPTION, f"{FOLDER}/encryption.yml")


def _plain_first(config: str) -> str:
    """`identity` before the key: it still reads what others encrypt."""
    identity = "      - identity: {}\n"
    assert config.count(identity) == 1, "the encryption file has another shape"
    return config.replace(identity, "").replace("providers:\n", f"providers:\n{identity}")


def _write_secrets_again(cluster: Cluster) -> None:
    api = cluster.api(cluster.of(Role.CONTROL_PLANE)[0].name)
    for secret in api.items("/api/v1/secrets"):
        at = f"/api/v1/namespaces/{secret['metadata']['namespace']}/secrets/{secret['metadata']['name']}"
        try:
            api.put(at, secret)
        except Refused as error:
            if error.status not in (404, 409):  # gone, or written by somebody else meanwhile
                raise
