"""Of every fault one that does not bite: nothing was done, nothing proves it, and the run is invalid."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fault_machines import MEMBERS, PLAN, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.errors import FAILURES, LabError, WaitExpired, flat
from lab.faults import quorum
from lab.faults.base import Fault
from lab.faults.catalogue import FAULTS
from lab.history import Recorder, history, read
from lab.invariants.validity import reasons
from lab.machine import Result
from lab.scenario import breaking
from lab.scenario.breaking import Breaking
from lab.scenario.course import Doing
from lab.wait import NotYet

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


def test_a_fault_that_nobody_tells_what_it_must_know_is_named(
    untouched: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scenario that filled etcd once ended as a defect of the harness, between two leaders."""

    def nobody_leads(*_: Any) -> None:
        raise NotYet("no member of etcd says that it leads")

    monkeypatch.setattr(FAULTS["lead"], "inject", nobody_leads)
    begun = Breaking(untouched, Doing("lead", ONE), 1, Recorder(tmp_path / "records.jsonl"), lambda _: None)
    with pytest.raises(FAILURES, match=f"lead of {ONE}: no member of etcd says that it leads"):
        begun.begin()


def test_what_etcd_does_not_tell_between_two_leaders_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing: Any = None
    told = iter([{}, {}, {ONE: quorum.Status(ONE, 7, 7, 3, 1, 1)}])
    monkeypatch.setattr(quorum, "statuses", lambda _: next(told))
    assert quorum.await_leader(nothing) == ONE
    monkeypatch.setattr(quorum, "statuses", lambda _: {})
    monkeypatch.setattr(quorum, "ELECTION", 0.1)
    with pytest.raises(WaitExpired, match="no member of etcd says that it leads"):
        quorum.await_leader(nothing)
    with pytest.raises(WaitExpired, match="not to be asked"):
        quorum.await_listed(cluster_without_etcd())


@pytest.mark.parametrize("fault", [FAULTS["lead"]((ONE,)), FAULTS["move-leader"]((ONE,))], ids=repr)
def test_a_leader_that_is_silent_a_moment_later_is_no_defect(
    fault: Fault, untouched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked for twice, and one that missed its time the second was a KeyError, and the run's end."""
    other = "k8s-lb" if fault.word == "move-leader" else ONE
    machine = untouched.machines[ONE]
    monkeypatch.setattr(type(machine), "run", lambda *_, **__: Result(0, b"2", b""))
    told = iter([{other: quorum.Status(other, 7, 7, 3, 1, 1)}])
    monkeypatch.setattr(quorum, "statuses", lambda _: next(told, {}))
    assert "in term 3" in fault.in_force(untouched)
    with pytest.raises(NotYet, match="no member of etcd says that it leads"):
        fault.in_force(untouched)


def test_healing_a_full_etcd_waits_for_a_leader(untouched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no member to answer it was a ValueError, and with it ended the healing of all the others."""
    monkeypatch.setattr(quorum, "statuses", lambda _: {})
    monkeypatch.setattr(quorum, "alarms", lambda _: "NOSPACE")
    monkeypatch.setattr(quorum, "from_anybody", lambda *_: Result(0, b"1", b""))
    with pytest.raises(NotYet, match="no member of etcd says that it leads"):
        FAULTS["space-alarm"](tuple(MEMBERS)).heal(untouched)


def cluster_without_etcd() -> Any:
    """Whose members cannot be asked at all."""

    def refuses(*_: Any, **__: Any) -> Result:
        raise LabError("off")

    return SimpleNamespace(of=lambda _: [SimpleNamespace(name=ONE, node=PLAN.node(ONE))], etcdctl=refuses)


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
