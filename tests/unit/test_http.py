"""The HTTP client of the cluster: no proxies, verified TLS, a deadline."""

import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fixed import guide_topology
from https_server import Server, serving

from lab import http
from lab.pki import Credentials, load_or_create

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_create(guide_topology(), tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(credentials: Credentials, tmp_path: Path) -> Iterator[Server]:
    pair = credentials.pair("kubernetes", guide_topology().node("k8s-master1"))
    with serving(lambda _: (200, {"ok": True}), pair, credentials.ca("kubernetes"), tmp_path) as running:
        yield running


@pytest.mark.parametrize("no_proxy", [None, "192.168.100.*", ""])
def test_proxies_are_ignored_whatever_the_exclusions_say(
    server: Server, credentials: Credentials, monkeypatch: pytest.MonkeyPatch, no_proxy: str | None
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        dead = f"http://127.0.0.1:{free.getsockname()[1]}"
    for name in PROXIES:
        monkeypatch.setenv(name, dead)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        if no_proxy is not None:
            monkeypatch.setenv(name, no_proxy)
    with http.client(server.url, http.trusting(credentials.ca("kubernetes"))) as client:
        assert http.body_of(client.get("/")) == {"ok": True}


def test_a_certificate_of_another_authority_is_refused(server: Server, credentials: Credentials) -> None:
    client = http.client(server.url, http.trusting(credentials.ca("etcd")))
    with client, pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.get("/")
    assert server.seen == []


def test_a_name_the_certificate_does_not_have_is_refused(server: Server, credentials: Credentials) -> None:
    url = server.url.replace("127.0.0.1", "127.0.0.2")
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex(("127.0.0.2", int(url.rsplit(":", 1)[1]))) == 0:
            pytest.skip("the server listens there too")
    context = http.trusting(credentials.ca("kubernetes"))
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_the_environments_authorities_are_not_trusted(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(credentials.ca("etcd"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert len(http.trusting(credentials.ca("kubernetes")).get_ca_certs()) == 1


def test_the_clients_certificate_is_shown(server: Server, credentials: Credentials) -> None:
    context = http.trusting(credentials.ca("kubernetes"), credentials.pair("user"))
    with http.client(server.url, context) as client:
        client.get("/")
    assert server.seen[0].user == "k8s-user"


def test_the_key_is_on_disk_for_a_moment_only(
    credentials: Credentials, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    http.trusting(credentials.ca("kubernetes"), credentials.pair("user"))
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_costs_the_deadline_and_no_more(credentials: Credentials) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        start = time.monotonic()
        client = http.client(url, http.trusting(credentials.ca("kubernetes")), timeout=0.2)
        with client, pytest.raises(httpx2.TimeoutException):
            client.get("/")
        assert time.monotonic() - start < 5
