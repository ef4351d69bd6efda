"""Of every fault one that does not bite: nothing was done, nothing proves it, and the run is invalid."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fault_machines import MEMBERS, PLAN, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.errors import flat
from lab.faults.base import Fault
from lab.faults.catalogue import FAULTS
from lab.faults.healing import FAILURES
from lab.history import Recorder, history, read
from lab.invariants.validity import reasons
from lab.machine import Result
from lab.scenario import breaking
from lab.scenario.breaking import Breaking
from lab.scenario.course import Doing

ONE = "k8s-master1"
NEEDED: dict[str, Any] = {"unit": "etcd"}


class Empty:
    """An API that is ready and knows nothing."""

    def text(self, _: str) -> str:
        return "ok"

    def post(self, *_: Any, **__: Any) -> Any:
        return {"status": {"allowed": True}}

    def get(self, *_: Any, **__: Any) -> Any:
        return {"items": [], "spec": {}, "status": {}}

    def items(self, *_: Any, **__: Any) -> list[Any]:
        return []


@pytest.fixture
def untouched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lab to which nobody does anything, whatever is asked for."""
    machines = sandboxes(tmp_path, *{ONE, *MEMBERS, "k8s-worker1", "k8s-worker2"})
    machines[ONE].run("systemctl", "start", "etcd")
    refused = Result(1, b"", b"context deadline exceeded")
    cluster = cluster_of(machines, etcdctl=lambda *_, **__: refused, api=lambda *_: Empty())
    cluster.lab.state = SimpleNamespace(path=tmp_path)
    monkeypatch.setattr(breaking, "guard", lambda *_: None)
    monkeypatch.setattr(breaking, "arm", lambda *_: None)
    monkeypatch.setattr(breaking, "EVIDENCE", 0.0)
    for kind in FAULTS.values():
        monkeypatch.setattr(kind, "inject", lambda *_: None)
    return cluster


def values_of(kind: type[Fault]) -> dict[str, Any]:
    fields = [each for each in dataclasses.fields(kind) if each.default is dataclasses.MISSING]
    return {each.name: NEEDED[each.name] for each in fields if each.name != "machines"}


@pytest.mark.parametrize("kind", FAULTS.values(), ids=FAULTS)
def test_a_run_whose_fault_did_not_bite_is_invalid(kind: type[Fault], untouched: Any, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "records.jsonl")
    doing = Doing(kind.word, ONE, hold=0.0, values=values_of(kind))
    try:
        Breaking(untouched, doing, 1, recorder, lambda _: None).begin()
    except FAILURES as error:  # as a run writes it down
        recorder.write("trouble", text=flat(error))
    seen = history(read(recorder.path))
    (injection,) = seen.injections
    assert (injection.in_force, injection.evidence) == (None, "")
    assert f"{kind.word} of {ONE}: nothing proves that it bit" in reasons(seen, [])
