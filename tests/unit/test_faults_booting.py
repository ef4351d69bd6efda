"""Machines that lost their power together get it back at once; slow masters one after another."""

from pathlib import Path
from typing import Any

import pytest
from fault_machines import PLAN, Sandbox, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.errors import LabError
from lab.faults import booting
from lab.faults.booting import turns
from lab.topology import Role
from lab.wait import NotYet

FIVE = tuple(node.name for node in PLAN.nodes)
MEMBERS = [node.name for node in PLAN.of(Role.ETCD)]


@pytest.fixture
def course(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done, in its order; a machine serves as soon as it is on."""
    done: list[str] = []

    def booted(machine: Sandbox) -> None:
        machine.power = "running"
        done.append(machine.name)

    def check(_: Any, machines: list[Sandbox]) -> None:
        done.append(f"{'+'.join(sorted(machine.name for machine in machines))} serve")

    monkeypatch.setattr(Sandbox, "boot", booted)
    monkeypatch.setattr(booting, "check_machines", check)
    return done


def off(folder: Path, *names: str) -> dict[str, Sandbox]:
    found = sandboxes(folder, *names)
    for machine in found.values():
        machine.power = "stopped"
    return found


def names(found: list[list[Any]]) -> list[list[str]]:
    return [[machine.name for machine in turn] for turn in found]


@pytest.mark.parametrize(
    ("victims", "members", "wanted"),
    [
        (MEMBERS, MEMBERS, [["k8s-lb", "k8s-master1"], ["k8s-master2"]]),
        (FIVE, MEMBERS, [["k8s-lb", "k8s-master1"], ["k8s-master2", "k8s-worker1", "k8s-worker2"]]),
        (["k8s-master2"], MEMBERS, [["k8s-master2"]]),
        (["k8s-worker1", "k8s-lb"], MEMBERS, [["k8s-lb", "k8s-worker1"]]),
        # Neither master is a quorum by itself, and a third member lives elsewhere or not at all.
        (["k8s-master1", "k8s-master2"], MEMBERS, [["k8s-master1"], ["k8s-master2"]]),
        (["k8s-master1", "k8s-master2"], MEMBERS[:2], [["k8s-master1", "k8s-master2"]]),
    ],
)
def test_no_master_comes_before_another_serves_which_most_members_are_needed_for(
    tmp_path: Path, victims: list[str], members: list[str], wanted: list[list[str]]
) -> None:
    assert names(turns([*sandboxes(tmp_path, *victims).values()], members)) == wanted


def test_slow_masters_boot_one_after_another(tmp_path: Path, course: list[str]) -> None:
    machines = off(tmp_path, *MEMBERS)
    booting.boot(cluster_of(machines, is_slow=True), [*machines.values()])
    assert sorted(course[:2]) == ["k8s-lb", "k8s-master1"]
    assert course[2:] == ["k8s-lb+k8s-master1 serve", "k8s-master2"]


def test_others_boot_at_once(tmp_path: Path, course: list[str]) -> None:
    machines = off(tmp_path, *FIVE)
    booting.boot(cluster_of(machines), [*machines.values()])
    assert sorted(course) == sorted(FIVE)


@pytest.mark.parametrize("error", [NotYet("etcd has no leader"), LabError("no connection")])
def test_no_machine_stays_off_for_another_that_does_not_come_to_serve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    machines = off(tmp_path, *MEMBERS)

    def check(*_: Any) -> None:
        raise error

    monkeypatch.setattr(booting, "check_machines", check)
    monkeypatch.setattr(booting, "SERVES", 0.1)
    booting.boot(cluster_of(machines, is_slow=True), [*machines.values()])
    assert {machine.power for machine in machines.values()} == {"running"}
    assert "k8s-lb, k8s-master1: not serving yet" in caplog.text
