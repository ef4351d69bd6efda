"""Kubelets that join are asked themselves only once the API says that they have all they need."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from lab import joining
from lab.components.outside import Endpoint
from lab.errors import LabError, WaitExpired
from lab.joining import await_joined, lack
from lab.machine import Machine, Result
from lab.plan import load_topology
from lab.topology import Node, Profile, Role, Topology
from lab.wait import NotYet, at_most

PLAN = load_topology()
SERVING = "kubernetes.io/kubelet-serving"


def request(
    worker: str, name: str = "csr-1", *, signed: bool = False, signer: str = SERVING
) -> dict[str, Any]:
    """A CertificateSigningRequest that was approved."""
    status: dict[str, Any] = {"conditions": [{"type": "Approved"}]}
    if signed:
        status["certificate"] = "LS0t"
    spec = {"signerName": signer, "username": f"system:node:{worker}"}
    return {"metadata": {"name": name}, "spec": spec, "status": status}


@pytest.mark.parametrize(
    ("requests", "registered", "lacking"),
    [
        ([], False, "has not registered"),
        ([request("w", signed=True)], False, "has not registered"),
        ([request("w")], True, "waits for csr-1 to be signed"),
        ([request("w", signed=True), request("w", "csr-2")], True, ""),
        ([request("w", signed=True)], True, ""),
        ([], True, ""),
    ],
)
def test_what_a_kubelet_lacks(requests: list[Any], registered: bool, lacking: str) -> None:
    assert lack(requests, registered=registered) == lacking


class Worker(Machine):
    """`asked` is what was run on it."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.asked: list[str] = []

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.asked.append(argv[0])
        return Result(0, f"{self.name} is lost\n".encode())

    def _never(self) -> None:
        raise NotImplementedError

    pull_plug = boot = reboot = pause = resume = _never


class Lab:
    """Its kubelets do or do not serve; `asked` is which of them were, and for what."""

    def __init__(
        self, requests: list[Any], registered: list[str], *, serves: bool = True, plan: Topology = PLAN
    ) -> None:
        self.topology = plan
        self.outside, self.serves = self, serves
        self.asked: list[tuple[str, Endpoint]] = []
        self.listed: list[str] = []
        self.approved: list[str] = []
        self.workers = [Worker(node) for node in PLAN.of(Role.WORKER)]
        nodes = [{"metadata": {"name": name}} for name in registered]
        self.lists = {joining.CSRS: requests, joining.NODES: nodes}

    def api(self, _: str) -> "Lab":
        return self

    def items(self, path: str) -> list[Any]:
        self.listed.append(path)
        return self.lists[path]

    def put(self, path: str, _: Any) -> None:
        self.approved.append(path)

    def of(self, _: Role) -> list[Worker]:
        return self.workers

    @contextmanager
    def asking(self, node: Node, endpoint: Endpoint) -> Iterator[Callable[[], None]]:
        self.asked.append((node.name, endpoint))

        def question() -> None:
            if not self.serves:
                raise NotYet("connection refused")

        yield question


WORKERS = [node.name for node in PLAN.of(Role.WORKER)]


@pytest.mark.parametrize(("profile", "authority"), [(Profile.HARDENED, "kubernetes"), (Profile.GUIDE, None)])
def test_kubelets_that_have_all_are_asked_and_serve(profile: Profile, authority: str | None) -> None:
    """From this host: no worker runs a command for it.  The guide's kubelets sign for themselves."""
    plan = replace(PLAN, profile=profile)
    lab: Any = Lab([request(name, signed=True) for name in WORKERS], WORKERS, plan=plan)
    await_joined(lab)
    assert sorted(name for name, _ in lab.asked) == WORKERS
    assert {(e.port, e.authority, e.status) for _, e in lab.asked} == {(10250, authority, None)}
    assert [worker.asked for worker in lab.workers] == [[], []]


def test_a_kubelet_that_waits_is_not_asked_and_its_last_line_is_told_at_the_end() -> None:
    lab: Any = Lab([request(WORKERS[0], signed=True), request(WORKERS[1])], WORKERS)
    with at_most(0), pytest.raises(WaitExpired) as raised:
        await_joined(lab)
    assert "k8s-worker2 waits for csr-1 to be signed" in str(raised.value)
    assert "k8s-worker1 waits" not in str(raised.value)
    assert "kubelet's last line on k8s-worker2: k8s-worker2 is lost" in str(raised.value)
    assert [worker.asked for worker in lab.workers] == [["journalctl"], ["journalctl"]]
    assert lab.asked == []


def test_one_look_at_requests_and_one_at_nodes_serves_for_all_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Approved now, signed by the next look: until then no kubelet is asked."""
    pending = [{**request(name, f"csr-{name}"), "status": {}} for name in WORKERS]
    monkeypatch.setattr(joining.serving_csrs, "approvable", lambda *_: None)
    monkeypatch.setattr(joining.serving_csrs, "approved", lambda each: each)
    lab: Any = Lab(pending, WORKERS)
    with at_most(0), pytest.raises(WaitExpired, match="k8s-worker1 waits for csr-k8s-worker1 to be signed"):
        await_joined(lab)
    assert lab.listed == [joining.CSRS, joining.NODES]
    assert lab.approved == [f"{joining.CSRS}/csr-{name}/approval" for name in WORKERS]
    assert lab.asked == []


def test_what_was_waited_for_is_told_though_a_machine_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def off(*_: Any, **__: Any) -> Result:
        raise LabError("k8s-worker2 is not running")

    lab: Any = Lab([], [])
    monkeypatch.setattr(lab.workers[1], "run", off)
    with at_most(0), pytest.raises(WaitExpired, match="k8s-worker2 has not registered") as raised:
        await_joined(lab)
    assert "not to be had: k8s-worker2 is not running" in str(raised.value)


def test_a_kubelet_that_does_not_serve_though_it_could_is_named() -> None:
    lab: Any = Lab([], WORKERS, serves=False)
    with at_most(0), pytest.raises(WaitExpired, match="k8s-worker1: connection refused"):
        await_joined(lab)
