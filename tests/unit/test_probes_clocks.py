"""Another machine's clock: compared again after it stood still, and as doubtful as it is."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from made_histories import KILL, asked, made

from lab.errors import LabError
from lab.history import Recorder, history, read
from lab.invariants.finding import Verdict
from lab.invariants.since import FirstFailure, Recovery
from lab.invariants.terms import Question, Seconds
from lab.machine import Platform, Result, Substrate
from lab.plan import load_topology
from lab.probes.catalogue import probes
from lab.probes.clocks import Clock, Clocks, Reading, clock_of
from lab.probes.crew import MARK
from lab.probes.vantage import There
from lab.probes.watching import Watch
from lab.probes.workload import Workload
from lab.scenario.holding import Clock as Journal

VM = Platform(Substrate.VM, 2)
API = Question("api")


def clock(*readings: Reading) -> Clock:
    each: Iterator[Reading] = iter(readings)
    return Clock(lambda: next(each))


def test_what_was_stamped_before_a_pause_is_not_moved_by_it() -> None:
    """Paused at 110 s of our clock, let go on at 130 s: theirs was 10 s ahead before and is 10 s behind."""
    of = clock(Reading(10.0, 0.01), Reading(-10.0, 0.02))
    of.stood_still(109.9, 130.0)
    assert of.ours(115.0) == 105.0
    assert of.ours(119.99) == pytest.approx(109.99)
    assert of.ours(120.5) == pytest.approx(130.5)
    assert of.bound == 0.02


def test_the_length_of_a_pause_says_when_it_began() -> None:
    """It was asked for at 105 s and came at 110 s; what was stamped between is from before."""
    of = clock(Reading(0.0, 0.0), Reading(-20.0, 0.0))
    of.stood_still(105.0, 130.0)
    assert of.ours(109.0) == 109.0
    assert of.ours(111.0) == 131.0


def test_a_clock_that_did_not_stand_still_goes_on_as_before() -> None:
    of = clock(Reading(0.0, 0.0), Reading(0.0, 0.0))
    of.stood_still(105.0, 130.0)
    assert [of.ours(stamp) for stamp in (100.0, 120.0, 140.0)] == [100.0, 120.0, 140.0]


def test_two_pauses_are_both_known() -> None:
    of = clock(Reading(0.0, 0.0), Reading(-10.0, 0.0), Reading(-15.0, 0.0))
    of.stood_still(100.0, 110.0)
    of.stood_still(120.0, 125.0)
    assert [of.ours(stamp) for stamp in (99.0, 101.0, 109.0, 111.0)] == [99.0, 111.0, 119.0, 126.0]


def test_another_boot_has_nothing_of_the_clock_of_before() -> None:
    of = clock(Reading(1000.0, 0.01, "one"), Reading(-90.0, 0.03, "two"))
    of.stood_still(100.0, 110.0)
    assert of.ours(5.0) == 95.0
    assert of.bound == 0.03


@pytest.mark.parametrize(
    ("last", "bound"),
    [
        (Reading(5.02, 0.02), 0.03),  # within what both may be wrong by
        (Reading(5.1, 0.02), 0.12),
        (Reading(-15.0, 0.02), 20.02),
    ],
)
def test_what_moved_unseen_is_doubt(last: Reading, bound: float) -> None:
    of = clock(Reading(5.0, 0.03), last)
    of.check()
    assert of.bound == pytest.approx(bound)
    assert of.ours(15.0) == 10.0


def test_who_compares_before_a_pause_is_known_leaves_no_doubt() -> None:
    """A master's journal is read beside the healing of another fault, just when this one was let go on."""
    of = clock(Reading(0.0, 0.01), Reading(-20.0, 0.01), Reading(-20.0, 0.01))
    of.check()
    assert of.bound == pytest.approx(20.01)
    of.stood_still(110.0, 130.0)
    assert of.bound == 0.01


def test_the_next_boot_has_nothing_of_a_doubt_of_before() -> None:
    of = clock(Reading(0.0, 0.01, "one"), Reading(-20.0, 0.01, "one"), Reading(-90.0, 0.01, "two"))
    of.check()
    of.check()
    assert of.bound == 0.01


# -- of a cluster ------------------------------------------------------------------------------------------


class Guest:
    """A VM whose clock shows so much more than ours; it tells what its prober wrote."""

    def __init__(self, name: str) -> None:
        self.name, self.ahead, self.boot, self.lines = name, 50.0, "b-1", ""
        self.asked = 0

    def check(self, *argv: str, **_: Any) -> str:
        if argv[0] == "python3":
            self.asked += 1
            return f"{time.monotonic() + self.ahead} {self.boot}\n\n"
        return f"\n{MARK}\n{self.lines}"

    def run(self, *_: str, **__: Any) -> Result:
        return Result(0)


def cluster_of(*guests: Guest, platform: Platform = VM) -> Any:
    provider = SimpleNamespace(platform=platform)
    return SimpleNamespace(machines={g.name: g for g in guests}, lab=SimpleNamespace(provider=provider))


def test_containers_have_this_hosts_clock_and_are_not_asked() -> None:
    guest = Guest("k8s-worker1")
    cluster = cluster_of(guest, platform=Platform(Substrate.CONTAINER, 2))
    assert clock_of(cluster, guest) == Reading(0.0, 0.0)  # type: ignore[arg-type]
    clocks = Clocks(cluster)
    clocks.of(guest)  # type: ignore[arg-type]
    assert (guest.asked, clocks.record()) == (0, {})


def test_a_machines_clock_is_compared_once_for_all_its_probers() -> None:
    guest: Any = Guest("k8s-worker1")
    clocks = Clocks(cluster_of(guest))
    assert clocks.of(guest) is clocks.of(guest)
    first = guest.asked
    clocks.stood_still(["k8s-worker1", "k8s-lb"], 0.0, 0.0)
    assert guest.asked == 2 * first
    assert [each["offset"] for each in clocks.record()["k8s-worker1"]] == pytest.approx([50.0, 50.0], abs=0.1)


def line(sent: float, answered: float) -> str:
    took = answered - sent
    told = {"scheduled": sent, "sent": sent, "answered": answered, "outcome": "ok", "said": "", "key": ""}
    return (
        json.dumps({**told, "phases": [0.1, took], "acked": True, "acknowledged": took, "value": None}) + "\n"
    )


def test_a_question_that_was_asked_before_a_pause_and_answered_after_it_took_that_long(
    tmp_path: Path,
) -> None:
    guest: Any = Guest("k8s-worker1")
    probe = next(each for each in probes(load_topology(), Workload("", 1, {}), ("dns",)) if each.at)
    of = clock(Reading(50.0, 0.004), Reading(30.0, 0.006), Reading(30.0, 0.006))
    cluster = cluster_of(guest)
    recorder = Recorder(tmp_path / "records.jsonl", _began=0.0)
    clocks = Clocks(cluster, {guest.name: of})
    watch = Watch(cluster, None, tmp_path / "probes", recorder, 60, "seed", clocks)  # type: ignore[arg-type]
    watch.running = [There(probe, guest, of, "unit")]
    guest.lines = '{"ready": 149.0, "priority": "nice"}\n' + line(159.5, 160.5) + line(165.0, 165.2)
    of.stood_still(110.0, 130.0)
    watch.end()
    records = read(recorder.path)
    seen = history(records)
    straddling, after = seen.samples[probe.name]
    assert (straddling.sent, straddling.answered) == (109.5, 130.5)
    assert straddling.phases == (0.1, 21.0)
    assert straddling.acknowledged == 21.0
    assert (after.sent, after.answered, after.acknowledged) == (135.0, 135.2, pytest.approx(0.2))
    assert (seen.probes[probe.name].bound, seen.probes[probe.name].began) == (0.006, 99.0)
    (told,) = [record for record in records if record["kind"] == "clocks"]
    assert told["of"] == {
        guest.name: [{"offset": 50.0, "bound": 0.004, "until": 160.0}, {"offset": 30.0, "bound": 0.006}]
    }


def test_a_clock_that_cannot_be_compared_in_the_end_is_trouble_unless_its_machine_was_away(
    tmp_path: Path,
) -> None:
    def fails() -> Reading:
        raise LabError("no python")

    for lost in ({}, {"k8s-worker1": "power-cut"}):
        guest: Any = Guest("k8s-worker1")
        of = clock(Reading(0.0, 0.0))
        of._measure = fails
        probe = next(each for each in probes(load_topology(), Workload("", 1, {}), ("dns",)) if each.at)
        recorder = Recorder(tmp_path / f"{len(lost)}.jsonl", _began=0.0)
        cluster = cluster_of(guest)
        watch = Watch(cluster, None, tmp_path / "p", recorder, 60, "s", Clocks(cluster, {guest.name: of}))  # type: ignore[arg-type]
        watch.running = [There(probe, guest, of, "unit")]
        watch.end(lost=lost)
        wanted = () if lost else ("k8s-worker1: nobody knows how right its clock was in the end: no python",)
        assert history(read(recorder.path)).troubles == wanted


def test_lines_of_a_journal_from_before_a_pause_stay_where_they_were() -> None:
    of = clock(Reading(0.0, 0.0), Reading(-20.0, 0.0))
    of.stood_still(110.0, 130.0)
    journal = Journal(lambda stamp: of.ours(stamp) - 100.0, wall=0.0)
    stamps = [{"__MONOTONIC_TIMESTAMP": str(int(each * 1e6))} for each in (105.0, 111.0)]
    assert [journal.at(each) for each in stamps] == [5.0, 31.0]


# -- what is judged ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "verdict"), [(0.0, Verdict.HELD), (0.05, Verdict.HELD), (0.5, Verdict.UNKNOWN)]
)
def test_a_time_too_near_to_its_limit_for_its_clock_is_unknown(bound: float, verdict: Verdict) -> None:
    probed, samples = asked(failing=[(12, 14.8)])  # the first good answer is 4.81 s after the fault
    seen = made((replace(probed, bound=bound), samples), injections=[KILL])
    found = Recovery(of=API, at_most=Seconds(5.0)).judge(seen)
    assert found.verdict is verdict
    if verdict is Verdict.UNKNOWN:
        assert "by a clock that is known to" in found.text
    far = Recovery(of=API, at_most=Seconds(20.0)).judge(seen)
    assert far.verdict is Verdict.HELD
    nothing = asked()
    calm = made((replace(nothing[0], bound=bound), nothing[1]), injections=[KILL])
    assert FirstFailure(of=API, at_least=Seconds(5.0)).judge(calm).verdict is Verdict.HELD


def test_where_no_time_is_judged_doubt_decides_nothing() -> None:
    probed, samples = asked(failing=[(12, 14.8)])
    seen = made((replace(probed, bound=0.5), samples), injections=[KILL], emulated=True)
    assert Recovery(of=API, at_most=Seconds(5.0)).judge(seen).value == pytest.approx(4.81)
