"""What a run will do, all choices made: from one seed, kept as JSON, and done again.

The schedule repeats; how packets and threads interleave does not.
"""

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.errors import ConfigError
from lab.scenario.course import PHASES, Course, Doing
from lab.scenario.loading import Scenario

SCHEMA = 1
SEED_BITS = 32
TOGETHER = "+"  # between the machines of a fault that is done to several


def stream(seed: str, scenario: str, name: str) -> random.Random:
    """Where all choices of one kind come from; one stream is not moved by what another one drew."""
    return random.Random(f"{seed}/{scenario}/{name}")


def fresh_seed() -> str:
    """A seed for who gave none."""
    return str(random.SystemRandom().getrandbits(SEED_BITS))


@dataclass(frozen=True, slots=True)
class Step:
    """One fault of a plan: what, of whom, how many seconds after the run began, for how long.

    `machines` is what the asked role was when it began; empty as long as it has not.
    """

    number: int
    fault: str
    asked: str
    at: float
    hold: float
    values: Mapping[str, Any] = field(default_factory=dict)
    machines: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"fault {self.number}, {self.fault} of {self.asked}"


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run before it begins; kept as `plan.json` beside what it led to."""

    scenario: str
    seed: str
    phases: Mapping[str, float]
    steps: tuple[Step, ...]
    probes: tuple[str, ...]
    invariants: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    schema: int = SCHEMA

    def course(self) -> Course:
        """What the runner does: the same faults, counted from the beginning of the fault phase."""
        steady = self.phases[PHASES[0]]
        doings = tuple(Doing(e.fault, e.asked, e.at - steady, e.hold, e.values, e.number) for e in self.steps)
        return Course(self.scenario, self.phases, doings, self.probes, self.seed, self.keeps)

    def resolved(self, number: int, machines: tuple[str, ...]) -> "Plan":
        """The same plan, knowing which machines a fault was done to."""
        steps = [replace(each, machines=machines) if each.number == number else each for each in self.steps]
        return replace(self, steps=tuple(steps))

    def pinned(self) -> "Plan":
        """The same faults, on the machines of then; `ConfigError` if that run never came so far."""
        if unknown := [str(each) for each in self.steps if not each.machines]:
            raise ConfigError("the plan", [f"{each}: no machine is recorded" for each in unknown])
        return replace(self, steps=tuple(replace(e, asked=TOGETHER.join(e.machines)) for e in self.steps))

    def only(self, numbers: frozenset[int] | set[int]) -> "Plan":
        """The same plan with these faults alone."""
        return replace(self, steps=tuple(each for each in self.steps if each.number in numbers))

    def to_json(self) -> str:
        """The plan as text; `from_json` reads it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=True) + "\n"


def plan_of(scenario: Scenario, seed: str) -> Plan:
    """Every choice of a scenario, made by the seed.  Pure: same input, same plan."""
    steady = scenario.phases[PHASES[0]]
    steps = [
        Step(number, each.fault, each.on, steady + each.at, each.hold, dict(each.values))
        for number, each in enumerate(scenario.faults, start=1)
    ]
    return Plan(
        scenario=scenario.name,
        seed=seed,
        phases=dict(scenario.phases),
        steps=tuple(steps),
        probes=scenario.probes,
        invariants=tuple(each.title for each in scenario.judged),
        keeps=scenario.keeps,
    )


def from_json(text: str, source: str) -> Plan:
    """The plan of that text; `ConfigError` for what is no plan of this version."""
    try:
        told = json.loads(text)
        if told["schema"] != SCHEMA:
            raise ConfigError(source, [f"is of schema {told['schema']}, and this version reads {SCHEMA}"])
        steps = [Step(**{**each, **_tuples(each)}) for each in told.pop("steps")]
        phases = {name: float(told["phases"][name]) for name in PHASES}
        lists = {name: tuple(told[name]) for name in ("probes", "invariants")}
        lists["keeps"] = tuple(told.get("keeps", ()))  # plans of before have none
        return Plan(**{**told, **lists, "steps": tuple(steps), "phases": phases})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigError(source, [f"is no plan.json: {why}; it is written by every run"]) from error


def from_file(path: Path) -> Plan:
    """The plan in that file; `ConfigError` if it cannot be read."""
    try:
        return from_json(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [f"cannot be read: {error}"]) from error


def differences(recorded: Plan, done: Plan) -> list[str]:
    """Where a run done again differs from what was recorded: a line each.  Pure."""
    return [*_differences(recorded, done)]


def _differences(recorded: Plan, done: Plan) -> Iterator[str]:
    for name in PHASES:
        if recorded.phases[name] != done.phases[name]:
            yield f"{name}: {recorded.phases[name]:g} s -> {done.phases[name]:g} s"
    now = {each.number: each for each in done.steps}
    for then in recorded.steps:
        if (step := now.pop(then.number, None)) is None:
            yield f"{then}: not done again"
            continue
        for what, before, after in _facts(then, step):
            if before != after:
                yield f"{then}: {what} {before} -> {after}"
    yield from (f"{each}: was not recorded" for each in now.values())


def _facts(then: Step, now: Step) -> Iterator[tuple[str, str, str]]:
    yield "machines", ", ".join(then.machines) or "(none)", ", ".join(now.machines) or "(none)"
    yield "begins", f"{then.at:g} s", f"{now.at:g} s"
    yield "lasts", f"{then.hold:g} s", f"{now.hold:g} s"
    yield "fault", then.fault, now.fault
    yield "values", json.dumps(then.values, sort_keys=True), json.dumps(now.values, sort_keys=True)


def _tuples(step: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON made lists of."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in step["values"].items()}
    return {"values": values, "machines": tuple(step["machines"])}
