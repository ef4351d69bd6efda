import errno
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from lab.artifacts import network
from lab.artifacts.network import proxy_for, shown, why_unreachable
from lab.artifacts.source import Unreachable


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that drops every SYN: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        queued = [socket.socket() for _ in range(4)]
        for client in queued:
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for client in queued:
            client.close()


def test_a_listening_port_is_reachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert why_unreachable("127.0.0.1", server.getsockname()[1], 3) == ""


def test_a_closed_port_is_refused_at_once(closed_port: int) -> None:
    began = time.monotonic()
    assert why_unreachable("127.0.0.1", closed_port, 3) == "127.0.0.1: Connection refused"
    assert time.monotonic() - began < 1


def test_silence_is_noticed_in_time(silent_port: int) -> None:
    began = time.monotonic()
    assert "no answer within" in why_unreachable("127.0.0.1", silent_port, 0.3)
    assert time.monotonic() - began < 1


def test_a_resolver_that_hangs_is_noticed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: hang.wait(10) and [])
    began = time.monotonic()
    assert "not resolved within" in why_unreachable("dl.k8s.io", 443, 0.2)
    assert time.monotonic() - began < 1
    hang.set()


def test_a_name_that_does_not_exist_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert (
        why_unreachable("nowhere.test", 443, 1) == "its name cannot be resolved (Name or service not known)"
    )


def test_one_working_address_among_silent_ones_is_enough(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, closed_port: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ports = (silent_port, closed_port, server.getsockname()[1])
        answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
        began = time.monotonic()
        assert why_unreachable("three.test", 443, 3) == ""
        assert time.monotonic() - began < 1


def test_a_host_with_ipv6_only_says_so_about_a_name_with_ipv4_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoRoute(socket.socket):
        def connect_ex(self, _: object, /) -> int:
            return errno.ENETUNREACH

    answer = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [answer])
    monkeypatch.setattr(socket, "socket", NoRoute)
    why = why_unreachable("dl.k8s.io", 443, 3)
    assert why == "192.0.2.1: no IPv4 route here, and dl.k8s.io has no IPv6 address"


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, "HTTPS_PROXY"),
        ({"https_proxy": "http://q:1", "HTTPS_PROXY": "http://p:1"}, "https_proxy"),
        ({"ALL_PROXY": "p:1"}, "ALL_PROXY"),
        ({"HTTP_PROXY": "http://p:1"}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "example.org, k8s.io"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": ".k8s.io"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "*"}, None),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "8s.io"}, "HTTPS_PROXY"),
    ],
)
def test_the_proxy_of_a_download(environ: dict[str, str], variable: str | None) -> None:
    proxy = proxy_for("https://dl.k8s.io/x", environ)
    assert (proxy.variable if proxy else None) == variable


def test_a_dead_proxy_is_named_with_variable_and_value_but_without_its_password(closed_port: int) -> None:
    environ = {"HTTPS_PROXY": f"http://me:geheim@127.0.0.1:{closed_port}"}
    with pytest.raises(Unreachable, match=r"HTTPS_PROXY=http://me:\*\*\*@127\.0\.0\.1.*refused") as error:
        network.insist_reachable("https://dl.k8s.io/", timeout=3, environ=environ)
    assert "geheim" not in str(error.value)
    assert error.value.remedy == "unset or correct HTTPS_PROXY"


def test_a_password_is_never_shown() -> None:
    assert shown("http://a:b%40c@host:1/x") == "http://a:***@host:1/x"
    assert shown("http://host:1") == "http://host:1"
