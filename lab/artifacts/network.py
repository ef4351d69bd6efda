"""Is a host within reach?  Asked in parallel and within seconds, so that "no network" is never waited for."""

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from lab.artifacts.source import Unreachable

PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
NO_IPV4 = "no IPv4 route here"
Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy that the environment asks for, and the variable that does."""

    variable: str
    url: str

    def __str__(self) -> str:
        return f"{self.variable}={shown(self.url)}"


def shown(url: str) -> str:
    """The URL without a password in it."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}").geturl()


def proxy_for(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy that a download of this URL goes through, if any; no_proxy is honoured."""
    host = urlsplit(url).hostname or ""
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if host and _excluded(host, excluded):
        return None
    for name in (f"{urlsplit(url).scheme}_proxy", "all_proxy"):
        for variable in (name, name.upper()):
            if value := environ.get(variable):
                return Proxy(variable, value if "://" in value else f"http://{value}")
    return None


def _excluded(host: str, excluded: str) -> bool:
    """Whether no_proxy names the host, or a domain it is in; a leading dot or `*.` is as good as none."""
    names = [name.strip().lower().removeprefix("*").removeprefix(".") for name in excluded.split(",")]
    return "*" in excluded.split(",") or any(
        host == name or host.endswith(f".{name}") for name in names if name
    )


def insist_reachable(url: str, *, timeout: float, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """Return the proxy to use, if any; raise `Unreachable` within `timeout` seconds if nobody answers."""
    proxy = proxy_for(url, os.environ if environ is None else environ)
    target = urlsplit(proxy.url if proxy else url)
    host, port = target.hostname or "", target.port or PORTS.get(target.scheme, 443)
    why = why_unreachable(host, port, timeout)
    if why and proxy:
        raise Unreachable(f"the proxy of {proxy} is dead: {why}", remedy=f"unset or correct {proxy.variable}")
    if why:
        raise Unreachable(f"no connection to {host}:{port}: {why}")
    return proxy


def why_unreachable(host: str, port: int, timeout: float) -> str:
    """Why none of the host's addresses accepts a connection in time; empty if one does."""
    end = time.monotonic() + timeout
    addresses, why = _resolve(host, port, timeout)
    why = why or _why_none_answers(addresses, end, timeout)
    if NO_IPV4 in why and all(family == socket.AF_INET for family, _ in addresses):
        return f"{why}, and {host} has no IPv6 address"
    return why


def _resolve(host: str, port: int, timeout: float) -> tuple[list[Address], str]:
    """The host's addresses, or why there are none.  In a thread: the resolver has no deadline."""
    found: list[Address] = []
    problem = [f"its name was not resolved within {timeout:.0f}s"]

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend((family, address) for family, _, _, _, address in answers)  # type: ignore[misc]
            problem[0] = ""
        except (OSError, UnicodeError) as error:
            problem[0] = f"its name cannot be resolved ({getattr(error, 'strerror', None) or error})"

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout)
    return list(found), problem[0]


def _why_none_answers(addresses: list[Address], end: float, timeout: float) -> str:
    reasons: dict[str, str] = {}
    with selectors.DefaultSelector() as waiting:
        try:
            for address in addresses:
                _start(address, waiting, reasons)
            if _one_connects(waiting, end, reasons):
                return ""
        finally:
            pending = [(key.fileobj, str(key.data)) for key in waiting.get_map().values()]
            for connection, _ in pending:
                connection.close()  # type: ignore[union-attr]
    silent = [f"{name}: no answer within {timeout:.0f}s" for _, name in pending]
    return "; ".join([*(f"{name}: {reason}" for name, reason in reasons.items()), *silent])


def _start(address: Address, waiting: selectors.BaseSelector, reasons: dict[str, str]) -> None:
    family, where = address
    try:
        connection = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        reasons[where[0]] = str(error.strerror)
        return
    connection.setblocking(False)
    status = connection.connect_ex(where)
    if status in (0, errno.EINPROGRESS):
        waiting.register(connection, selectors.EVENT_WRITE, where[0])
        return
    reasons[where[0]] = _explain(family, status)
    connection.close()


def _one_connects(waiting: selectors.BaseSelector, end: float, reasons: dict[str, str]) -> bool:
    while waiting.get_map() and (left := end - time.monotonic()) > 0:
        for key, _ in waiting.select(left):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            status = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if status == 0:
                return True
            reasons[str(key.data)] = _explain(connection.family, status)
            waiting.unregister(connection)
            connection.close()
    return False


def _explain(family: int, status: int) -> str:
    """The kernel's reason, or that there is no route for this kind of address."""
    if status in (errno.ENETUNREACH, errno.EADDRNOTAVAIL):
        return NO_IPV4 if family == socket.AF_INET else "no IPv6 route here"
    return os.strerror(status)
