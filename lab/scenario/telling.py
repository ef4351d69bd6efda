"""A plan in words, for who wants to know before anything is broken.  Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from lab.invariants.base import Invariant
from lab.invariants.finding import shown
from lab.scenario.course import PHASES
from lab.scenario.known import Known
from lab.scenario.loading import Scenario
from lab.scenario.plan import Plan, Step


def lines(scenario: Scenario, plan: Plan, known: Known) -> list[str]:
    """What a run would do and be judged by; nothing is asked of any lab."""
    return [*_head(scenario, plan), *_phases(plan), *_probes(plan, known), *_judged(scenario)]


def _head(scenario: Scenario, plan: Plan) -> Iterator[str]:
    sets = f" (in {', '.join(scenario.sets)})" if scenario.sets else ""
    yield f"{scenario.name}{sets}: {scenario.about}"
    yield f"seed {plan.seed}: the schedule repeats, the interleaving does not"
    if scenario.destroys_data:
        yield "destroys data: the lab goes back to its snapshot afterwards"


def _phases(plan: Plan) -> Iterator[str]:
    begin = 0.0
    for name in PHASES:
        yield f"{_clock(begin)}  {name}, {plan.phases[name]:g} s"
        begin += plan.phases[name]
        if name == "fault":
            yield from (text for _, text in sorted(_faults(plan), key=lambda pair: pair[0]))
    yield f"{_clock(begin)}  end"


def _faults(plan: Plan) -> Iterator[tuple[float, str]]:
    for step in plan.steps:
        who = f"on {step.asked}" + (f", then {', '.join(step.machines)}" if step.machines else "")
        lasts = f", for {step.hold:g} s" if step.hold else ""
        yield step.at, f"{_clock(step.at)}    {step.number}. {step.fault} {_values(step)}{who}{lasts}"
        if step.hold:
            yield step.at + step.hold, f"{_clock(step.at + step.hold)}    {step.number}. healed"
    if not plan.steps:
        yield 0.0, "             nothing is broken"


def _values(step: Step) -> str:
    return "".join(f"{name.replace('_', '-')} {_value(value)} " for name, value in _given(step.values))


def _given(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from ((name, value) for name, value in values.items() if value not in ((), "", None))


def _value(value: Any) -> str:
    return ", ".join(str(each) for each in value) if isinstance(value, tuple) else str(value)


def _probes(plan: Plan, known: Known) -> Iterator[str]:
    yield "asked:"
    for word in plan.probes:
        question = known.questions[word]
        beat = f"{known.count(word)} x every {known.interval(word):g} s"
        yield f"  {word:<15} {beat:<16} {question.about}"
    observers = [word for word in known.questions if word not in known.asked]
    yield f"observed: {', '.join(observers)}"
    if plan.keeps:
        yield f"kept open without a word: {', '.join(plan.keeps)}"


def _judged(scenario: Scenario) -> Iterator[str]:
    yield "judged:"
    yield from (f"  {_limit(each)}" for each in scenario.invariants)
    own = {each.title for each in scenario.invariants}
    yield "judged always:"
    yield from (f"  {_limit(each)}" for each in scenario.judged if each.title not in own)
    for profile, titles in scenario.expect.items():
        yield f"must break with the profile {profile}: {', '.join(titles)}"


def _limit(invariant: Invariant) -> str:
    bound = invariant.bound.replace("-", " ")
    return f"{invariant.title}: {bound} {shown(invariant.limit, invariant.unit)}"


def _clock(seconds: float) -> str:
    return f"{seconds:9.1f} s"
