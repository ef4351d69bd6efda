"""A plan that is done again: what this lab does not know is told at once, and what came out otherwise."""

from dataclasses import replace
from typing import Any

import pytest

from lab.errors import ConfigError
from lab.history import History, Injection, Span
from lab.plan import load_topology
from lab.scenario.known import Known
from lab.scenario.plan import Plan, Step
from lab.scenario.replaying import insist_known, moved

KNOWN = Known(load_topology())
STEPS = (
    Step(1, "kill-and-hold", "etcd:leader", 30.0, 20.0, {"unit": "etcd"}, ("k8s-master1",)),
    Step(2, "power-cut", "k8s-lb+k8s-worker1", 90.0, 10.0, {}),
)
PHASES = {"steady": 30.0, "fault": 100.0, "recovery": 30.0}
PLAN = Plan("x", "1", PHASES, STEPS, ("api", "dns"))


def test_a_plan_of_this_lab_is_done_again() -> None:
    insist_known(PLAN, KNOWN, "plan.json")


def test_everything_that_this_lab_lacks_is_told_at_once() -> None:
    """A machine of a wider plan ended in a traceback, once records had been begun."""
    steps = (
        replace(STEPS[0], fault="kill-and-hide"),
        replace(STEPS[0], number=2, values={"units": "etcd"}),
        replace(STEPS[1], number=3, asked="k8s-lb+k8s-worker9"),
    )
    with pytest.raises(ConfigError) as raised:
        insist_known(replace(PLAN, steps=steps, probes=("api", "dnss")), KNOWN, "plan.json")
    told = "\n".join(raised.value.problems)
    for words in (
        "kill-and-hide is unknown here; the nearest is kill-and-hold",
        "value units is unknown here; the nearest is unit",
        "k8s-worker9 is unknown here; the nearest is k8s-worker",
        "probes: dnss is unknown here; the nearest is dns",
    ):
        assert words in told
    assert len(raised.value.problems) == 4


def done(*injections: Injection) -> History:
    spans = {"steady": Span(5.0, 35.0), "fault": Span(35.1, 135.1)}
    return History(spans, {}, {}, injections)


def injection(number: int, begun: float, heal_begun: float | None) -> Injection:
    return Injection(number, "x", "y", ("k8s-lb",), begun, heal_begun=heal_begun)


def test_what_was_done_as_planned_is_told_of_by_nobody() -> None:
    assert moved(PLAN, done(injection(1, 35.2, 55.9), injection(2, 95.3, 106.0))) == []


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ((injection(1, 35.2, 55.9), injection(2, 105.1, 116.0)), "begins 90 s -> 100.0 s"),
        ((injection(1, 35.2, 75.2), injection(2, 95.3, 106.0)), "lasts 20 s -> 40.0 s"),
        ((injection(1, 35.2, 55.9),), "not done again"),
    ],
)
def test_what_came_at_another_moment_is_told(seen: Any, words: str) -> None:
    (line,) = moved(PLAN, done(*seen))
    assert line.endswith(words)


def test_of_a_run_that_never_came_so_far_it_is_said() -> None:
    history = replace(done(), phases={"steady": Span(5.0, 35.0)})
    assert [line.endswith("not done again") for line in moved(PLAN, history)] == [True, True]
