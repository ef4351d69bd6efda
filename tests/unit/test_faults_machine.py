"""Faults of whole machines, clocks and interfaces: what proves them, and what does not."""

from pathlib import Path
from typing import Any

import pytest
from fault_machines import Sandbox, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.faults import machine as module
from lab.faults.clock import ClockStep
from lab.faults.link import InterfaceDown
from lab.faults.machine import ColdStart, Crash, Freeze, MachineFault, PowerCut, Reboot
from lab.machine import Platform, Substrate
from lab.providers.base import Capability
from lab.wait import NotYet

NAME = "k8s-master1"
ALL = frozenset(Capability)
FIVE = ("k8s-master1", "k8s-master2", "k8s-worker1", "k8s-worker2", "k8s-lb")


@pytest.fixture
def serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs serves: asked of components elsewhere."""

    def check(cluster: Any, machines: list[Sandbox]) -> None:
        if off := [machine.name for machine in machines if machine.power != "running"]:
            raise NotYet(f"{off} off")

    monkeypatch.setattr(module, "check_machines", check)


def lab_of(folder: Path, **how: Any) -> Any:
    return cluster_of(sandboxes(folder, NAME), **{"capabilities": ALL, **how})


@pytest.mark.usefixtures("serves")
@pytest.mark.parametrize("kind", [PowerCut, Freeze])
def test_it_bites_and_is_healed_twice(tmp_path: Path, kind: type[MachineFault]) -> None:
    lab, fault = lab_of(tmp_path), kind((NAME,))
    assert not fault.unavailable(lab)
    assert not fault.undo(), "no victim can do it for itself"
    fault.heal(lab)
    for _ in range(2):
        with pytest.raises(NotYet, match="is running"):
            fault.in_force(lab)
        with pytest.raises(NotYet, match="is running"):
            fault.still_in_force(lab)
        fault.inject(lab)
        assert fault.in_force(lab)
        assert fault.still_in_force(lab) == f"{NAME} still {lab.machines[NAME].power}"
        with pytest.raises(NotYet):
            fault.check_healed(lab)
        fault.heal(lab)
        fault.check_healed(lab)


def test_a_machine_that_is_off_but_answers_proves_nothing(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, connects="refuses")
    fault = PowerCut((NAME,))
    fault.inject(lab)
    with pytest.raises(NotYet, match=r"somebody at 192\.168\.100\.11 refuses connections"):
        fault.in_force(lab)


def test_a_frozen_machine_that_runs_commands_proves_nothing(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, states=lambda: {NAME: "paused"})
    with pytest.raises(NotYet, match="still runs commands"):
        Freeze((NAME,)).in_force(lab)


@pytest.mark.parametrize("kind", [PowerCut, Freeze, ClockStep])
def test_a_provider_that_cannot_do_it_is_named(tmp_path: Path, kind: Any) -> None:
    assert "provider fake cannot" in kind((NAME,)).unavailable(lab_of(tmp_path, capabilities=frozenset()))


def test_a_cold_start_is_of_all_machines(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    assert "k8s-lb too" in ColdStart(FIVE[:-1]).unavailable(lab)
    assert not ColdStart(FIVE).unavailable(lab)


@pytest.mark.parametrize(
    ("platform", "script"),
    [
        (Platform(Substrate.CONTAINER, 1), "poweroff --force --force"),
        (Platform(Substrate.VM, 2), "sysrq-trigger"),
    ],
)
def test_a_crash_is_the_victims_own_kernel_call(tmp_path: Path, platform: Platform, script: str) -> None:
    lab = lab_of(tmp_path, platform=platform)
    told: list[tuple[str, ...]] = []
    machine = lab.machines[NAME]

    def run(*argv: str, **_: Any) -> Any:
        told.append(argv)
        machine.power = "stopped"
        return Sandbox.run(machine, "true")

    machine.run = run
    Crash((NAME,)).inject(lab)
    assert script in told[0][-1]
    assert ("sysrq" in told[0][-1]) == (not platform.container), "a container's sysrq is its host's"
    assert "is off" in Crash((NAME,)).in_force(lab)


def test_a_reboot_is_another_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, fault = lab_of(tmp_path), Reboot((NAME,))
    monkeypatch.setattr(module, "BOOT", str(tmp_path / "boot_id"))
    monkeypatch.setattr(module, "_NOTE_BOOT", f"mkdir -p /var/lib; cat {tmp_path}/boot_id >{module.NOTE}")
    (tmp_path / "boot_id").write_text("one\n")
    with pytest.raises(NotYet):
        fault.in_force(lab)
    fault.inject(lab)
    assert lab.machines[NAME].took == ["reboot"]
    with pytest.raises(NotYet, match="boot one is the one of before"):
        fault.in_force(lab)
    (tmp_path / "boot_id").write_text("two\n")
    assert fault.in_force(lab) == f"{NAME}: boot two after one"
    fault.heal(lab)
    with pytest.raises(NotYet):
        fault.in_force(lab)


# -- clocks ------------------------------------------------------------------------------------------------

DATE = """\
case "$*" in
  *-s*) for last; do :; done; now=$(/bin/date +%s.%N)
    awk "BEGIN { print ${last#@} - $now }" >"$HERE/away";;
  *) awk "BEGIN { printf \\"%.6f\\n\\", $(/bin/date +%s.%N) + $(cat "$HERE/away" 2>/dev/null || echo 0) }";;
esac
"""


@pytest.mark.parametrize("step", [300.0, -300.0])
def test_a_step_is_measured_against_this_host(tmp_path: Path, step: float) -> None:
    machines = sandboxes(tmp_path, NAME, programs={"date": DATE})
    lab, fault = cluster_of(machines, capabilities=ALL), ClockStep((NAME,), step=step)
    assert not fault.unavailable(lab)
    fault.heal(lab)
    for _ in range(2):
        with pytest.raises(NotYet):
            fault.in_force(lab)
        fault.inject(lab)
        away = float(fault.in_force(lab).split("its clock is ")[1].split()[0])
        assert away == pytest.approx(step, abs=2)
        with pytest.raises(NotYet):
            fault.check_healed(lab)
        fault.heal(lab)
        fault.check_healed(lab)


def test_a_strobe_is_still_there_while_its_clock_is_right(tmp_path: Path) -> None:
    machines = sandboxes(tmp_path, NAME, programs={"date": DATE})
    lab, fault = cluster_of(machines, capabilities=ALL), ClockStep((NAME,), step=300.0, strobe=5.0)
    with pytest.raises(NotYet, match="thwlab-strobe is inactive"):
        fault.still_in_force(lab)
    machines[NAME].run("systemctl", "start", "thwlab-strobe")
    assert fault.still_in_force(lab) == f"{NAME}: thwlab-strobe runs"
    with pytest.raises(NotYet, match="from this host's"):
        ClockStep((NAME,), step=300.0).still_in_force(lab)


# -- interfaces --------------------------------------------------------------------------------------------


def test_vms_are_commanded_over_the_interface_that_would_be_down(tmp_path: Path) -> None:
    fault = InterfaceDown((NAME,))
    assert "by SSH" in fault.unavailable(lab_of(tmp_path, platform=Platform(Substrate.VM, 2)))
    assert not fault.unavailable(lab_of(tmp_path))
