"""Who led among the controller-managers and the schedulers, and since when."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

from lab.history import History, Sample, Span
from lab.invariants.base import Invariant, Need, Seen, Unclear, end_of, fact_of, injection_of
from lab.invariants.finding import Unit, Verdict
from lab.invariants.paths import paths
from lab.invariants.terms import FIRST, LEASES, NONE, Count, Lease, Seconds, Since

WORD = "leases"
HOLDING = "holding"  # {lease: {machine[process]: [[from, until or null], …]}}, by the holders' own words
FREEZE, STOP = "freeze", "stop"  # faults under which a holder stands still
STAMPED = 0.1  # seconds; a line is stamped when its journal gets it, on a busy machine so much later
LOGS = "logs"  # {machine: [[seconds, line], …]}, excerpts around each fault
LOST = "leaderelection lost"


@dataclass(frozen=True, slots=True)
class Held:
    """One observation of a lease: who had it, and how often it had changed hands."""

    sample: Sample
    holder: str
    transitions: int


def observations(history: History, lease: str) -> list[Held]:
    """Every observation of the lease, in the order in which they were answered."""
    found = [
        Held(sample, str(seen.get("holder", "")), int(seen.get("transitions", 0)))
        for probe in paths(history, WORD)
        for sample in history.samples.get(probe.name, ())
        if sample.ok and isinstance(sample.value, Mapping) and (seen := sample.value.get(lease))
    ]
    if not found:
        raise Unclear(f"nobody saw the lease {lease}")
    return sorted(found, key=lambda held: held.sample.answered)


@dataclass(frozen=True, kw_only=True)
class LeaseTakeover(Invariant):
    """Seconds from the beginning of a fault until another holder was seen.

    `lease` is kube-controller-manager or kube-scheduler; `fault` is which of the scenario's faults, 1 for the
    first.
    """

    word: ClassVar[str] = "lease-takeover"
    unit: ClassVar[Unit] = Unit.SECONDS
    observes: ClassVar[tuple[str, ...]] = (WORD,)

    lease: Lease
    at_most: Seconds
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        begun = injection_of(history, self.fault).begun
        span = Span(begun, end_of(history))
        seen = observations(history, self.lease)
        before = [held for held in seen if held.sample.answered < begun and held.holder]
        after = [held for held in seen if held.sample.sent >= begun]
        if not before or not after:
            raise Unclear(f"nobody saw who held {self.lease} {'before' if not before else 'after'} the fault")
        old = before[-1].holder
        new = next((held for held in after if held.holder not in ("", old)), None)
        if new is not None:
            return self.measured(new.sample.answered - begun, f"{old} -> {new.holder}", span)
        seconds = after[-1].sample.answered - begun
        if seconds < self.at_most:
            raise Unclear(f"{old} held it for the {seconds:.1f} s that were seen")
        return Seen(Verdict.BROKEN, None, f"nobody took it from {old} in {seconds:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, Since.FAULT, "it may take so long until the lease is taken over")


@dataclass(frozen=True, kw_only=True)
class OverlappingHolders(Invariant):
    """How often two held the same lease at the same time.

    By what the holders themselves said, where the run could read it (fact `holding`), and by the lease: one
    count of transitions has one holder, and a holder of before never comes back under its old count.  A
    holder that a fault made stand still believes on and does nothing: that time is told and not counted, but
    what comes when it goes on is.
    """

    word: ClassVar[str] = "overlapping-holders"
    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (WORD,)

    at_most: Count = NONE

    def look(self, history: History) -> Seen:  # noqa: D102
        told = history.facts.get(HOLDING) or {}
        found: list[str] = []
        still: list[str] = []
        for lease in LEASES:
            found += _by_transitions(lease, observations(history, lease))
            for each in _by_their_word(history, lease, told.get(lease) or {}):
                (found if each.counts else still).append(str(each))
        text = "; ".join([*found[:3], *still[:3]])
        return self.measured(len(found), text or f"one holder at a time of {', '.join(LEASES)}")


@dataclass(frozen=True, kw_only=True)
class ExitOfOldHolder(Invariant):
    """Seconds from the beginning of a fault until the holder of before stopped acting as one.

    By what holders said of themselves (fact `holding`), else by the line in the log with which it ends.
    `lease` is kube-controller-manager or kube-scheduler; `fault` is which of the scenario's faults, 1 for the
    first.
    """

    word: ClassVar[str] = "exit-of-old-holder"
    unit: ClassVar[Unit] = Unit.SECONDS

    lease: Lease
    at_most: Seconds
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        begun = injection_of(history, self.fault).begun
        span = Span(begun, end_of(history))
        told: Mapping[str, Any] = (history.facts.get(HOLDING) or {}).get(self.lease) or {}
        held = [(who, until) for who, begin, until in _terms(told) if begin <= begun and _after(until, begun)]
        if not held:
            return self._by_log(history, span)
        who, until = held[0]
        if until is not None:
            return self.measured(until - begun, f"{who} stopped", span)
        if span.seconds < self.at_most:
            raise Unclear(f"{who} went on for the {span.seconds:.1f} s that were seen")
        return Seen(Verdict.BROKEN, None, f"{who} never stopped in {span.seconds:.1f} s", span)

    def _by_log(self, history: History, span: Span) -> Seen:
        """By the line with which it ends itself; excerpts of logs are no proof that there was none."""
        before = [held for held in observations(history, self.lease) if held.sample.answered < span.begin]
        if not before:
            raise Unclear(f"nobody saw who held {self.lease} before the fault")
        old = before[-1].holder
        machine = old.rpartition("_")[0] or old
        said = [
            float(at)
            for at, line in fact_of(history, LOGS).get(machine) or ()
            if float(at) >= span.begin and self.lease in line and LOST in line.lower()
        ]
        if not said:
            raise Unclear(
                f"{old} held it, and in what was kept of {machine}'s log it does not say that it stops"
            )
        return self.measured(min(said) - span.begin, f"{old} said that it stops", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, Since.FAULT, "it may take so long until the old holder stops")


def _by_transitions(lease: str, seen: Sequence[Held]) -> Iterator[str]:
    holders: dict[int, set[str]] = {}
    for held in seen:
        holders.setdefault(held.transitions, set()).add(held.holder)
    for count, several in holders.items():
        if len(several - {""}) > 1:
            yield f"{lease}: {', '.join(sorted(several - {''}))} in its term {count}"


@dataclass(frozen=True, slots=True)
class Overlap:
    """Two who said at one time that they led; in `acting` of the seconds no fault made either stand still."""

    lease: str
    names: tuple[str, str]
    seconds: float
    acting: float

    @property
    def counts(self) -> bool:
        """Whether it was longer than the stamps of two journals may be wrong by."""
        return self.acting > STAMPED

    def __str__(self) -> str:
        still = round(self.seconds - self.acting, 2)
        told = f", in {still:.2f} s of which one stood still" if still else ""
        return f"{self.lease}: {' and '.join(self.names)} for {self.seconds:.2f} s{told}"


def _by_their_word(history: History, lease: str, told: Mapping[str, Any]) -> Iterator[Overlap]:
    """Within the run, whose clock begins at nought: of what others broke before it, journals tell as well."""
    last = end_of(history)
    terms = [(who, Span(begin, last if until is None else until)) for who, begin, until in _terms(told)]
    for (one, first), (other, second) in combinations(terms, 2):
        both = Span(max(first.begin, second.begin, 0.0), min(first.end, second.end))
        if one != other and both.seconds > 0:
            still = [*_standing(history, lease, one), *_standing(history, lease, other)]
            yield Overlap(lease, (one, other), both.seconds, _without(both, still))


def _standing(history: History, lease: str, who: str) -> Iterator[Span]:
    """When a fault made the holder stand still: all of its machine, or its program.

    Until the command that lets it go on has ended, for within it nobody knows since when it does.
    """
    for each in history.injections:
        halts = each.fault == FREEZE or (each.fault == STOP and each.unit == lease)
        if halts and who.partition("[")[0] in each.machines and each.in_force is not None:
            went_on = each.heal_begun if each.undone is None else each.undone
            yield Span(each.in_force, end_of(history) if went_on is None else went_on)


def _without(whole: Span, parts: Iterable[Span]) -> float:
    """Seconds of the span that lie in none of the parts."""
    left, at = 0.0, whole.begin
    for part in sorted(parts, key=lambda part: part.begin):
        left += max(0.0, min(part.begin, whole.end) - at)
        at = max(at, part.end)
    return left + max(0.0, whole.end - at)


def _terms(told: Mapping[str, Any]) -> list[tuple[str, float, float | None]]:
    """Who said to hold it, from when until when."""
    return [(who, float(begin), until) for who, spans in told.items() for begin, until in spans]


def _after(until: float | None, instant: float) -> bool:
    return until is None or until > instant
