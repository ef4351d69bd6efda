"""What probes talk to is told by an API that may refuse or be silent for a moment."""

from types import SimpleNamespace
from typing import Any

import pytest
from fixed import guide_topology

from lab.kubeapi import Refused
from lab.probes import workload
from lab.wait import NotYet, WaitExpired

RESOLVER = {
    "metadata": {},
    "spec": {"nodeName": "k8s-worker1"},
    "status": {"phase": "Running", "podIP": "10.10.1.2"},
}


class Api:
    """Serves everything, but the Service only once these were raised."""

    def __init__(self, *first: Exception) -> None:
        self.first = list(first)

    def apply(self, _: Any) -> None: ...

    def get(self, path: str) -> Any:
        if path.endswith("services/web"):
            if self.first:
                raise self.first.pop(0)
            return {"spec": {"clusterIP": "10.0.0.10", "ports": [{"nodePort": 30080}]}}
        return {"status": {"phase": "Active", "numberReady": 2, "desiredNumberScheduled": 2}}

    def items(self, *_: Any, **__: Any) -> list[Any]:
        return [RESOLVER]


def ensured(monkeypatch: pytest.MonkeyPatch, api: Api) -> workload.Workload:
    monkeypatch.setattr(workload, "_pid", lambda _: 7)
    workers = [SimpleNamespace(name="k8s-worker1")]
    cluster: Any = SimpleNamespace(topology=guide_topology(), api=lambda: api, of=lambda _: workers)
    return workload.ensure(cluster)


def test_an_api_that_refuses_or_is_silent_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One lost answer ended a whole set of scenarios, and counted as broken."""
    api = Api(NotYet("GET /x: ConnectionResetError"), Refused("GET /x", 503, "no leader"))
    found = ensured(monkeypatch, api)
    assert (found.cluster_ip, found.node_port) == ("10.0.0.10", 30080)
    assert found.resolvers == (("k8s-worker1", "10.10.1.2"),)


def test_one_that_goes_on_refusing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "START", 0.1)
    with pytest.raises(WaitExpired, match="no leader"):
        ensured(monkeypatch, Api(*[Refused("GET /x", 503, "no leader")] * 100))
