"""Whether faults fit into their phase, and phases are long enough for what is judged by them.  Pure."""

from collections.abc import Callable, Iterator
from itertools import combinations
from math import ceil

from lab.faults.shaping import ShapingFault
from lab.invariants.base import Invariant
from lab.invariants.finding import Unit, shown
from lab.invariants.streams import IdleCut
from lab.invariants.terms import IN_FORCE, Phases, Since
from lab.planrules import Finding
from lab.scenario.course import PHASES, Doing
from lab.scenario.rules import Draft

LEAST = 1.0  # seconds of a phase
DELAYS = ("delay",)  # faults that hold packets up


def findings(draft: Draft) -> Iterator[Finding]:
    """Everything in it that does not fit."""
    for rule in RULES:
        yield from rule(draft)


def phases(draft: Draft) -> Iterator[Finding]:
    """A phase lasts for a while."""
    for name, seconds in draft.phases.items():
        if seconds < LEAST:
            yield ("phases", name), f"{name} of phases is shorter than 1s; write for example 30s"


def in_their_phase(draft: Draft) -> Iterator[Finding]:
    """A fault begins and ends while the fault phase lasts."""
    length = draft.phases.get("fault")
    for place, doing in enumerate(draft.faults):
        if doing is None or length is None:
            continue
        end = doing.at + doing.hold
        lasts = draft.known.faults[doing.fault].lasts
        if doing.at >= length:
            where, what = "at", f"begins {_written(doing.at)} into a phase of {_written(length)}"
        elif end > length:
            where, what = "for", f"ends {_written(end)} into a fault phase of {_written(length)}"
        elif lasts and doing.hold <= 0:
            where, what = "for", "lasts for no time"
        else:
            continue
        yield (
            ("faults", place, where),
            f"{doing.fault} of {doing.on} {what}; let it end in time, or lengthen `fault` of phases",
        )


def delays(draft: Draft) -> Iterator[Finding]:
    """A delay longer than a probe's patience is a loss, and one longer than its fault does nothing."""
    for place, doing in enumerate(draft.faults):
        if doing is None or doing.fault not in DELAYS:
            continue
        for name, value in _times(draft, doing):
            path = ("faults", place, name.replace("_", "-"))
            if value >= doing.hold > 0:
                hold = _written(doing.hold)
                yield path, f"a delay of {_written(value)} is no shorter than the fault itself, {hold}"
            if reason := _impatient(draft, value):
                yield path, f"a delay of {_written(value)} {reason}; shorten it, or write loss"


def _times(draft: Draft, doing: Doing) -> Iterator[tuple[str, float]]:
    """The fault's own fields that are times."""
    hints = draft.known.hints(doing.fault)
    for name, value in doing.values.items():
        if "seconds" in getattr(hints.get(name), "__metadata__", ()):
            yield name, value


def _impatient(draft: Draft, value: float) -> str:
    """Which probe gives up before a delayed packet comes."""
    deadlines = {each: draft.known.deadline(each) for each in draft.probes}
    first = min(deadlines, key=lambda each: deadlines[each], default="")
    if not first or value < deadlines[first]:
        return ""
    return (
        f"is longer than the probe {first} waits, {_written(deadlines[first])}, so nothing is ever answered"
    )


def queues(draft: Draft) -> Iterator[Finding]:
    """A machine has one queue towards the network, and what shapes it needs it alone."""
    shaping = [
        (place, each)
        for place, each in enumerate(draft.faults)
        if each and issubclass(draft.known.faults[each.fault], ShapingFault)
    ]
    for (_, first), (place, second) in combinations(sorted(shaping, key=lambda pair: pair[1].at), 2):
        where = [draft.known.possible(each.on) or frozenset([each.on]) for each in (first, second)]
        if second.at < first.at + first.hold and where[0] & where[1]:
            yield (
                ("faults", place, "at"),
                f"{second.fault} and {first.fault} of {first.on} would share one queue; let it begin"
                f" {_written(first.at + first.hold)} into the phase, when the other one has ended",
            )


def long_enough(draft: Draft) -> Iterator[Finding]:
    """The run goes on long enough for what it is judged by."""
    for place, invariant in enumerate(draft.invariants):
        if invariant is None or set(draft.phases) != set(PHASES):
            continue
        yield from _patient(draft, invariant, ("invariants", place, "at-most"))
        path = ("invariants", place, invariant.bound)
        yield from _breakable(draft, invariant, path)
        yield from _within_patience(draft, invariant, path)
        yield from _outlived(draft, invariant, path)


def _patient(draft: Draft, invariant: Invariant, path: tuple[str | int, ...]) -> Iterator[Finding]:
    need = invariant.needs()
    number = getattr(invariant, "fault", 1)
    if need is None or not 1 <= number <= len(draft.faults):
        return
    order = sorted((each for each in draft.faults if each), key=lambda each: each.at)
    if len(order) < len(draft.faults):
        return
    doing = order[number - 1]
    spent = doing.at + (doing.hold if need.since is Since.HEAL else 0.0)
    left = draft.phases["fault"] + draft.phases["recovery"] - spent
    if left < need.seconds:
        longer = ceil(draft.phases["recovery"] + need.seconds - left)
        since = "its healing begins" if need.since is Since.HEAL else "the fault begins"
        yield (
            path,
            f"{invariant.title}: {need.why}, but the run ends {_written(left)} after {since}; lengthen"
            f" `recovery` of phases to {longer}s, or lower the limit",
        )


def _within_patience(draft: Draft, invariant: Invariant, path: tuple[str | int, ...]) -> Iterator[Finding]:
    """What a probe does not wait for it cannot judge."""
    of = getattr(invariant, "of", None)
    if not invariant.times_answers or of not in draft.known.asked:
        return
    deadline = draft.known.deadline(str(of))
    if invariant.limit > deadline:
        limit = shown(invariant.limit, invariant.unit)
        text = f"its probe gives up after {_written(deadline)}, before {limit}; lower the limit"
        yield path, f"{invariant.title}: {text}"


def _outlived(draft: Draft, invariant: Invariant, path: tuple[str | int, ...]) -> Iterator[Finding]:
    """A life that is to be longer than the run cannot be seen."""
    whole = sum(draft.phases.values())
    if isinstance(invariant, IdleCut) and invariant.limit > whole:
        limit = shown(invariant.limit, invariant.unit)
        text = f"the run ends after {_written(whole)}, before {limit}; lengthen phases, or lower the limit"
        yield path, f"{invariant.title}: {text}"


def _breakable(draft: Draft, invariant: Invariant, path: tuple[str | int, ...]) -> Iterator[Finding]:
    """A time that fits into no window can never be exceeded in it."""
    during = getattr(invariant, "during", None)
    if during is None or invariant.unit is not Unit.SECONDS or invariant.bound != "at-most":
        return
    window = _seconds(draft, during)
    if invariant.limit >= window:
        limit = shown(invariant.limit, invariant.unit)
        yield path, f"{invariant.title}: {limit} can never be exceeded in {_written(window)}; lower the limit"


def together(draft: Draft) -> Iterator[Finding]:
    """What is judged while all faults are in force needs such a time."""
    if None in draft.faults or "fault" not in draft.phases or draft.is_wrong("faults"):
        return
    for place, invariant in enumerate(draft.invariants):
        if getattr(invariant, "during", None) == IN_FORCE and not _seconds(draft, IN_FORCE):
            what = "no fault lasts" if len(draft.faults) < 2 else "its faults never last at the same time"
            yield ("invariants", place, "during"), f"{IN_FORCE} is no time in this scenario: {what}"


def _seconds(draft: Draft, during: Phases) -> float:
    """How long a window is to be."""
    if during != IN_FORCE:
        return sum(draft.phases[name] for name in during.split("+"))
    done = [each for each in draft.faults if each]
    first = max((each.at for each in done), default=0.0)
    return max(0.0, min((each.at + each.hold for each in done), default=0.0) - first)


def _written(value: float) -> str:
    """Seconds as a file has them."""
    return f"{value:g}s" if value >= 1 or not value else f"{value * 1000:g}ms"


RULES: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    phases,
    in_their_phase,
    delays,
    queues,
    long_enough,
    together,
)
