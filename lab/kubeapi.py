"""A small client of the Kubernetes API: get, list, server-side apply."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2

from lab import http
from lab.errors import ClusterError
from lab.pki import Pair
from lab.wait import NotYet

FIELD_MANAGER = "thwlab"
PLURALS = {
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "ConfigMap": "configmaps",
    "DaemonSet": "daemonsets",
    "Deployment": "deployments",
    "Namespace": "namespaces",
    "Pod": "pods",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "StatefulSet": "statefulsets",
}
CLUSTER_WIDE = frozenset({"ClusterRole", "ClusterRoleBinding", "Namespace"})


class Refused(ClusterError):
    """The API answered with an error; `status` is its HTTP status."""

    def __init__(self, request: str, status: int, message: str) -> None:
        self.status = status
        super().__init__(f"{request} got {status}: {message}")


class KubeApi:
    """One apiserver, or the balancer before several, with one identity."""

    def __init__(self, url: str, ca: bytes, pair: Pair | None) -> None:
        self.url = url
        self._http = http.client(url, http.trusting(ca, pair))

    def get(self, path: str, **query: str) -> Any:
        """The object at the path.  `NotYet` if nobody answers, `Refused` if the answer is an error."""
        return self._request("GET", path, params=query).json()

    def items(self, path: str, **query: str) -> list[dict[str, Any]]:
        """The items of a list."""
        found: list[dict[str, Any]] = self.get(path, **query)["items"]
        return found

    def apply(self, manifest: Mapping[str, Any]) -> Any:
        """Server-side apply; the same manifest again changes nothing."""
        return self._request(
            "PATCH",
            path_of(manifest),
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            content=json.dumps(manifest).encode(),
            headers={"Content-Type": "application/apply-patch+yaml"},
        ).json()

    def ensure(self, manifest: Mapping[str, Any]) -> bool:
        """Have the object as described; whether that changed it.  To look first costs less than to apply."""
        live = self._find(path_of(manifest))
        if live is not None and covers(live, manifest):
            return False
        applied = self.apply(manifest)
        return live is None or _revision(applied) != _revision(live)

    def _find(self, path: str) -> Any:
        """What stands at the path, or None."""
        try:
            return self.get(path)
        except Refused as error:
            if error.status != 404:
                raise
            return None

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Replace what stands at the path."""
        return self._request("PUT", path, json=dict(body)).json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create below the path."""
        return self._request("POST", path, json=dict(body)).json()

    def delete(self, path: str) -> None:
        """Remove what stands at the path; harmless when nothing does."""
        try:
            self._request("DELETE", path)
        except Refused as error:
            if error.status != 404:
                raise

    def text(self, path: str) -> str:
        """The answer as text, for paths that are no objects."""
        return self._request("GET", path).text

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _request(self, method: str, path: str, **what: Any) -> httpx2.Response:
        try:
            response = self._http.request(method, path, **what)
        except httpx2.TransportError as error:
            raise NotYet(f"{method} {self.url}{path}: {error or type(error).__name__}") from error
        if response.status_code >= 400:
            raise Refused(f"{method} {self.url}{path}", response.status_code, _reason(response))
        return response


def path_of(manifest: Mapping[str, Any]) -> str:
    """Where the object of a manifest stands."""
    kind, version = manifest["kind"], manifest["apiVersion"]
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    name = manifest["metadata"]["name"]
    if kind in CLUSTER_WIDE:
        return f"{root}/{PLURALS[kind]}/{name}"
    namespace = manifest["metadata"].get("namespace", "default")
    return f"{root}/namespaces/{namespace}/{PLURALS[kind]}/{name}"


def covers(live: Any, wanted: Any) -> bool:
    """Whether an object has all that a manifest says, whatever else it has.  Pure.

    Lists must be as long: who adds a rule to a role has changed it.  A value that the API writes in another
    way, such as a quantity, is not seen to be equal, which costs an apply and no more.
    """
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(k in live and covers(live[k], v) for k, v in wanted.items())
    if isinstance(wanted, list):
        same = isinstance(live, list) and len(live) == len(wanted)
        return same and all(covers(one, other) for one, other in zip(live, wanted, strict=True))
    return bool(live == wanted)


def _revision(live: Mapping[str, Any]) -> Any:
    return live["metadata"].get("resourceVersion")


def _reason(response: httpx2.Response) -> str:
    try:
        said = response.json()
    except ValueError:
        said = None
    return str(said.get("message", "")) if isinstance(said, dict) else response.text[:500]
