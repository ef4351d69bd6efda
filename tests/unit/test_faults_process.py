"""Faults of one program: the real scripts, on processes that a small systemd of the test's own keeps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fault_machines import Sandbox, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.faults import process as module
from lab.faults.process import FAULTS, Kill, KillAndHold, ProcessFault, Reload, Restart, Stop, Terminate
from lab.wait import NotYet

LB = "k8s-lb"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two masters and a balancer whose units run; whether the real ones answer is not this test's affair."""
    monkeypatch.setattr(module, "check_unit", lambda *_: None)
    machines = sandboxes(tmp_path, "k8s-master1", "k8s-master2", LB)
    for machine in machines.values():
        for unit in ("etcd", "nginx"):
            machine.run("systemctl", "start", unit)
            (machine.folder / "enabled" / unit).touch()
        machine.calls()
    yield cluster_of(machines)
    for machine in machines.values():
        machine.end()


def built(kind: type[ProcessFault], *machines: str, unit: str = "etcd") -> ProcessFault:
    return kind(machines or ("k8s-master1",), unit)


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.word)
def test_it_bites_and_is_healed_twice(lab: Any, kind: type[ProcessFault]) -> None:
    fault = built(kind, LB, unit="load-balancer")
    assert not fault.unavailable(lab)
    for _ in range(2):
        with pytest.raises(NotYet):
            fault.in_force(lab)
        fault.inject(lab)
        assert LB in fault.in_force(lab)
        if fault.lasts:
            with pytest.raises(NotYet):
                fault.check_healed(lab)
        fault.heal(lab)
        fault.check_healed(lab)
        fault.heal(lab)
        assert lab.machines[LB].left() == []


@pytest.mark.parametrize("kind", FAULTS, ids=lambda kind: kind.word)
def test_healing_what_was_never_hurt_changes_nothing(lab: Any, kind: type[ProcessFault]) -> None:
    fault = built(kind)
    before = fault.seen(lab.machines["k8s-master1"])
    fault.heal(lab)
    fault.check_healed(lab)
    assert fault.seen(lab.machines["k8s-master1"]) == before


def test_it_is_kept_from_starting_before_it_is_killed(lab: Any) -> None:
    fault = built(KillAndHold)
    fault.inject(lab)
    calls = lab.machines["k8s-master1"].calls()
    assert [call.split()[0] for call in calls] == ["daemon-reload", "kill", "stop"]
    assert "kept from starting, inactive, 0 processes run" not in fault.in_force(lab)
    with pytest.raises(NotYet, match="kept from starting, inactive, 0 processes run"):
        fault.check_healed(lab)
    lab.machines["k8s-master1"].run("systemctl", "start", "etcd")
    assert "has no main process and may not start" in fault.in_force(lab)


@pytest.mark.parametrize("kind", [KillAndHold, Terminate])
def test_what_shall_outlive_its_program_does(lab: Any, kind: type[ProcessFault]) -> None:
    lab.machines["k8s-master1"].run("systemctl", "start", "containerd")
    fault = built(kind, unit="containerd")
    fault.inject(lab)
    assert "may not start; " in fault.in_force(lab)
    fault.heal(lab)
    fault.check_healed(lab)


def test_a_stopped_program_still_has_its_processes(lab: Any) -> None:
    fault = built(Stop)
    fault.inject(lab)
    assert fault.in_force(lab) == "k8s-master1: 2 processes of etcd stopped, none runs"
    seen = fault.seen(lab.machines["k8s-master1"])
    assert (seen["active"], seen["running"], seen["stopped"]) == ("active", "0", "2")


def test_what_was_killed_once_is_another_process(lab: Any) -> None:
    fault = built(Kill)
    before = fault.seen(lab.machines["k8s-master1"])["pid"]
    fault.inject(lab)
    told = fault.in_force(lab)
    assert f"pid {before} of etcd is gone" in told


@pytest.mark.parametrize("kind", [Kill, Restart])
def test_what_had_no_process_was_not_killed(lab: Any, kind: type[ProcessFault]) -> None:
    machine = lab.machines["k8s-master1"]
    machine.run("systemctl", "stop", "etcd")
    built(kind).inject(lab)
    with pytest.raises(NotYet, match="had no process to begin with"):
        built(kind).in_force(lab)


def test_all_victims_must_be_hit(lab: Any) -> None:
    fault = built(Terminate, "k8s-master1", "k8s-master2")
    fault.inject(lab)
    assert "k8s-master1" in fault.in_force(lab)
    other = built(Terminate, "k8s-master2")
    other.heal(lab)
    with pytest.raises(NotYet, match="k8s-master2"):
        fault.in_force(lab)


def test_a_balancer_is_whichever_program_is_one(lab: Any) -> None:
    machine = lab.machines[LB]
    fault = built(Restart, LB, unit="load-balancer")
    fault.inject(lab)
    assert machine.calls() == ["restart --no-block nginx"]
    (machine.folder / "enabled/haproxy").touch()
    machine.run("systemctl", "start", "haproxy")
    machine.calls()
    fault.inject(lab)
    assert machine.calls() == ["restart --no-block haproxy"]


def test_a_reload_keeps_the_main_process(lab: Any) -> None:
    fault = Reload((LB,), "load-balancer", times=3)
    fault.inject(lab)
    assert "1 new workers after 3 reloads" in fault.in_force(lab)
    assert len([call for call in lab.machines[LB].calls() if call.startswith("reload ")]) == 3
    lab.machines[LB].run("systemctl", "restart", "nginx")
    with pytest.raises(NotYet, match="runs as"):
        fault.in_force(lab)


def test_what_cannot_be_done_is_said_with_its_reason(lab: Any) -> None:
    assert built(Kill, unit="kubelet").unavailable(lab) == "no unit kubelet on k8s-master1"
    assert "cannot be reloaded" in built(Reload).unavailable(lab)
    assert built(Restart, unit="coredns").unavailable(lab) == "a pod's process cannot be told to restart"
    assert not built(Stop, unit="coredns").unavailable(lab)


# -- a pod's process ---------------------------------------------------------------------------------------

PGREP = """\
most=9; test "$1" != -ox || most=1
for state in "$HERE"/pods/*; do test -e "$state" && echo "${state##*/}"; done | head -n $most | grep .
"""
PKILL = r"""
for state in "$HERE"/pods/*; do test -e "$state" && kill "$1" "${state##*/}"; done
case "$1" in -KILL) rm -f "$HERE"/pods/*;; esac
true
"""
SYSTEMD_RUN = """\
for word; do case "$word" in --unit=*) unit=${word#--unit=};; esac; done
mkdir -p "$HERE/units/$unit"; echo active >"$HERE/units/$unit/active"
shift 3; timeout 0.3 "$@"; true
"""


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Sandbox]]:
    monkeypatch.setattr(module.pods, "check_serving", lambda *_: None)
    monkeypatch.setattr(module.pods, "replace_waiting", lambda *_: None)
    programs = {"pgrep": PGREP, "pkill": PKILL, "systemd-run": SYSTEMD_RUN}
    machine = sandboxes(tmp_path, "k8s-worker1", programs=programs)["k8s-worker1"]
    begin_pod(machine)
    yield cluster_of({"k8s-worker1": machine}), machine
    machine.run("pkill", "-KILL")


def begin_pod(machine: Sandbox) -> str:
    (machine.folder / "pods").mkdir(exist_ok=True)
    pid = machine.check("sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!").strip()
    (machine.folder / "pods" / pid).touch()
    return pid


def test_coredns_is_killed_once(worker: tuple[Any, Sandbox]) -> None:
    cluster, machine = worker
    fault = Kill(("k8s-worker1",), "coredns")
    fault.inject(cluster)
    assert "of coredns is gone, inactive" in fault.in_force(cluster)
    with pytest.raises(NotYet, match="inactive"):
        fault.check_healed(cluster)
    begin_pod(machine)
    fault.heal(cluster)
    fault.check_healed(cluster)


def test_coredns_is_stopped_and_goes_on(worker: tuple[Any, Sandbox]) -> None:
    cluster, _ = worker
    fault = Stop(("k8s-worker1",), "coredns")
    fault.inject(cluster)
    assert fault.in_force(cluster) == "k8s-worker1: 1 processes of coredns stopped, none runs"
    fault.heal(cluster)
    fault.check_healed(cluster)


@pytest.mark.parametrize("kind", [KillAndHold, Terminate])
def test_coredns_is_held_down_by_a_unit_of_its_own(
    worker: tuple[Any, Sandbox], kind: type[ProcessFault]
) -> None:
    cluster, machine = worker
    (pid,) = [each.name for each in (machine.folder / "pods").iterdir()]
    fault = kind(("k8s-worker1",), "coredns")
    fault.inject(cluster)
    gone = not Path(f"/proc/{pid}").exists() or ") Z" in Path(f"/proc/{pid}/stat").read_text()
    assert gone, "the loop killed what was there"
    (machine.folder / "pods" / pid).unlink(missing_ok=True)
    assert "has no main process and may not start" in fault.in_force(cluster)
    begin_pod(machine)
    with pytest.raises(NotYet, match="kept from starting"):
        fault.check_healed(cluster)
    fault.heal(cluster)
    fault.check_healed(cluster)
    assert machine.left() == []


@pytest.mark.parametrize("kind", [KillAndHold, Terminate])
def test_a_pods_process_that_is_about_to_end_again_ends_no_hold(
    worker: tuple[Any, Sandbox], kind: type[ProcessFault]
) -> None:
    """CoreDNS that is told to end serves on for five seconds; its kubelet began it anew just before."""
    cluster, machine = worker
    fault = kind(("k8s-worker1",), "coredns")
    fault.inject(cluster)
    begin_pod(machine)
    assert "kept from starting, active, 1 processes run" in fault.still_in_force(cluster)
    fault.heal(cluster)
    with pytest.raises(NotYet, match="k8s-worker1: coredns is "):
        fault.still_in_force(cluster)
