"""A recorded plan that is done again: whether this lab can, and where it came out otherwise.  Pure."""

import dataclasses
from collections.abc import Iterator

from lab.errors import ConfigError
from lab.history import History
from lab.mistakes import nearest
from lab.scenario.course import FAULT, STEADY
from lab.scenario.known import Known
from lab.scenario.plan import TOGETHER, Plan, Step

TOLERANCE = 5.0  # seconds; before a healing it is looked once more, which may take four of them


def insist_known(plan: Plan, known: Known, source: str) -> None:
    """`ConfigError` with every machine, role, fault, value and question that this lab or version lacks."""
    if wrong := [*_unknown(plan, known)]:
        raise ConfigError(source, wrong)


def _unknown(plan: Plan, known: Known) -> Iterator[str]:
    for step in plan.steps:
        for name in [step.asked] if step.asked in known.targets else step.asked.split(TOGETHER):
            yield from _lacking(f"{step}: on", name, known.targets)
        yield from _lacking(f"{step}: fault", step.fault, tuple(known.faults))
        if kind := known.faults.get(step.fault):
            fields = tuple(each.name for each in dataclasses.fields(kind) if each.name != "machines")
            for name in step.values:
                yield from _lacking(f"{step}: value", name, fields)
    for word in plan.probes:
        yield from _lacking("probes:", word, tuple(known.questions))


def _lacking(where: str, word: str, valid: tuple[str, ...]) -> Iterator[str]:
    if word not in valid:
        close = nearest(word, valid)
        yield f"{where} {word} is unknown here{f'; the nearest is {close}' if close else ''}"


def moved(plan: Plan, done: History) -> list[str]:
    """The faults that were done at another moment than planned, or for another time, or not at all."""
    return [*_moved(plan, done)]


def _moved(plan: Plan, done: History) -> Iterator[str]:
    injections = {each.number: each for each in done.injections}
    zero = done.phases[FAULT].begin - plan.phases[STEADY] if FAULT in done.phases else None
    for step in plan.steps:
        if (seen := injections.get(step.number)) is None:
            yield f"{step}: not done again"
            continue
        if zero is not None and abs(seen.begun - zero - step.at) > TOLERANCE:
            yield f"{step}: begins {step.at:g} s -> {seen.begun - zero:.1f} s"
        if seen.heal_begun is not None and _is_off(step, seen.heal_begun - seen.begun):
            yield f"{step}: lasts {step.hold:g} s -> {seen.heal_begun - seen.begun:.1f} s"


def _is_off(step: Step, lasted: float) -> bool:
    return step.hold > 0 and abs(lasted - step.hold) > TOLERANCE
