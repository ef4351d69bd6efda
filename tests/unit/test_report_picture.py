"""What the page draws: runs of equal answers, with their gaps, and what observers saw."""

from dataclasses import replace

import pytest
from made_histories import KILL, asked, made, raft, stepped
from test_report_histories import ALL, CUT, many, silent_master, two_leaders, vantage_lost

from lab.history import History, Outcome, Sample
from lab.report.lanes import CALM, EVEN, FAILED, ODD, OK, PART, SILENT, Lane, faults
from lab.report.lanes import asked as lane_of
from lab.report.observed import endpoints, leases, nodes, pods
from lab.report.observed import raft as raft_lanes
from lab.report.picture import picture_of
from lab.report.runs import Run, Texts, coded, runs_of
from lab.report.runs import stepped as steps


def words(lane: Lane) -> list[tuple[float, float, str]]:
    return [(round(run.begin, 3), round(run.end, 3), run.word) for run in lane.runs]


def samples(*outcomes: str, every: float = 1.0) -> list[Sample]:
    """One for each letter's beat: ok, failed, unknown; a blank leaves a hole."""
    names = {"o": Outcome.OK, "f": Outcome.FAILED, "u": Outcome.UNKNOWN}
    return [
        Sample("p", n * every, n * every, n * every + 0.01, names[letter])
        for n, letter in enumerate("".join(outcomes))
        if letter in names
    ]


def test_equal_answers_are_one_run_and_holes_are_gaps() -> None:
    found = runs_of(samples("ooff oou"), 1.0)
    assert [(run.begin, run.end, run.word, run.count) for run in found] == [
        (0, 2, "ok", 2),
        (2, 4, "failed", 2),
        (5, 7, "ok", 2),
        (7, 8, "unknown", 1),
    ]


def test_a_hole_between_equal_answers_is_a_gap_too() -> None:
    assert [(run.begin, run.end) for run in runs_of(samples("oo  oo"), 1.0)] == [(0, 2), (4, 6)]


def test_a_run_ends_where_the_next_one_begins() -> None:
    early = replace(samples(" f")[0], scheduled=0.8)
    assert [(run.begin, run.end) for run in runs_of([*samples("o"), early], 1.0)] == [(0, 0.8), (0.8, 1.8)]


def test_no_questions_are_no_runs() -> None:
    assert runs_of([], 1.0) == []


def test_coded_runs_come_back_as_they_were() -> None:
    runs, texts = [Run(1.0, 2.0, "ok", 20), Run(2.5, 3.0, "failed", 10, "refused")], Texts()
    assert coded(runs, ["ok", "failed"], texts) == [10000, 10000, 0, 20, -1, 5000, 5000, 1, 10, 0]
    assert texts.all == ["refused"]


def test_very_many_different_texts_do_not_swell_the_page() -> None:
    texts = Texts()
    numbers = [texts.number(f"text {n}") for n in range(2000)]
    assert len(texts.all) == Texts.MOST + 1
    assert numbers[-1] == Texts.MOST


def test_beats_of_a_grid_are_few_numbers() -> None:
    assert steps([round(1.2345 + n * 0.05, 4) for n in range(1000)]) == [12345, 999, 500]
    assert steps([]) == []


def test_a_fault_goes_through_its_stages() -> None:
    (lane,) = faults(made(injections=[CUT])).lanes
    assert lane.name == "power-cut on etcd:leader = k8s-master1"
    assert words(lane) == [
        (30.0, 30.42, "being injected"),
        (30.42, 90.0, "in force"),
        (90.0, 97.3, "being healed"),
    ]


def test_a_fault_that_never_bit_and_one_that_was_never_healed_say_so() -> None:
    never = replace(KILL, in_force=None, heal_begun=None, healed=None)
    (lane,) = faults(made(asked(), injections=[never])).lanes
    assert words(lane) == [(10.0, 60.0, "being injected")]
    assert lane.note == "nothing proves that it bit; not healed"


@pytest.mark.parametrize(("still", "note"), [("no", "gone before its healing"), ("yes", ""), ("unknown", "")])
def test_a_fault_that_ended_early_says_so_beside_its_lane(still: str, note: str) -> None:
    (lane,) = faults(made(asked(), injections=[replace(KILL, still=still)])).lanes
    assert lane.note == note


def test_two_leaders_at_once_can_be_seen() -> None:
    lanes = {lane.name: lane for lane in raft_lanes(two_leaders().history).lanes}
    assert words(lanes["leader@a"]) == [(0, 60, "a")]
    assert words(lanes["leader@b"]) == [(0, 12, "a"), (12, 60, "b")]
    assert words(lanes["term@c"]) == [(0, 12, "term 3"), (12, 60, "term 4")]
    assert (lanes["term@c"].tones["term 3"], lanes["term@c"].tones["term 4"]) == (ODD, EVEN)


def test_a_leader_has_the_name_of_its_machine() -> None:
    lanes = {lane.name: lane for lane in raft_lanes(silent_master().history).lanes}
    assert [word for *_, word in words(lanes["leader@k8s-lb"])] == ["k8s-master1", "k8s-master2"]
    assert [word for *_, word in words(lanes["leader@k8s-master1"])] == [
        "k8s-master1",
        "failed",
        "k8s-master2",
    ]
    assert lanes["leader@k8s-master1"].tones["failed"] == SILENT


def test_nobody_leading_is_said() -> None:
    (leader, _) = raft_lanes(made(raft("a", (0, 1, "a"), (10, 2, "0"), (20, 2, "")))).lanes
    assert words(leader) == [(0, 10, "a"), (10, 60, "nobody")]


def test_a_lease_is_held_by_a_machine() -> None:
    lanes = {lane.name: lane for lane in leases(silent_master().history).lanes}
    assert words(lanes["kube-scheduler@k8s-master2"]) == [(0, 48, "k8s-master1"), (48, 120, "k8s-master2")]


def test_a_node_is_ready_or_what_it_is_instead() -> None:
    seen = stepped("nodes", (0, {"w": "True"}), (20, {"w": "Unknown"}), (30, {}), (40, {"w": "True"}))
    (lane,) = nodes(made(seen)).lanes
    assert [word for *_, word in words(lane)] == ["Ready", "Ready=Unknown", "gone", "Ready"]
    assert lane.tones["Ready"] == OK
    assert lane.tones["gone"] == PART


def test_pods_that_come_later_are_not_counted() -> None:
    def seen(*names: str, ready: bool = True, leaving: str = "") -> dict[str, list[object]]:
        return {name: ["w", "Running", ready, leaving] for name in names}

    course = [
        (0, seen("a", "b")),
        (20, seen("a", "b", "new")),
        (30, seen("a")),
        (40, seen("a", "b", leaving="now")),
    ]
    (lane,) = pods(made(stepped("pods", *course))).lanes
    assert words(lane) == [(0, 30, "2 of 2 ready"), (30, 40, "1 of 2 ready"), (40, 60, "0 of 2 ready")]
    assert (lane.tones["2 of 2 ready"], lane.tones["1 of 2 ready"]) == (OK, PART)


def test_endpoints_are_listed() -> None:
    (lane,) = endpoints(made(stepped("endpoints", (0, ["a", "b"]), (20, ["b"]), (30, [])))).lanes
    assert [word for *_, word in words(lane)] == ["a, b", "b", "nobody"]


def test_an_observer_that_never_got_an_answer_has_a_lane_that_shows_it() -> None:
    (lane,) = nodes(made(stepped("nodes", (0, {}), failing=[(0, 60)]))).lanes
    assert words(lane) == [(0, 60, "failed")]
    assert lane.tones["failed"] == SILENT


@pytest.mark.parametrize("make", [raft_lanes, leases, nodes, pods, endpoints])
def test_what_nobody_asked_says_so(make: object) -> None:
    assert callable(make)
    found = make(made())
    assert not found.lanes
    assert found.empty.startswith("no data: nobody was asked")


def test_a_probe_without_samples_says_so() -> None:
    history = vantage_lost().history
    silent = History(history.phases, history.probes, {}, history.injections)
    lane = lane_of(silent, history.probes["api"]).coded(Texts())
    assert lane["empty"] == "no data: not one question was asked"


def test_a_lost_vantage_point_is_a_gap_with_its_reason() -> None:
    history = vantage_lost().history
    lane = lane_of(history, history.probes["dns@k8s-worker1"])
    assert words(lane) == [(0, 10, "ok"), (30, 60, "ok")]
    assert lane.note == "vantage lost: power-cut"


def test_how_an_answer_failed_keeps_its_tone() -> None:
    history = vantage_lost().history
    lane = lane_of(history, history.probes["api"])
    assert words(lane)[1] == (10, 13, "failed")
    assert lane.tones["failed"] == FAILED
    assert CALM not in lane.tones.values()


@pytest.mark.parametrize("name", ALL)
def test_every_latency_is_kept_exactly(name: str) -> None:
    history = ALL[name]().history
    drawn = picture_of(history)["latency"]
    kept = [some for some in history.samples.values() if some]
    assert len(drawn) == len(kept)
    for told, real in zip(drawn, kept, strict=True):
        assert told["took"] == [round((s.answered - s.sent) * 1e4) for s in real]
        assert sum(told["outcomes"][1::2]) == sum(told["beats"][1::2]) + 1 == len(real)


def test_many_samples_are_drawn_from_few_runs() -> None:
    lanes = picture_of(many().history)["sections"][2]["lanes"]
    assert len(lanes) == 10
    assert max(len(lane["runs"]) for lane in lanes) == 3 * 5
