"""Whether a fault is still there when its healing begins: what is asked, written down, and made of it."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from fault_machines import cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.debts import debts, owe
from lab.errors import LabError
from lab.faults.base import Fault
from lab.faults.catalogue import FAULTS
from lab.faults.disk import DiskSlow
from lab.faults.machine import PowerCut
from lab.faults.process import Kill, KillAndHold, Stop
from lab.faults.shell import age_of
from lab.history import Recorder, Still, history, read
from lab.scenario import breaking as breaking_module
from lab.scenario import lasting
from lab.scenario.breaking import LATER, Breaking
from lab.scenario.course import Doing
from lab.scenario.lasting import ANSWER, look_again
from lab.wait import NotYet, stretch

ONE, TWO = "k8s-master1", "k8s-master2"


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    """Two masters whose etcd runs."""
    machines = sandboxes(tmp_path, ONE, TWO)
    for machine in machines.values():
        machine.run("systemctl", "start", "etcd")
    return cluster_of(machines)


@pytest.mark.parametrize("kind", [KillAndHold, Stop])
def test_one_that_is_there_is_still_in_force(lab: Any, kind: type[KillAndHold]) -> None:
    fault = kind((ONE, TWO), "etcd")
    fault.inject(lab)
    found = look_again(lab, fault, 10.0)
    assert found.still is Still.YES
    assert ONE in found.seen
    assert TWO in found.seen


def test_a_stopped_process_that_somebody_let_go_on_is_no_longer_in_force(lab: Any) -> None:
    fault = Stop((ONE, TWO), "etcd")
    fault.inject(lab)
    procs = "/sys/fs/cgroup/system.slice/etcd.service/cgroup.procs"
    lab.machines[TWO].run("sh", "-c", f"xargs kill -CONT <{procs}")
    found = look_again(lab, fault, 10.0)
    assert found.still is Still.NO
    assert found.seen.startswith(f"{TWO}: etcd is active, 2 processes run and 0 are stopped; pid ")
    assert ONE not in found.seen, "the one that is still stopped ended nothing"


def test_one_that_an_agent_started_again_is_told_with_its_age(lab: Any) -> None:
    fault = KillAndHold((ONE,), "etcd")
    fault.inject(lab)
    machine = lab.machines[ONE]
    (machine.folder / "run/systemd/system/etcd.service.d/thwlab-hold.conf").unlink()
    machine.run("systemctl", "start", "etcd")
    found = look_again(lab, fault, 10.0)
    assert found.still is Still.NO
    assert "has run for 0 s" in found.seen or "has run for 1 s" in found.seen


def test_a_machine_that_was_booted_meanwhile_ended_it(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "age_of", lambda machine, **_: {ONE: 7, TWO: 5000}[machine.name])
    found = look_again(lab, KillAndHold((ONE, TWO), "etcd"), 20.0)
    assert found.still is Still.NO
    assert f"; {ONE} was booted 7 s before; {TWO}: etcd is active" in found.seen
    assert f"{TWO} was booted" not in found.seen


@pytest.mark.parametrize("power", ["paused", "stopped"])
def test_a_machine_that_cannot_be_asked_proves_nothing(lab: Any, power: str) -> None:
    fault = KillAndHold((ONE,), "etcd")
    fault.inject(lab)
    lab.machines[ONE].power = power
    assert look_again(lab, fault, 10.0).still is Still.UNKNOWN


def test_one_that_is_free_of_it_decides_beside_one_that_cannot_be_asked(lab: Any) -> None:
    lab.machines[ONE].power = "stopped"
    found = look_again(lab, KillAndHold((ONE, TWO), "etcd"), 10.0)
    assert (found.still, ONE in found.seen) == (Still.NO, False)


def test_what_shows_nothing_on_a_machine_that_answers_nothing_is_unknown(lab: Any) -> None:
    """A question may take silence for the absence of what it asks for."""
    machine = lab.machines[ONE]
    machine.power = "paused"
    with pytest.raises(NotYet):
        Mute((ONE,)).in_force(lab)
    found = look_again(lab, Mute((ONE,)), 10.0)
    assert found.still is Still.UNKNOWN
    assert found.seen.startswith("no table, but ")


def test_a_machine_that_was_switched_on_is_its_providers_word(lab: Any) -> None:
    fault = PowerCut((ONE, TWO))
    fault.inject(lab)
    assert look_again(lab, fault, 10.0).still is Still.YES
    lab.machines[TWO].power = "running"
    found = look_again(lab, fault, 10.0)
    assert (found.still, found.seen.partition(";")[0]) == (Still.NO, f"{TWO} is running")


def test_an_answer_that_does_not_come_is_not_waited_for(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lasting, "ANSWER", 0.2)
    release = threading.Event()
    Slow.release = release
    begun = time.monotonic()
    found = look_again(lab, Slow((ONE, TWO)), 10.0)
    release.set()
    assert time.monotonic() - begun < 5
    assert found.still is Still.UNKNOWN
    assert f"{ONE}: no answer within" in found.seen


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """What does not answer before its test ends."""
    monkeypatch.setattr(lasting, "ANSWER", 3.0)
    monkeypatch.setattr(lasting, "HANDED", 1.0)
    release = threading.Event()
    yield lambda *_, **__: release.wait(30)
    release.set()


def test_a_verdict_does_not_wait_for_words_about_it(
    lab: Any, silence: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it is gone is known; since when, its machine may take long to tell."""
    monkeypatch.setattr(KillAndHold, "ended", silence)
    found = look_again(lab, KillAndHold((ONE,), "etcd"), 0.0)
    assert found.still is Still.NO
    assert found.seen.startswith(f"{ONE}: etcd is active")


def test_a_verdict_needs_no_words_about_it(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: Any) -> str:
        raise LabError("no such process")

    monkeypatch.setattr(KillAndHold, "ended", wrong)
    assert look_again(lab, KillAndHold((ONE,), "etcd"), 0.0).still is Still.NO


def test_a_machine_that_runs_again_is_free_of_it_whatever_it_answers(
    lab: Any, silence: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "age_of", silence)
    found = look_again(lab, PowerCut((ONE, TWO)), 10.0)
    assert (found.still, found.seen) == (Still.NO, f"{ONE} is running; {TWO} is running")


def test_victims_wait_for_the_question_before_they_heal_themselves() -> None:
    assert LATER > ANSWER


@pytest.mark.parametrize(("slowness", "later"), [(1.0, LATER), (5.0, 5 * LATER)])
def test_where_setting_a_timer_takes_long_it_begins_as_much_earlier(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slowness: float, later: float
) -> None:
    armed: list[float] = []
    monkeypatch.setattr(breaking_module, "arm", lambda *words: armed.append(words[-1]))
    monkeypatch.setattr(breaking_module, "guard", lambda *_: None)
    lab.lab.state = SimpleNamespace(path=tmp_path)
    doing = Doing("kill-and-hold", ONE, hold=20.0, values={"unit": "etcd"})
    fault = Breaking(lab, doing, 1, Recorder(tmp_path / "records.jsonl"), print)
    stretch(slowness)
    try:
        fault.begin()
    finally:
        stretch(1.0)
    assert armed == [20.0 + later]


def test_what_a_fault_was_given_to_be_done_is_no_part_of_its_hold(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its harness dies the watchdog heals it after the hold, as it does any other."""
    monkeypatch.setattr(breaking_module, "arm", lambda *_: None)
    monkeypatch.setattr(breaking_module, "guard", lambda *_: None)
    monkeypatch.setattr(KillAndHold, "takes", 60.0)
    lab.lab.state = SimpleNamespace(path=tmp_path)
    doing = Doing("kill-and-hold", ONE, hold=20.0, values={"unit": "etcd"})
    Breaking(lab, doing, 1, Recorder(tmp_path / "records.jsonl"), print).begin()
    (debt,) = debts(tmp_path)
    assert 0 < debt.due - time.monotonic() <= 20.0


def test_the_age_of_a_process_is_since_it_began(lab: Any) -> None:
    machine = lab.machines[ONE]
    pid = machine.run("cat", str(machine.folder / "units/etcd/pid")).stdout.strip()
    assert 0 <= age_of(machine, pid) <= 60
    assert age_of(machine) >= age_of(machine, pid)
    with pytest.raises(LabError):
        age_of(machine, "999999999")


def test_a_slow_disk_is_known_by_its_bound(tmp_path: Path) -> None:
    machine = sandboxes(tmp_path, ONE)[ONE]
    cluster, fault = cluster_of({ONE: machine}), DiskSlow((ONE,), writes=10)
    file = machine.folder / "sys/fs/cgroup/system.slice/etcd.service/io.max"
    assert "it is not there" in look_again(cluster, fault, 10.0).seen
    file.parent.mkdir(parents=True)
    file.write_text("254:0 rbps=max wbps=max riops=max wiops=10\n")
    assert look_again(cluster, fault, 10.0).still is Still.YES
    file.write_text("254:0 rbps=max wbps=max riops=max wiops=100\n")
    assert look_again(cluster, fault, 10.0).still is Still.NO


@dataclass(frozen=True)
class Mute(KillAndHold):
    """Asks as rules of packets do: no listing, no table."""

    word: ClassVar[str] = "mute"
    unit: str = "etcd"

    def in_force(self, cluster: Any) -> str:
        if not cluster.machines[self.machines[0]].run("true").ok:
            raise NotYet("no table")
        return "a table"


@dataclass(frozen=True)
class Slow(KillAndHold):
    """Its question does not end."""

    word: ClassVar[str] = "slow"
    unit: str = "etcd"
    release: ClassVar[threading.Event]

    def in_force(self, cluster: Any) -> str:
        self.release.wait(30)
        return "at last"


# -- in a run ----------------------------------------------------------------------------------------------


def begun(lab: Any, folder: Path, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> Breaking:
    """Under way and proven; its healing is not this test's affair."""
    monkeypatch.setattr(breaking_module, "heal", lambda *_, undone: undone())
    said: list[str] = []
    doing = Doing(fault.word, ONE, hold=20.0, values={"unit": "etcd"})
    found = Breaking(lab, doing, 1, Recorder(folder / "records.jsonl"), said.append)
    found.fault = fault
    found.debt = owe(folder, fault.record(), 60)
    fault.inject(lab)
    found._write(begun=0.0)
    found._prove()
    return found


def test_a_fault_is_asked_for_just_before_its_healing_and_that_is_written(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = begun(lab, tmp_path, KillAndHold((ONE,), "etcd"), monkeypatch)
    fault.heal()
    (told,) = history(read(fault.recorder.path)).injections
    assert told.still == "yes"
    assert "may not start" in told.seen
    assert told.in_force is not None
    assert told.looked is not None
    assert told.heal_begun is not None
    assert told.in_force <= told.looked <= told.heal_begun


def test_one_that_ended_early_is_written_and_told(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    fault = begun(lab, tmp_path, Stop((ONE,), "etcd"), monkeypatch)
    fault.tell = said.append
    Stop((ONE,), "etcd").heal(lab)
    fault.heal()
    (told,) = history(read(fault.recorder.path)).injections
    assert told.still == "no"
    assert said[0].startswith(f"    no longer in force: {ONE}: etcd is active")


def test_what_does_not_last_or_never_bit_is_not_asked_for(
    lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaking_module, "look_again", lambda *_: pytest.fail("nobody should ask"))
    once = begun(lab, tmp_path, Kill((ONE,), "etcd"), monkeypatch)
    once.heal()
    assert "still" not in once.told
    blunt = begun(lab, tmp_path, KillAndHold((ONE,), "etcd"), monkeypatch)
    del blunt.told["in_force"]
    blunt.heal()
    assert "still" not in blunt.told


def test_every_fault_says_by_itself_whether_it_is_asked_for_again() -> None:
    """Those that end by their nature are those that do not last: no list of names says so."""
    once = {word for word, kind in FAULTS.items() if not kind.lasts}
    assert {"kill", "reboot", "move-leader"} <= once
    assert not {"stop", "power-cut", "silent"} & once
