"""What etcd's members said of terms and leaders, and whether one acknowledged what it could not promise."""

from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import ClassVar

from lab.history import History, Sample, Span
from lab.invariants.base import Blind, Invariant, Need, Seen, Unclear, end_of, injection_of, window_of
from lab.invariants.finding import Unit, Verdict
from lab.invariants.paths import paths
from lab.invariants.terms import ALL_AFTER, FIRST, NONE, Count, Phases, Seconds, Since

RAFT = "raft"
BLIND = 3.0  # seconds without a word from any member, from which on nothing is known
NOBODY = ("", "0")
QUORUM_LOST = "quorum-lost"  # the fault after which nobody may acknowledge anything


@dataclass(frozen=True, slots=True)
class Report:
    """What one member said: its term, and the leader it knows, or nobody."""

    member: str
    sample: Sample
    term: int
    leader: str

    @property
    def at(self) -> float:
        """When it had said so."""
        return self.sample.answered


def reports(history: History, span: Span) -> list[Report]:
    """What all members said in the window, in the order in which they did; `Unclear` if nobody did."""
    found = [
        Report(probe.target or probe.name, sample, int(sample.value["term"]), _leader(sample.value))
        for probe in paths(history, RAFT)
        for sample in history.samples.get(probe.name, ())
        if sample.ok and isinstance(sample.value, Mapping) and span.begin <= sample.answered <= span.end
    ]
    if not found:
        raise Unclear(f"no member told its term from {span.begin:.1f} to {span.end:.1f} s")
    return sorted(found, key=lambda report: report.at)


def _leader(value: Mapping[str, object]) -> str:
    leader = str(value.get("leader", ""))
    return "" if leader in NOBODY else leader


@dataclass(frozen=True, kw_only=True)
class ReElection(Invariant):
    """Seconds from the beginning of a fault until a member reported a new term with a leader.

    `fault` is which of the scenario's faults, 1 for the first.
    """

    word: ClassVar[str] = "re-election"
    unit: ClassVar[Unit] = Unit.SECONDS
    observes: ClassVar[tuple[str, ...]] = (RAFT,)

    at_most: Seconds
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        begun = injection_of(history, self.fault).begun
        span = Span(begun, end_of(history))
        before = _last(reports(history, Span(0.0, begun)))
        after = reports(history, span)
        new = next((report for report in after if report.term > before.term and report.leader), None)
        if new is not None:
            said = f"{new.member}: term {before.term} -> {new.term}, leader {new.leader}"
            return self.measured(new.at - begun, said, span)
        return self._none(before, after, span)

    def _none(self, before: Report, after: Sequence[Report], span: Span) -> Seen:
        if all(report.leader == before.leader for report in after) and before.leader:
            raise Unclear(f"{before.leader} led before and after, in term {before.term}: nobody was elected")
        if after[-1].at - span.begin < self.at_most:
            raise Unclear(f"no member told anything later than {after[-1].at - span.begin:.1f} s after")
        return Seen(Verdict.BROKEN, None, f"no new leader in {after[-1].at - span.begin:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, Since.FAULT, "it may take so long until there is a leader")


@dataclass(frozen=True, kw_only=True)
class Counted(Invariant):
    """Something of raft's that is counted in a window, from what was known when it began.

    Terms only rise, and nothing that is counted happens more often than they did: what there was while no
    member told anything is known by the terms after it.
    """

    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (RAFT,)

    at_most: Count
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        seen = reports(history, Span(0.0, span.end))
        earlier = [report for report in seen if report.at < span.begin]
        later = [report for report in seen if report.at >= span.begin]
        first = _last(earlier) if earlier else seen[0]
        found = self._count(first, later, span)
        blind = _longest_silence(later, span)
        if (
            found.verdict is Verdict.HELD
            and blind > BLIND
            and not self._kept_in_any_case(first, span, history)
        ):
            raise Blind(f"for {blind:.1f} s no member told anything")
        return found

    def _kept_in_any_case(self, first: Report, span: Span, history: History) -> bool:
        """Whether it is kept whatever happened in silence; of what nobody told after nothing is known."""
        every = reports(history, Span(span.begin, float("inf")))
        known = next((each.at for each in every if each.at >= span.end), every[-1].at)
        if span.end - known > BLIND:
            return False
        return self.keeps(max(each.term for each in every if each.at <= known) - first.term)

    @abstractmethod
    def _count(self, first: Report, later: Sequence[Report], span: Span) -> Seen:
        """Count since that first report."""


@dataclass(frozen=True, kw_only=True)
class LeaderChanges(Counted):
    """How many new terms had a leader: elections that were won, also by the leader of before."""

    word: ClassVar[str] = "leader-changes"

    def _count(self, first: Report, later: Sequence[Report], span: Span) -> Seen:
        led = {report.term: report.leader for report in later if report.leader and report.term > first.term}
        course = [f"{term}: {leader}" for term, leader in sorted(led.items())]
        return self.measured(len(led), f"from term {first.term} on: {', '.join(course) or 'none'}", span)


@dataclass(frozen=True, kw_only=True)
class SplitVotes(Counted):
    """How many new terms nobody was seen to lead: elections without a winner, each a second or two."""

    word: ClassVar[str] = "split-votes"

    def _count(self, first: Report, later: Sequence[Report], span: Span) -> Seen:
        led = {report.term for report in later if report.leader and report.term > first.term}
        highest = max((report.term for report in later), default=first.term)
        lost = sorted(set(range(first.term + 1, highest + 1)) - led)
        told = ", ".join(map(str, lost)) or "none"
        return self.measured(len(lost), f"of terms {first.term} to {highest} nobody led: {told}", span)


@dataclass(frozen=True, kw_only=True)
class TermChanges(Counted):
    """By how much the highest term rose: elections, also those that nobody won."""

    word: ClassVar[str] = "term-changes"

    def _count(self, first: Report, later: Sequence[Report], span: Span) -> Seen:
        highest = max((report.term for report in later), default=first.term)
        return self.measured(highest - first.term, f"term {first.term} -> {highest}", span)


@dataclass(frozen=True, kw_only=True)
class MinorityAcks(Invariant):
    """Writes acknowledged by a member that was left behind.

    Left behind is a member that, after its answer, is still in a lower term than one which another member
    had reported with a leader before the write was sent; and every member while a fault holds the majority
    down.
    """

    word: ClassVar[str] = "minority-acks"
    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (RAFT,)

    at_most: Count = NONE

    def look(self, history: History) -> Seen:  # noqa: D102
        span = Span(min(p.begin for p in history.phases.values()) if history.phases else 0.0, end_of(history))
        seen = reports(history, span)
        acked = [
            (probe.target or probe.name, sample)
            for probe in paths(history, "etcd")
            for sample in history.samples.get(probe.name, ())
            if sample.acked
        ]
        if not acked:
            raise Unclear("no member acknowledged a write: there was nothing to judge")
        terms = Terms(seen)
        wrong = [
            f"{member} at {write.answered:.2f} s: {why}"
            for member, write in acked
            if (why := _without_majority(history, write) or terms.left_behind(member, write))
        ]
        return self.measured(len(wrong), "; ".join(wrong[:3]) or f"none of {len(acked)}", span)


class Terms:
    """Who had reported which term by when."""

    def __init__(self, seen: Sequence[Report]) -> None:
        led = [report for report in seen if report.leader]
        self._instants = [report.at for report in led]
        self._newest: list[Report] = list(accumulate(led, _higher))
        self._own: dict[str, list[Report]] = {}
        for report in sorted(seen, key=lambda report: report.sample.sent):
            self._own.setdefault(report.member, []).append(report)

    def left_behind(self, member: str, write: Sample) -> str:
        """Why the member could not acknowledge the write; nothing if it could, or if that is not known."""
        own = self._own.get(member, [])
        after = bisect_left(own, write.acked_at, key=lambda report: report.sample.sent)
        known = bisect_right(self._instants, write.sent)
        if after == len(own) or known == 0:
            return ""
        term, newest = own[after].term, self._newest[known - 1]
        return f"in term {term}, when {newest.member} had told of {newest.term}" if newest.term > term else ""


def _higher(one: Report, other: Report) -> Report:
    return other if other.term > one.term else one


def _without_majority(history: History, write: Sample) -> str:
    """In force until its healing began: from then on the majority may be there at any moment."""
    held = [
        Span(each.in_force, each.heal_begun)
        for each in history.injections
        if each.fault == QUORUM_LOST and each.in_force is not None and each.heal_begun is not None
    ]
    lost = any(span.has(write.sent) and span.has(write.acked_at) for span in held)
    return "the majority was held down" if lost else ""


def _last(seen: Sequence[Report]) -> Report:
    """The report with the highest term that has a leader, the latest of those; else the latest."""
    led = [report for report in seen if report.leader]
    return max(led or seen, key=lambda report: (report.term, report.at))


def _longest_silence(later: Sequence[Report], span: Span) -> float:
    instants = [span.begin, *(report.at for report in later), span.end]
    return max(after - before for before, after in pairwise(instants))
