"""The REST API that Incus and LXD have in common, over the daemon's socket."""

import json
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from lab.errors import LabError

Json = dict[str, Any]


class ApiError(LabError):
    """The daemon refused a request; `status` is its HTTP status."""

    def __init__(self, request: str, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"the daemon refused {request} ({status}): {message}")


class NoAnswer(LabError):
    """The daemon did not answer within the deadline."""


class Upload:
    """A request body that is sent as it is read, never held in memory as a whole."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)


class Api:
    """One daemon, one project.  Every call has a deadline in seconds."""

    def __init__(self, socket: Path, project: str) -> None:
        self.socket = socket
        self.project = project
        # Nothing is encrypted here, and to read this host's authorities takes 40 ms each time.
        nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        transport = httpx2.HTTPTransport(verify=nobody, uds=str(socket), trust_env=False)
        self._http = httpx2.Client(transport=transport, base_url="http://daemon", trust_env=False)

    def get(self, path: str, *, timeout: float = 10, **query: Any) -> Any:
        """What stands at the path."""
        return self._call("GET", path, timeout=timeout, query=query)["metadata"]

    def raw(self, path: str, *, timeout: float = 30) -> bytes:
        """What stands at the path, as bytes."""
        response = self._send("GET", path, timeout=timeout, query={}, body=None, headers={})
        if response.status_code >= 400:
            raise ApiError(f"GET {path}", response.status_code, response.text[:500])
        return response.content

    def beginning(self, path: str, limit: int, *, timeout: float = 30) -> tuple[bytes, int]:
        """The first `limit` bytes of the file at the path, and how many it has; no more is read than that."""
        kept = bytearray()
        with (
            self._trouble_told("GET", path, timeout),
            self._http.stream(
                "GET",
                path,
                params={"project": self.project},
                headers={"Accept-Encoding": "identity"},
                timeout=timeout,
            ) as response,
        ):
            if response.status_code >= 400:
                raise ApiError(f"GET {path}", response.status_code, response.read()[:500].decode())
            for part in response.iter_raw():
                kept += part[: limit - len(kept)]
                if len(kept) >= limit:
                    break
            return bytes(kept), int(response.headers.get("Content-Length", len(kept)))

    def do(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        timeout: float = 60,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Json:
        """Send a request and wait for its operation, if it became one; the operation or answer."""
        start = time.monotonic()
        answer = self._call(method, path, timeout=timeout, query=query, body=body, headers=headers or {})
        if answer["type"] != "async":
            return answer
        return self.wait(answer["metadata"]["id"], f"{method} {path}", start + timeout - time.monotonic())

    def begin(self, method: str, path: str, body: Any, *, timeout: float = 10) -> Json:
        """Send a request and return its operation without waiting for it."""
        operation: Json = self._call(method, path, timeout=timeout, query={}, body=body)["metadata"]
        return operation

    def wait(self, operation: str, what: str, timeout: float) -> Json:
        """Wait for an operation; raises `ApiError` with the daemon's words if it failed or took too long."""
        seconds = max(0.05, timeout)
        path = f"/1.0/operations/{operation}/wait"
        done: Json = self.get(path, timeout=seconds + 5, query_timeout=max(1, round(seconds)))
        if done["status_code"] >= 400:
            raise ApiError(what, done["status_code"], done.get("err") or done["status"])
        if done["status_code"] != 200:
            raise LabError(
                f"the daemon did not finish {what} within {seconds:.0f}s; it says {done['status']}"
            )
        return done

    def exists(self, path: str) -> bool:
        """Whether something stands at the path."""
        try:
            self.get(path)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Mapping[str, Any],
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        response = self._send(method, path, timeout=timeout, query=query, body=body, headers=headers or {})
        try:
            answer: Json = response.json()
        except json.JSONDecodeError as error:
            raise LabError(f"{self.socket} answered {method} {path} with {response.text[:200]!r}") from error
        if answer["type"] == "error":
            raise ApiError(f"{method} {path}", answer["error_code"], answer["error"])
        return answer

    def _send(
        self,
        method: str,
        path: str,
        *,
        timeout: float,
        query: Mapping[str, Any],
        body: Any,
        headers: Mapping[str, str],
    ) -> httpx2.Response:
        params = {key.removeprefix("query_"): value for key, value in query.items()}
        content = (
            {"content": body} if isinstance(body, Upload) else {"json": body} if body is not None else {}
        )
        with self._trouble_told(method, path, timeout):
            return self._http.request(
                method,
                path,
                params={"project": self.project, **params},
                headers=dict(headers),
                timeout=timeout,
                **content,
            )

    @contextmanager
    def _trouble_told(self, method: str, path: str, timeout: float) -> Iterator[None]:
        try:
            yield
        except httpx2.TimeoutException as error:
            raise NoAnswer(f"the daemon did not answer {method} {path} within {timeout:.1f}s") from error
        except httpx2.TransportError as error:
            raise LabError(
                f"the daemon at {self.socket} did not answer {method} {path}: {error}",
                remedy="thwlab down, then thwlab up",
            ) from error


def ignoring(status: int, act: Callable[[], Any]) -> None:
    """Act, taking one refusal for done: 404 when removing, 409 when creating."""
    try:
        act()
    except ApiError as error:
        if error.status != status:
            raise
