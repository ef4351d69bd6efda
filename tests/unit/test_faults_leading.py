"""All that leads is brought to one machine, and who leads it all is a role."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import real_etcd
from fault_machines import MEMBERS, PLAN, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.errors import LabError
from lab.faults import leading, quorum, targets
from lab.faults.leading import Gather, Lead
from lab.scenario import breaking
from lab.scenario.course import Doing
from lab.scenario.known import Known
from lab.wait import NotYet, wait_until

FIRST, SECOND = "k8s-master1", "k8s-master2"
CM, SCHEDULER = "kube-controller-manager", "kube-scheduler"
needs_etcd = pytest.mark.skipif(real_etcd.program() is None, reason="etcd is not built on this host yet")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Any]:
    with real_etcd.members(tmp_path) as cluster:
        yield cluster


@needs_etcd
def test_a_member_is_made_the_leader_whoever_led(etcd: Any) -> None:
    for name in (*MEMBERS, MEMBERS[-1]):
        fault = Lead((name,))
        assert not fault.unavailable(etcd)
        fault.heal(etcd)
        fault.inject(etcd)
        told = wait_until("it to lead", lambda f=fault: f.in_force(etcd), timeout=30)
        assert told.startswith(f"{name} leads etcd in term ")
        fault.check_healed(etcd)


# -- both leases -------------------------------------------------------------------------------------------


class Masters:
    """Who leads what; a program that is stopped loses its lease to the other master's."""

    def __init__(self, folder: Path, etcd: str, cm: str, scheduler: str, monkeypatch: Any) -> None:
        self.have = {"etcd": etcd, CM: cm, SCHEDULER: scheduler}
        self.cluster = cluster_of(sandboxes(folder, FIRST, SECOND, "k8s-lb"))
        self.cluster.lab.provider.states = None
        self.orders: list[str] = []
        monkeypatch.setattr(quorum, "leader", lambda _: self.have["etcd"])
        for module in (leading, targets):
            monkeypatch.setattr(module, "holder", lambda _, lease: self.have[lease])
        monkeypatch.setattr(leading, "sh", self.sh)
        monkeypatch.setattr(Lead, "inject", lambda fault, _: self.have.update(etcd=fault.machines[0]))
        monkeypatch.setattr(
            quorum, "statuses", lambda _: {(first := self.have["etcd"]): quorum.Status(first, 1, 1, 7, 1, 1)}
        )

    def sh(self, machine: Any, script: str, *_: str, **__: Any) -> str:
        self.orders.append(f"{machine.name}: {script}")
        for lease in (CM, SCHEDULER):
            if script == f"systemctl stop --no-block {lease}.service" and self.have[lease] == machine.name:
                self.have[lease] = {FIRST: SECOND, SECOND: FIRST}[machine.name]
        return ""


@pytest.fixture
def masters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Masters]:
    return lambda *have: Masters(tmp_path, *have, monkeypatch)


def test_who_leads_all_is_a_role_and_else_it_is_told_who_leads_what(masters: Any) -> None:
    assert targets.resolve(masters(SECOND, SECOND, SECOND).cluster, "master:leading") == (SECOND,)
    with pytest.raises(NotYet, match=rf"k8s-lb leads etcd, {FIRST} leads {CM}, {SECOND} leads .*`gather`"):
        targets.resolve(masters("k8s-lb", FIRST, SECOND).cluster, "master:leading")


def test_all_three_are_brought_to_one_master_and_nobody_is_left_stopped(masters: Any) -> None:
    seen = masters("k8s-lb", SECOND, FIRST)
    fault = Gather((FIRST,))
    with pytest.raises(NotYet, match="k8s-lb leads etcd"):
        fault.in_force(seen.cluster)
    fault.inject(seen.cluster)
    assert fault.in_force(seen.cluster) == f"{FIRST} leads etcd in term 7 and holds {CM} and {SCHEDULER}"
    assert {order.partition(":")[0] for order in seen.orders} == {SECOND}
    assert seen.orders[-1] == f"{SECOND}: systemctl start --no-block {CM}.service {SCHEDULER}.service"


def test_a_lease_that_does_not_come_leaves_nobody_stopped(
    masters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leading, "TAKEOVER", 0.1)
    seen = masters(FIRST, SECOND, FIRST)
    monkeypatch.setattr(leading, "holder", lambda *_: SECOND)
    with pytest.raises(LabError, match=f"{SECOND} holds {CM}, not {FIRST}"):
        Gather((FIRST,)).inject(seen.cluster)
    assert "systemctl start" in seen.orders[-1]


def test_only_one_master_with_a_member_can_have_it_all(tmp_path: Path) -> None:
    lab = cluster_of(sandboxes(tmp_path, *MEMBERS))
    assert "k8s-lb is no master" in Gather(("k8s-lb",)).unavailable(lab)
    assert "one machine leads, not 2" in Gather((FIRST, SECOND)).unavailable(lab)
    assert "no member" in Lead(("k8s-worker1",)).unavailable(lab)
    assert not Gather((FIRST,)).unavailable(lab)


# -- a role that an earlier fault brings about ---------------------------------------------------------------


def test_a_role_without_a_holder_yet_is_no_hindrance_to_what_comes_later(
    masters: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking, "RESOLVED", 0.1)
    apart = masters("k8s-lb", SECOND, FIRST).cluster
    breaking.insist_possible(apart, Doing("silent", "master:leading", 60.0, 60.0, {}))
    with pytest.raises(LabError, match="no master leads all"):
        breaking.insist_possible(apart, Doing("silent", "master:leading", 0.0, 60.0, {}))


def test_the_plan_knows_who_may_be_behind_the_role() -> None:
    assert Known(PLAN).possible("master:leading") == {FIRST, SECOND}
