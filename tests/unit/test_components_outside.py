"""Readiness asked from this host: whose certificate is good, and what is told of whoever is not ready."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import real_etcd
import test_reaching
from component_files import CONTAINER
from fixed import guide_topology
from https_server import Request, Server, serving
from test_components_checks import Here

from lab.components import outside as module
from lab.components.apiserver import ApiServer
from lab.components.base import Component, await_ready
from lab.components.etcd import Etcd
from lab.components.outside import Endpoint, Outside
from lab.errors import WaitExpired
from lab.pki import Credentials, load_or_create
from lab.wait import NotYet, wait_until

PLAN = guide_topology()
NODE, OTHER = PLAN.node("k8s-master1"), PLAN.node("k8s-master2")
READY = Endpoint(6443, "/readyz?verbose", "kubernetes")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_create(PLAN, tmp_path_factory.mktemp("pki"))


Said = list[tuple[int, str]]


@pytest.fixture
def said() -> Said:
    """The answers to come; the last one for ever."""
    return [(200, "ok")]


@pytest.fixture
def server(credentials: Credentials, said: Said, tmp_path: Path) -> Iterator[Server]:
    def answer(_: Request) -> tuple[int, str]:
        return said.pop(0) if len(said) > 1 else said[0]

    pair = credentials.pair("kubernetes", NODE)
    with serving(answer, pair, credentials.ca("kubernetes"), tmp_path) as running:
        yield running


def leading_to(port: int, credentials: Credentials) -> Outside:
    return Outside(lambda _, __: ("127.0.0.1", port), credentials)


def outside(server: Server, credentials: Credentials) -> Outside:
    return leading_to(int(server.url.rpartition(":")[2]), credentials)


def test_a_certificate_for_the_machines_own_address_is_good_behind_any_forwarder(
    server: Server, credentials: Credentials
) -> None:
    with outside(server, credentials).asking(NODE, READY) as question:
        question()
        question()
    assert [request.path for request in server.seen] == ["/readyz?verbose"] * 2


def test_a_certificate_of_another_machine_is_refused_though_loopback_is_in_it(
    server: Server, credentials: Credentials
) -> None:
    with (
        outside(server, credentials).asking(OTHER, READY) as question,
        pytest.raises(
            NotYet, match=r"GET https://192\.168\.100\.12:6443/readyz\?verbose: .*192\.168\.100\.12"
        ),
    ):
        question()
    assert server.seen == []


def test_it_shows_the_nodes_certificate_where_it_must(server: Server, credentials: Credentials) -> None:
    with outside(server, credentials).asking(NODE, replace(READY, shows="kube-scheduler")) as question:
        question()
    assert server.seen[0].user == "system:kube-scheduler"


def test_what_fails_is_told_in_one_line_and_what_passes_is_not(
    server: Server, credentials: Credentials, said: Said
) -> None:
    said[:] = [(500, "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n")]
    with (
        outside(server, credentials).asking(NODE, READY) as question,
        pytest.raises(NotYet, match=r"got 500: \[-]etcd failed: reason withheld \| readyz check failed$"),
    ):
        question()


def test_whoever_signs_for_himself_is_asked_all_the_same(server: Server, credentials: Credentials) -> None:
    with outside(server, credentials).asking(OTHER, replace(READY, authority=None)) as question:
        question()


def test_where_the_handshake_is_what_counts_any_answer_is_good(
    server: Server, credentials: Credentials, said: Said
) -> None:
    said[:] = [(401, "Unauthorized")]
    with outside(server, credentials).asking(NODE, replace(READY, status=None)) as question:
        question()


def test_nobody_who_listens_is_not_yet(credentials: Credentials) -> None:
    with (
        leading_to(1, credentials).asking(NODE, READY) as question,
        pytest.raises(NotYet, match=r"GET https://192\.168\.100\.11:6443/readyz\?verbose: .*refused"),
    ):
        question()


def test_through_a_forwarder_behind_which_nobody_listens_it_is_not_yet(credentials: Credentials) -> None:
    """It takes the connection itself, and ends it."""
    with (
        contextmanager(test_reaching.serving)(1) as port,
        leading_to(port, credentials).asking(NODE, READY) as question,
    ):
        for _ in range(2):
            with pytest.raises(NotYet, match=r"GET https://192\.168\.100\.11:6443/readyz"):
                question()


def test_through_a_forwarder_the_answer_is_the_machines(server: Server, credentials: Credentials) -> None:
    with (
        contextmanager(test_reaching.serving)(int(server.url.rpartition(":")[2])) as port,
        leading_to(port, credentials).asking(NODE, READY) as question,
    ):
        question()
        question()
    assert len(server.seen) == 2


def test_a_machine_is_not_asked_for_what_this_host_can_ask(
    server: Server, credentials: Credentials, said: Said, tmp_path: Path
) -> None:
    said[:] = [(500, "[-]etcd failed"), (500, "[-]etcd failed"), (200, "ok")]
    machine = Here(NODE, tmp_path)
    await_ready(ApiServer(PLAN, CONTAINER), machine, outside(server, credentials))
    assert len(server.seen) == 3
    assert machine.calls == []


def test_a_wait_that_expires_has_the_machine_tell_why(
    server: Server, credentials: Credentials, said: Said, tmp_path: Path
) -> None:
    said[:] = [(500, "[-]etcd failed")]
    component = ApiServer(PLAN, CONTAINER)
    component.patience = 0
    machine = Here(NODE, tmp_path, curl="printf '[-]etcd failed\\n500'", systemctl="echo ActiveState=active")
    with pytest.raises(WaitExpired, match=r"\[-]etcd failed.*ActiveState=active.*last words"):
        await_ready(component, machine, outside(server, credentials))


@pytest.mark.parametrize(
    "component", [ApiServer(PLAN, CONTAINER), Etcd(PLAN, CONTAINER)], ids=lambda c: c.name
)
def test_what_is_shown_is_a_certificate_that_the_node_has(
    component: Component, credentials: Credentials
) -> None:
    for node in component.nodes():
        endpoint = component.endpoint(node)
        assert endpoint is not None
        assert not endpoint.shows or credentials.pair(endpoint.shows, node)


# -- a real member ----------------------------------------------------------------------------------


@contextmanager
def member(credentials: Credentials, folder: Path, others: str) -> Iterator[Outside]:
    """etcd as the component starts it, its paths below ``folder``, on loopback; ``others`` never come."""
    client, peer = (f"https://{each}" for each in real_etcd._addresses()[NODE.name])
    component = Etcd(PLAN, CONTAINER)
    for file in component.files(NODE, credentials):
        path = folder / file.path.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
    settings = component._settings(NODE) | {
        "ETCD_DATA_DIR": f"{folder}/data",
        "ETCD_LISTEN_PEER_URLS": peer,
        "ETCD_LISTEN_CLIENT_URLS": client,
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
        "ETCD_ADVERTISE_CLIENT_URLS": client,
        "ETCD_INITIAL_CLUSTER": f"{PLAN.etcd_name(NODE)}={peer}{others}",
        "ETCD_UNSAFE_NO_FSYNC": "true",
    }
    flags = [f"--{k}={folder}{v}" if v.startswith("/") else f"--{k}={v}" for k, v in component._tls().items()]
    where = real_etcd.program()
    assert where is not None
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([where / "etcd", *flags], env=settings, stdout=log, stderr=log)
        try:
            host, port = client.removeprefix("https://").split(":")
            yield Outside(lambda _, __: (host, int(port)), credentials)
        finally:
            process.kill()
            process.wait(10)


needs_etcd = pytest.mark.skipif(real_etcd.program() is None, reason="no etcd was built on this host")


@needs_etcd
def test_a_real_member_is_healthy_once_it_commits(credentials: Credentials, tmp_path: Path) -> None:
    with (
        member(credentials, tmp_path, "") as way,
        way.asking(NODE, Etcd(PLAN, CONTAINER).endpoint(NODE)) as question,
    ):
        wait_until("the member to commit", question, timeout=30)


@needs_etcd
def test_a_real_member_without_a_quorum_is_not_healthy(
    credentials: Credentials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """etcd takes connections from the first, and says nothing until it has a leader."""
    monkeypatch.setattr(module, "PATIENCE", 1.0)
    with (
        member(credentials, tmp_path, ",etcd-2=https://127.0.0.1:9") as way,
        way.asking(NODE, Etcd(PLAN, CONTAINER).endpoint(NODE)) as question,
        pytest.raises(WaitExpired, match=r"GET https://192\.168\.100\.11:2379/health: .*timed out"),
    ):
        wait_until("the member to commit", question, timeout=4)
