"""A course at random: the faults of known scenarios, one after the other, chosen by a seed.  Pure."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from lab.errors import ConfigError
from lab.invariants.answers import Availability
from lab.invariants.since import Recovery
from lab.invariants.terms import ALL_AFTER, IN_FORCE, Among, Question, Share, Since
from lab.scenario.course import FAULT, RECOVERY, STEADY, Doing
from lab.scenario.known import Known
from lab.scenario.loading import Scenario
from lab.scenario.plan import stream

API = Question("api")
GAP = 60.0  # seconds between the end of one fault and the beginning of the next
FIRST, LAST = 30.0, 60.0  # seconds of the steady phase and of recovery
BACK = 30.0  # seconds until the API is back after a healing, where a scenario does not say
SOON = 1.0  # seconds after the beginning of the fault phase


def composed(
    pool: Sequence[Scenario], known: Known, *, seed: str, seconds: float, gap: float = GAP
) -> Scenario:
    """A scenario of so many seconds, made of the pool's faults in an order and at moments by the seed.

    One at a time, with at least ``gap`` seconds between two.  What destroys data is left out.  It is judged
    by what must always hold, and by the availability that the scenarios it is made of allow together.
    Raises `ConfigError` if not even one of the pool's faults fits.
    """
    choose = stream(seed, "random", "faults")
    usable = [each for each in pool if each.faults and not each.destroys_data and _are_apart(each, gap)]
    room = seconds - FIRST - LAST
    doings: list[Doing] = []
    lost, at = 0.0, SOON
    while fitting := [each for each in usable if at + _hold(each) <= room]:
        chosen = choose.choice(sorted(fitting, key=lambda each: each.name))
        first = min(doing.at for doing in chosen.faults)
        doings += [replace(doing, at=round(at + doing.at - first, 3)) for doing in chosen.faults]
        lost += allowed_loss(chosen)
        at += _hold(chosen) + gap + choose.uniform(0, gap)
    if not doings:
        raise ConfigError(
            "the choice of options",
            [f"{seconds:g}s are too short for any fault of {len(usable)} scenarios; write for example 1h"],
        )
    return _scenario(doings, known, seed, seconds, lost)


def allowed_loss(scenario: Scenario) -> float:
    """Seconds without the API that its own limits allow.

    Where it limits no availability: all of its faults, and the time that it gives the API to come back.
    """
    for each in scenario.invariants:
        if isinstance(each, Availability) and each.of == API and each.among is Among.ALL:
            during = each.during.split("+") if each.during != IN_FORCE else [FAULT]
            window = sum(scenario.phases[name] for name in during)
            return (1 - each.at_least) * window
    back = [
        each.at_most
        for each in scenario.invariants
        if isinstance(each, Recovery) and each.of == API and each.since is Since.HEAL
    ]
    return _hold(scenario) + max(back, default=BACK)


def _are_apart(scenario: Scenario, gap: float) -> bool:
    """Whether its own faults are one at a time, too."""
    order = sorted(scenario.faults, key=lambda each: each.at)
    return all(after.at >= before.at + before.hold + gap for before, after in pairwise(order))


def _hold(scenario: Scenario) -> float:
    """From its first fault to the end of its last."""
    first = min(doing.at for doing in scenario.faults)
    return max(doing.at + doing.hold for doing in scenario.faults) - first


def _scenario(doings: list[Doing], known: Known, seed: str, seconds: float, lost: float) -> Scenario:
    """With the longest fault phase that the time allows; the budget is of what comes after the steady one."""
    phases = {STEADY: FIRST, FAULT: seconds - FIRST - LAST, RECOVERY: LAST}
    least = max(0.0, 1 - lost / (seconds - FIRST))
    words = [f"{doing.fault} of {doing.on}" for doing in doings]
    count = f"{len(doings)} faults" if len(doings) != 1 else "1 fault"
    return Scenario(
        name=f"random-{seed}",
        about=f"{count} at random, one at a time: {', '.join(words)}.",
        phases=phases,
        faults=tuple(doings),
        probes=known.usual,
        invariants=(Availability(of=API, at_least=Share(least), during=ALL_AFTER),),
        origin=f"seed {seed}",
    )
