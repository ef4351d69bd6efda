"""One seed, one plan: kept, told in words, done again, composed at random, and shrunk."""

import itertools
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scenario_files import known, scenarios
from test_scenario_mistakes import GOOD, scenario

from lab.errors import ConfigError
from lab.invariants.finding import Finding, Unit, Verdict
from lab.scenario.composing import BACK, FIRST, LAST, allowed_loss, composed
from lab.scenario.judging import Judgement
from lab.scenario.loading import Scenario
from lab.scenario.plan import Plan, Step, differences, fresh_seed, from_file, from_json, plan_of, stream
from lab.scenario.shrinking import ASKED, Shrinker, shows
from lab.scenario.telling import lines

PLAN = plan_of(scenario(GOOD), "7")
DONE = PLAN.resolved(1, ("k8s-master1",))


def test_a_plan_counts_from_the_beginning_of_the_run() -> None:
    assert PLAN.steps == (Step(1, "kill-and-hold", "k8s-master1", 10, 20, {"unit": "kube-apiserver"}),)
    assert "lost-writes" in PLAN.invariants


def test_what_the_runner_does_counts_from_the_fault_phase() -> None:
    assert PLAN.course() == scenario(GOOD).course("7")


@pytest.mark.parametrize("each", scenarios(), ids=lambda each: each.name)
def test_a_plan_survives_its_file(each: Scenario, tmp_path: Path) -> None:
    plan = plan_of(each, "3")
    path = tmp_path / "plan.json"
    path.write_text(plan.to_json())
    assert from_file(path) == plan
    assert from_file(path).course() == each.course("3")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no plan.json"),
        ("[]", "is no plan.json"),
        ("{}", "is no plan.json: KeyError: 'schema'"),
        ('{"schema": 2}', "is of schema 2, and this version reads 1"),
        (PLAN.to_json().replace('"steady"', '"stready"'), "is no plan.json: KeyError: 'steady'"),
        (PLAN.to_json().replace('"fault"', '"foult"', 1), "is no plan.json"),
        (PLAN.to_json().replace('"seed"', '"sed"'), "is no plan.json"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        from_json(text, "plan.json")


def test_a_plan_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "binary"):
        with pytest.raises(ConfigError, match="cannot be read"):
            from_file(path)


def test_done_again_it_says_where_it_differs() -> None:
    again = replace(PLAN.resolved(1, ("k8s-master2",)), phases={**PLAN.phases, "fault": 30.0})
    assert differences(DONE, DONE) == []
    assert differences(DONE, again) == [
        "fault: 20 s -> 30 s",
        "fault 1, kill-and-hold of k8s-master1: machines k8s-master1 -> k8s-master2",
    ]
    assert differences(DONE, DONE.only(set())) == ["fault 1, kill-and-hold of k8s-master1: not done again"]
    assert differences(DONE.only(set()), DONE) == ["fault 1, kill-and-hold of k8s-master1: was not recorded"]
    sooner = replace(DONE, steps=(replace(DONE.steps[0], at=9.0, hold=1.0, values={}),))
    assert [text.split(": ")[1] for text in differences(DONE, sooner)] == [
        "begins 10 s -> 9 s",
        "lasts 20 s -> 1 s",
        'values {"unit"',
    ]


def test_the_machines_of_then_can_be_asked_for() -> None:
    role = replace(PLAN, steps=(replace(PLAN.steps[0], asked="etcd:leader", machines=("a", "b")),))
    assert role.pinned().steps[0].asked == "a+b"
    with pytest.raises(ConfigError, match="kill-and-hold of k8s-master1: no machine is recorded"):
        PLAN.pinned()


def test_one_stream_is_not_moved_by_another() -> None:
    first = stream("7", "x", "targets").random()
    assert first == stream("7", "x", "targets").random()
    assert len({first, stream("8", "x", "targets").random(), stream("7", "x", "values").random()}) == 3
    assert fresh_seed() != fresh_seed()


def test_a_plan_is_told_in_words() -> None:
    one = scenario(GOOD)
    assert lines(one, plan_of(one, "7"), known()) == [
        "apiserver-crash (in ci): One apiserver dies and stays dead; the balancer hides it.",
        "seed 7: the schedule repeats, the interleaving does not",
        "      0.0 s  steady, 10 s",
        "     10.0 s  fault, 20 s",
        "     10.0 s    1. kill-and-hold unit kube-apiserver on k8s-master1, for 20 s",
        "     30.0 s    1. healed",
        "     30.0 s  recovery, 30 s",
        "     60.0 s  end",
        "asked:",
        "  api             1 x every 0.05 s write an object and read it back, on one fresh connection"
        " through the balancer",
        "  api-direct      2 x every 0.2 s  the same, of each master by itself",
        "  etcd            3 x every 0.2 s  put a key and read it back, of each member by itself",
        "  dns             2 x every 0.05 s a name of the cluster, from each worker",
        "observed: raft, leases, nodes, pods, endpoints",
        "judged:",
        "  availability of api during fault: at least 99.5 %",
        "  longest-outage of api during fault+recovery: at most 1.00 s",
        "judged always:",
        "  lost-writes: at most 0",
        "  linearizable: at most 0",
        "  minority-acks: at most 0",
        "  hash-kv: at most 0",
        "  overlapping-holders: at most 0",
        "must break with the profile guide: availability of api during fault",
    ]


@pytest.mark.parametrize("each", scenarios(), ids=lambda each: each.name)
def test_every_scenario_can_be_told_before_it_is_run(each: Scenario) -> None:
    told = lines(each, plan_of(each, "7").resolved(1, ("k8s-master1",)), known())
    assert told[0].startswith(each.name)
    assert sum(text.endswith(". healed") for text in told) == len([d for d in each.faults if d.hold])
    assert ("             nothing is broken" in told) == (not each.faults)


# -- at random -------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(600, 7200), st.integers(5, 90))
def test_a_random_course_is_one_fault_at_a_time_with_gaps(seed: int, seconds: int, gap: int) -> None:
    course = composed(scenarios(), known(), seed=str(seed), seconds=seconds, gap=gap)
    assert course == composed(scenarios(), known(), seed=str(seed), seconds=seconds, gap=gap)
    assert sum(course.phases.values()) == seconds
    assert course.faults[-1].at + course.faults[-1].hold <= course.phases["fault"]
    for before, after in pairwise(course.faults):
        assert after.at - (before.at + before.hold) >= gap - 1e-3
    assert 0 <= course.invariants[0].limit <= 1


def test_other_seeds_make_other_courses_and_destroy_no_data() -> None:
    courses = [composed(scenarios(), known(), seed=str(n), seconds=3600) for n in range(20)]
    assert len({course.about for course in courses}) == 20
    assert "member-wiped" not in {doing.fault for course in courses for doing in course.faults}
    assert courses[0].name == "random-0"


def test_the_budget_is_what_the_limits_allow_together() -> None:
    crash = next(each for each in scenarios() if each.name == "apiserver-crash")
    lost = next(each for each in scenarios() if each.name == "load-balancer-lost")
    assert allowed_loss(crash) == pytest.approx(0.01 * 50)
    assert allowed_loss(lost) == 120 + BACK
    course = composed([crash], known(), seed="1", seconds=FIRST + LAST + 22)
    assert [doing.fault for doing in course.faults] == ["kill-and-hold"]
    assert course.invariants[0].limit == pytest.approx(1 - 0.5 / (LAST + 22))


def test_too_short_a_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="too short for any fault of"):
        composed(scenarios(), known(), seed="1", seconds=60)


# -- the smallest one that breaks ------------------------------------------------------------------------


def six(hold: float = 8.0) -> Plan:
    """Six faults."""
    steps = tuple(Step(n, "stop", f"m{n}", 10.0 * n, hold) for n in range(1, 7))
    return replace(PLAN, steps=steps)


@pytest.mark.parametrize("guilty", range(1, 7))
def test_six_faults_of_which_one_is_guilty_come_down_to_that_one(guilty: int) -> None:
    runs: list[list[int]] = []

    def breaks(plan: Plan) -> bool:
        runs.append([step.number for step in plan.steps])
        return any(step.number == guilty and step.hold > 3 for step in plan.steps)

    found = Shrinker(breaks).shrunk(six())
    assert [(step.number, step.hold) for step in found.plan.steps] == [(guilty, 4.0)]
    assert found.is_sure
    assert runs[-3:] == [[guilty]] * 3
    assert found.runs == len(runs) <= 16


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(1, 6), min_size=1))
def test_what_only_breaks_together_stays_together(guilty: set[int]) -> None:
    found = Shrinker(lambda plan: guilty <= {step.number for step in plan.steps}).shrunk(six(hold=2.0))
    assert {step.number for step in found.plan.steps} == guilty
    assert found.is_sure


@settings(deadline=None, max_examples=50)
@given(st.sets(st.integers(1, 6), min_size=1), st.sets(st.integers(1, 6), min_size=1))
def test_no_fault_of_the_result_can_be_left_out(one: set[int], other: set[int]) -> None:
    """Also where there are two causes."""

    def breaks(plan: Plan) -> bool:
        left = {step.number for step in plan.steps}
        return one <= left or other <= left

    found = Shrinker(breaks).shrunk(six(hold=2.0)).plan
    numbers = {step.number for step in found.steps}
    assert breaks(found)
    assert not any(breaks(found.only(numbers - {number})) for number in numbers)


def test_what_does_not_break_is_not_shrunk() -> None:
    found = Shrinker(lambda plan: False).shrunk(six())
    assert (found.plan, found.confirmed, found.is_sure) == (six(), 0, False)


def test_what_breaks_only_now_and_then_is_not_called_sure() -> None:
    answers = iter([True, *[False] * 40])
    found = Shrinker(lambda plan: next(answers)).shrunk(six(hold=2.0))
    assert (len(found.plan.steps), found.confirmed, found.is_sure) == (6, 0, False)


def test_a_run_that_proves_nothing_counts_for_neither_and_is_made_again() -> None:
    """One invalid run must neither keep a fault that is not guilty, nor confirm the result."""
    asked = itertools.count()

    def breaks(plan: Plan) -> bool | None:
        return None if next(asked) % 2 else any(step.number == 3 for step in plan.steps)

    found = Shrinker(breaks).shrunk(six(hold=2.0))
    assert [step.number for step in found.plan.steps] == [3]
    assert found.is_sure
    open_for_ever = Shrinker(lambda plan: None).shrunk(six())
    assert (open_for_ever.confirmed, open_for_ever.runs) == (0, ASKED)


@pytest.mark.parametrize(
    ("invalid", "broken", "shown"), [((), True, True), ((), False, False), (("late",), True, None)]
)
def test_what_a_run_shows_of_the_guilty_invariant(
    invalid: tuple[str, ...], broken: bool, shown: bool | None
) -> None:
    verdict = Verdict.BROKEN if broken else Verdict.HELD
    finding = Finding("x", verdict, 2.0, 1.0, Unit.SECONDS, None, "")
    judgement = Judgement("made", (finding,), verdict, (), invalid)
    assert shows(frozenset({"x"}), [judgement]) is shown
    assert shows(frozenset({"x"}), []) is None


def test_a_shrunk_plan_is_a_plan_like_any_other() -> None:
    found = Shrinker(lambda plan: 3 in {step.number for step in plan.steps}).shrunk(six())
    assert from_json(found.plan.to_json(), "x") == found.plan
    assert json.loads(found.plan.to_json())["steps"][0]["asked"] == "m3"


def test_idle_connections_are_kept_only_where_their_life_is_judged() -> None:
    judged = "".join(
        f"  - {{invariant: idle-cut, kept: {kept}, at-least: 20s}}\n" for kept in ("exec", "watch")
    )
    plan = plan_of(scenario(GOOD.replace("invariants:\n", f"invariants:\n{judged}")), "7")
    assert (PLAN.course().keeps, plan.course().keeps) == ((), ("exec", "watch"))
    assert from_json(plan.to_json(), "plan.json") == plan
    assert [each.name for each in scenarios() if each.keeps] == ["idle-kept"]


def test_a_plan_of_before_kept_nothing_open() -> None:
    told = json.loads(PLAN.to_json())
    del told["keeps"]
    assert from_json(json.dumps(told), "plan.json") == PLAN
