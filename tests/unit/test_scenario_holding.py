"""Who believed to lead, from lines of journals as masters have them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from made_histories import KILL, asked, made

from lab.errors import LabError
from lab.faults.process import Stop
from lab.history import Injection, Recorder, history, read
from lab.invariants.finding import Verdict
from lab.invariants.leaders import ExitOfOldHolder, OverlappingHolders
from lab.invariants.terms import Lease, Seconds
from lab.machine import Platform, Result, Substrate
from lab.probes.clocks import Clocks
from lab.scenario.breaking import Breaking
from lab.scenario.course import Doing
from lab.scenario.holding import Clock, Holding, Said, Word, heard, held

CM, KS = "kube-controller-manager", "kube-scheduler"
ZERO = 1000.0  # of the machine's monotonic clock when the recorder began
CLOCK = Clock(lambda stamp: stamp - ZERO, wall=5000.0)
GAINED = 'I1126 17:02:45.5292 {pid} leaderelection.go:272] "Successfully acquired lease" lock="kube-system/x"'
LOST = 'E1126 16:53:01.0020 {pid} server.go:337] "Leaderelection lost"'
FAILED = (
    'I1126 16:52:55.9996 {pid} leaderelection.go:304] "Failed to renew lease" lock="kube-system/x" err="x"'
)
STARTED = f"Started {CM}.service - {CM}."
KILLED = f"{CM}.service: Main process exited, code=killed, status=9/KILL"


def line(
    at: float, message: Any, pid: int = 1, *, boot: str = "b1", wall: float = 0.0, unit: str = CM
) -> str:
    """A line as `journalctl -o json` has it, so many seconds after the recorder began."""
    told = {
        "MESSAGE": message.format(pid=pid) if isinstance(message, str) else message,
        "_PID": str(pid),
        "_BOOT_ID": boot,
        "UNIT" if pid == 1 else "_SYSTEMD_UNIT": f"{unit}.service",
        "__MONOTONIC_TIMESTAMP": str(int((ZERO + at) * 1e6)),
        "__REALTIME_TIMESTAMP": str(int((CLOCK.wall + wall) * 1e6)),
    }
    return json.dumps({name: each for name, each in told.items() if each is not None})


def terms(*lines: str, faults: Sequence[Injection] = (), machine: str = "m1") -> Any:
    return held(machine, heard(lines, CLOCK), faults).get(CM, {})


def done(fault: str, begun: float, in_force: float | None, unit: str = "") -> Injection:
    return replace(KILL, fault=fault, machines=("m1",), begun=begun, in_force=in_force, unit=unit)


def test_a_process_leads_from_its_word_to_its_word() -> None:
    assert terms(line(-50, GAINED, 368), line(12.5, LOST, 368)) == {"m1[368]": [(-50.0, 12.5)]}


def test_a_scheduler_leads_no_more_while_it_closes_its_server() -> None:
    """As seen: 5 s lie between the two lines, and another may lead before the second."""
    said = [line(-50, GAINED, 7, unit=KS), line(22, FAILED, 7, unit=KS), line(27, LOST, 7, unit=KS)]
    assert held("m1", heard(said, CLOCK), ()) == {KS: {"m1[7]": [(-50.0, 22.0)]}}


def test_one_that_says_nothing_believes_on() -> None:
    assert terms(line(-50, GAINED, 368)) == {"m1[368]": [(-50.0, None)]}


@pytest.mark.parametrize(
    "message", [KILLED, STARTED, f"{CM}.service: Deactivated successfully.", f"Stopped {CM}.service - {CM}."]
)
def test_one_that_is_gone_without_a_word_leads_no_more(message: str) -> None:
    assert terms(line(0, GAINED, 368), line(12, message)) == {"m1[368]": [(0.0, 12.0)]}


def test_one_that_is_asked_to_stop_leads_until_it_does() -> None:
    lines = (line(0, GAINED, 368), line(12, f"Stopping {CM}.service - {CM}..."), line(13, LOST, 368))
    assert terms(*lines) == {"m1[368]": [(0.0, 13.0)]}


def test_a_follower_that_leaves_led_nothing() -> None:
    assert terms(line(12, LOST, 368)) == {}


def test_what_is_no_text_and_what_others_say_is_left_out() -> None:
    lines = (line(0, [255, 1], 7), line(1, "x"), line(1, GAINED, 9, unit="etcd"), line(2, None, 7))
    assert terms(*lines) == {}


def test_a_line_that_was_read_twice_is_one_term() -> None:
    assert terms(line(1, GAINED, 7), line(1.002, GAINED, 7), line(9, LOST, 7)) == {"m1[7]": [(1.0, 9.0)]}


@pytest.mark.parametrize(
    ("fault", "end"),
    [("power-cut", 10.8), ("crash", 10.8), ("cold-start", 10.8), ("reboot", 10.0), ("stop", None)],
)
def test_a_machine_that_is_off_leads_no_more(fault: str, end: float | None) -> None:
    faults = [done(fault, 10.0, 10.8)]
    assert terms(line(-9, GAINED, 7), faults=faults) == {"m1[7]": [(-9.0, end)]}
    assert terms(line(-9, GAINED, 7), faults=faults, machine="m2") == {"m2[7]": [(-9.0, None)]}


def test_a_fault_that_did_not_bite_ended_nobody() -> None:
    assert terms(line(-9, GAINED, 7), faults=[done("power-cut", 10.0, None)]) == {"m1[7]": [(-9.0, None)]}


def test_the_last_word_before_a_reboot_counts_where_it_can_be_read() -> None:
    lines = (line(-9, GAINED, 7), line(10.4, LOST, 7))
    assert terms(*lines, faults=[done("reboot", 10.0, 18.0)]) == {"m1[7]": [(-9.0, 10.4)]}


def test_of_an_earlier_boot_of_a_vm_the_clock_on_the_wall_counts() -> None:
    """Its monotonic clock began anew; that of containers is their host's."""
    vm = replace(CLOCK, boot="b-2")
    lines = [line(3, GAINED, 7, boot="b1", wall=20.0), line(4, LOST, 7, boot="b2", wall=70.0)]
    assert [each.at for each in heard(lines, vm)] == [20.0, 4.0]
    assert [each.at for each in heard(lines, CLOCK)] == [3.0, 4.0]


# -- judged ----------------------------------------------------------------------------------------------

LEASES = asked(
    "leases",
    every=1.0,
    value=lambda _: {name: {"holder": "m1_x", "transitions": 1} for name in (CM, "kube-scheduler")},
)


def judged(one: Any, two: Any, *faults: Injection) -> tuple[Verdict, float | None, str]:
    seen = made(LEASES, injections=faults, holding={CM: {**one, **two}})
    found = OverlappingHolders().judge(seen)
    return found.verdict, found.value, found.text


def test_an_overlap_of_what_two_said_is_caught() -> None:
    verdict, value, text = judged(
        terms(line(-9, GAINED, 7), line(26, LOST, 7)), terms(line(25, GAINED, 8), machine="m2")
    )
    assert (verdict, value) == (Verdict.BROKEN, 1)
    assert text == f"{CM}: m1[7] and m2[8] for 1.00 s"


def test_what_was_before_the_run_is_not_its_fault() -> None:
    """A master that was frozen by an earlier test, and its holder that went on until it noticed."""
    one = terms(line(-90, GAINED, 7), line(-20, LOST, 7))
    verdict, value, _ = judged(one, terms(line(-30, GAINED, 8), machine="m2"))
    assert (verdict, value) == (Verdict.HELD, 0)
    late = terms(line(-90, GAINED, 7), line(3, LOST, 7))
    verdict, value, text = judged(late, terms(line(-30, GAINED, 8), machine="m2"))
    assert (verdict, value) == (Verdict.BROKEN, 1)
    assert "for 3.00 s" in text


@pytest.mark.parametrize("gained", [26.0, 25.95])
def test_a_handover_is_none_nor_what_stamps_cannot_tell(gained: float) -> None:
    one = terms(line(-9, GAINED, 7), line(26, LOST, 7))
    verdict, value, _ = judged(one, terms(line(gained, GAINED, 8), machine="m2"))
    assert (verdict, value) == (Verdict.HELD, 0)


@pytest.mark.parametrize(
    ("lost", "unit", "verdict"),
    [(40.05, CM, Verdict.HELD), (43.0, CM, Verdict.BROKEN), (40.05, "etcd", Verdict.BROKEN)],
)
def test_who_stands_still_overlaps_only_once_it_goes_on(lost: float, unit: str, verdict: Verdict) -> None:
    fault = replace(done("stop", 10.0, 10.1, unit), heal_begun=40.0, healed=40.2)
    one = terms(line(-9, GAINED, 7), line(lost, LOST, 7))
    found = judged(one, terms(line(25, GAINED, 8), machine="m2"), fault)
    assert found[0] is verdict
    assert ("in 15.00 s of which one stood still" in found[2]) == (unit == CM)


@pytest.mark.parametrize(("undone", "verdict"), [(40.6, Verdict.HELD), (None, Verdict.BROKEN)])
def test_nobody_is_said_to_act_before_the_command_that_lets_it_go_on_has_ended(
    undone: float | None, verdict: Verdict
) -> None:
    """Within that command nobody knows since when it goes on; records of before do not tell when it ended."""
    fault = replace(done("stop", 10.0, 10.1, CM), heal_begun=40.0, undone=undone, healed=41.0)
    one = terms(line(-9, GAINED, 7), line(40.5, LOST, 7))
    assert judged(one, terms(line(25, GAINED, 8), machine="m2"), fault)[0] is verdict


def test_the_exit_of_the_old_holder_is_its_own_word() -> None:
    fault = done("kill-and-hold", 10.0, 10.2)
    seen = made(LEASES, injections=[fault], holding={CM: terms(line(-9, GAINED, 7), line(21, LOST, 7))})
    assert ExitOfOldHolder(lease=Lease(CM), at_most=Seconds(12)).judge(seen).value == 11.0


# -- recorded --------------------------------------------------------------------------------------------


class Master:
    """Its journal is what a test says; empty, it cannot be asked."""

    def __init__(self, name: str) -> None:
        self.name, self.lines = name, [""]
        self.meanwhile: Callable[[], None] = lambda: None

    def run(self, *argv: str, **_: Any) -> Result:
        if not self.lines:
            raise LabError(f"{self.name} is off")
        self.meanwhile()
        return Result(0, "\n".join([*filter(None, self.lines), "b-1"]).encode())


def listening(folder: Path, *masters: Master) -> Holding:
    platform = Platform(Substrate.CONTAINER, 2)
    cluster: Any = SimpleNamespace(
        of=lambda _: list(masters), lab=SimpleNamespace(provider=SimpleNamespace(platform=platform))
    )
    return Holding(cluster, Recorder(folder / "records.jsonl", _began=ZERO), Clocks(cluster))


def facts(holding: Holding) -> Any:
    return history(read(holding.recorder.path)).facts


def test_what_was_read_before_a_journal_was_lost_is_kept(tmp_path: Path) -> None:
    one, two = Master("m1"), Master("m2")
    holding = listening(tmp_path, one, two)
    one.lines = [line(-9, GAINED, 7)]
    holding.listen().result()
    one.lines, two.lines = [""], [line(25, GAINED, 8)]
    holding.record([done("power-cut", 10.0, 10.8)])
    assert facts(holding) == {"holding": {CM: {"m1[7]": [[-9.0, 10.8]], "m2[8]": [[25.0, None]]}}}


def test_a_master_that_cannot_be_asked_meanwhile_is_no_trouble(tmp_path: Path) -> None:
    one = Master("m1")
    holding = listening(tmp_path, one)
    one.lines = []
    holding.listen().result()
    one.lines = [line(-9, GAINED, 7)]
    holding.record([])
    assert facts(holding) == {"holding": {CM: {"m1[7]": [[-9.0, None]]}}}


def test_the_clock_of_a_master_that_a_fault_silences_is_not_compared(tmp_path: Path) -> None:
    """It stands still, or is about to, or has not been compared since it goes on."""
    one, two = Master("m1"), Master("m2")
    holding = listening(tmp_path, one, two)
    holding.clocks.known["m1"] = clock = Mock()
    clock.ours = lambda stamp: stamp
    holding.clocks.silenced.append("m1")
    assert holding.listen().result() == {"m1": None, "m2": frozenset()}
    assert clock.check.call_count == 0
    holding.clocks.silenced.clear()
    assert holding.listen().result() == {"m1": frozenset(), "m2": frozenset()}
    assert clock.check.call_count == 1


def test_one_that_is_silenced_while_its_journal_is_read_is_not_compared(tmp_path: Path) -> None:
    one = Master("m1")
    holding = listening(tmp_path, one)
    holding.clocks.known["m1"] = clock = Mock()
    one.meanwhile = lambda: holding.clocks.silenced.append("m1")
    assert holding.listen().result() == {"m1": frozenset()}
    assert clock.check.call_count == 0


def test_without_the_word_of_every_master_nothing_is_claimed(tmp_path: Path) -> None:
    one = Master("m1")
    holding = listening(tmp_path, one)
    one.lines = []
    holding.record([])
    assert facts(holding) == {}


def test_a_journal_that_is_none_claims_nothing(tmp_path: Path) -> None:
    one = Master("m1")
    holding = listening(tmp_path, one)
    one.lines = ["Failed to open the journal"]
    holding.record([])
    assert facts(holding) == {}


def test_a_fault_under_way_is_told_as_far_as_it_was_done(tmp_path: Path) -> None:
    nothing: Any = None
    doing = Doing("stop", "m1", values={"unit": CM})
    breaking = Breaking(nothing, doing, 1, Recorder(tmp_path / "records.jsonl"), print)
    breaking.fault = Stop(machines=("m1",), unit=CM)  # as it is once its target was looked up
    breaking._write(begun=10.0, unit=CM)
    breaking._write(in_force=10.1, evidence="2 processes stopped")
    told = breaking.injection
    assert (told.begun, told.in_force, told.unit, told.machines) == (10.0, 10.1, CM, ("m1",))
    assert history(read(breaking.recorder.path)).injections == (told,)


def test_words_are_what_programs_of_this_version_say() -> None:
    """As seen in journals of masters with Kubernetes 1.37."""
    stopped = 'E1126 16:50:00.364057 {pid} controllermanager.go:413] "leaderelection lost/stopped"'
    said = [line(1, GAINED, 7), line(2, FAILED, 7), line(2, stopped, 7), line(3, KILLED), line(4, STARTED)]
    seen = heard(said, CLOCK)
    words = (Word.GAINED, Word.LOST, Word.LOST, Word.GONE, Word.BEGAN)
    assert [each.word for each in seen] == list(words)
    assert Said(1.0, CM, "7", Word.GAINED) in set(heard([line(1, GAINED, 7)], CLOCK))
