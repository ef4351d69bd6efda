"""What became of writes: how long none was acknowledged, and whether what was acknowledged is there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.history import History, Sample, Span
from lab.invariants.base import Invariant, Seen, Unclear, fact_of, injection_of, window_of
from lab.invariants.finding import Unit, Verdict
from lab.invariants.formulas import longest_gap
from lab.invariants.paths import paths, watched
from lab.invariants.terms import (
    ALL_AFTER,
    ETCD,
    ETCD_LEASE,
    ETCD_PATIENT,
    FIRST,
    NONE,
    Among,
    Count,
    Phases,
    Question,
    Seconds,
)

LEDGER, LINEARIZABLE, HASHES = "ledger", "linearizable", "hash-kv"
SOME = 5  # how many keys a text names


@dataclass(frozen=True, kw_only=True)
class WriteGap(Invariant):
    """The longest time without an acknowledged write, by whichever of the question's probes."""

    word: ClassVar[str] = "write-gap"
    unit: ClassVar[Unit] = Unit.SECONDS

    of: Question = ETCD
    at_most: Seconds
    during: Phases = ALL_AFTER
    among: Among = Among.ALL

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        asked, lost = _asked(history, self.of, self.among, span)
        acked = sorted(
            sample.acked_at for sample in asked if sample.acked and span.begin <= sample.acked_at <= span.end
        )
        gap, begin, end = longest_gap(acked, span)
        text = f"{begin:.2f} to {end:.2f} s; {len(acked)} writes acknowledged in {span.seconds:.1f} s"
        if not self.keeps(gap) and lost:
            raise Unclear(lost)
        return self.measured(gap, text, span)


@dataclass(frozen=True, kw_only=True)
class InFlight(Invariant):
    """How long writes took that were under way when a fault began.

    Of a question whose probes wait longer than etcd does, else they give up before they hear what became of
    it.  A member that is silent itself never answers, so that `among` survivors is what is mostly meant.
    `fault` is which of the scenario's faults, 1 for the first.
    """

    word: ClassVar[str] = "in-flight"
    times_answers: ClassVar[bool] = True
    unit: ClassVar[Unit] = Unit.SECONDS

    of: Question = ETCD_PATIENT
    at_most: Seconds
    among: Among = Among.ALL
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        injection = injection_of(history, self.fault)
        loss = Span(injection.begun, injection.in_force or injection.begun)
        found = [
            (sample, probe.deadline)
            for probe in paths(history, self.of, self.among)
            for sample in history.samples.get(probe.name, ())
            if sample.sent <= loss.end and sample.answered > loss.begin and sample.key
        ]
        if not found:
            raise Unclear("no write was under way when the fault began")
        slowest, deadline = max(found, key=lambda pair: pair[0].answered - pair[0].sent)
        took = slowest.answered - slowest.sent
        if not slowest.ok and self.at_most > took >= deadline:
            raise Unclear(f"{slowest.probe} gave up after {deadline:g} s, too early to know")
        text = f"the slowest of {len(found)}: {slowest.probe}, {slowest.said or slowest.outcome}"
        return self.measured(took, text, loss)


@dataclass(frozen=True, kw_only=True)
class LostWrites(Invariant):
    """Acknowledged keys that the final reading of a member does not have."""

    word: ClassVar[str] = "lost-writes"
    unit: ClassVar[Unit] = Unit.COUNT

    at_most: Count = NONE

    def look(self, history: History) -> Seen:  # noqa: D102
        ledger: Mapping[str, Any] = fact_of(history, LEDGER)
        acked = {sample.key for some in history.samples.values() for sample in some if sample.acked}
        acked.discard("")
        if not acked:
            raise Unclear("no write was acknowledged, so none can be lost")
        read = {member: frozenset(keys) for member, keys in ledger.items() if isinstance(keys, list | tuple)}
        lost = {member: sorted(acked - keys) for member, keys in read.items() if acked - keys}
        if not lost and (unread := _unread(history, ledger, read)):
            raise Unclear(unread)
        every = {key for keys in lost.values() for key in keys}
        named = "; ".join(f"{member} lacks {', '.join(keys[:SOME])}" for member, keys in lost.items())
        return self.measured(len(every), named or f"{len(acked)} acknowledged, all on {', '.join(read)}")


@dataclass(frozen=True, kw_only=True)
class Linearizable(Invariant):
    """Keys whose operations no order explains, by the checker's verdicts."""

    word: ClassVar[str] = "linearizable"
    unit: ClassVar[Unit] = Unit.COUNT

    at_most: Count = NONE

    def look(self, history: History) -> Seen:  # noqa: D102
        verdicts = dict(_verdicts(fact_of(history, LINEARIZABLE)))
        broken = [key for key, verdict in verdicts.items() if verdict == Verdict.BROKEN]
        unknown = [key for key, verdict in verdicts.items() if verdict not in (Verdict.BROKEN, Verdict.HELD)]
        text = f"of {len(verdicts)} keys {len(broken)} broken, {len(unknown)} undecided"
        named = [f"{what} {', '.join(keys[:SOME])}" for what, keys in
                 (("broken:", broken), ("undecided:", unknown)) if keys]  # fmt: skip
        found = self.measured(len(broken), "; ".join([text, *named]))
        if found.verdict is Verdict.HELD and unknown:
            return Seen(Verdict.UNKNOWN, len(broken), found.text)
        return found


@dataclass(frozen=True, kw_only=True)
class HashKv(Invariant):
    """How many members' hash of their data differs from the most frequent one, in the end."""

    word: ClassVar[str] = "hash-kv"
    unit: ClassVar[Unit] = Unit.COUNT

    at_most: Count = NONE

    def look(self, history: History) -> Seen:  # noqa: D102
        told: Mapping[str, Any] = fact_of(history, HASHES)
        known = {member: str(value) for member, value in told.items() if value is not None}
        each = list(known.values())
        odd = len(each) - max((each.count(value) for value in each), default=0)
        text = ", ".join(f"{member}: {value}" for member, value in known.items())
        if not odd and (unread := _unread(history, told, known)):
            raise Unclear(unread)
        return self.measured(odd, text)


@dataclass(frozen=True, kw_only=True)
class BrokenPromises(Invariant):
    """Leases of etcd that were gone before the time for which their renewal had been acknowledged."""

    word: ClassVar[str] = "broken-promises"
    unit: ClassVar[Unit] = Unit.COUNT

    of: Question = ETCD_LEASE
    at_most: Count = NONE
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        seen = [watched(history, probe, span) for probe in paths(history, self.of)]
        gone = [text for each in seen for text in _gone_early(history.samples[each.probe.name], span)]
        renewed = sum(sample.acked for each in seen for sample in each.samples)
        if not renewed:
            raise Unclear("no renewal was acknowledged, so nothing was promised")
        return self.measured(len(gone), "; ".join(gone[:3]) or f"{renewed} renewals were kept", span)


def _gone_early(samples: tuple[Sample, ...], span: Span) -> Iterator[str]:
    """Each time in the window that a lease was not there although it had been promised to be, also before."""
    promised = float("-inf")
    for sample in sorted(samples, key=lambda sample: sample.sent):
        value = sample.value if isinstance(sample.value, Mapping) else {}
        if value.get("found") is False and sample.answered < promised:
            if span.has(sample.scheduled):
                early = promised - sample.answered
                yield f"{sample.probe} at {sample.answered:.2f} s, {early:.2f} s too early"
            promised = float("-inf")
        elif sample.acked and "ttl" in value:
            promised = sample.sent + float(value["ttl"])


def _asked(history: History, question: str, among: Among, span: Span) -> tuple[list[Sample], str]:
    """Every question of the probes that concern the window, and why not all of them can be judged."""
    samples: list[Sample] = []
    lost = ""
    for probe in paths(history, question, among):
        try:
            seen = watched(history, probe, span)
        except Unclear as why:
            lost = str(why)
            continue
        samples += history.samples[probe.name]
        lost = lost or (f"{probe.name}: {seen.missing} questions left no record" if seen.missing > 1 else "")
    if not samples:
        raise Unclear(lost)
    return samples, lost


def _verdicts(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Verdicts by key, each a word or a mapping with one."""
    for key, each in told.items():
        yield key, str(each.get("verdict") if isinstance(each, Mapping) else each)


def _unread(history: History, told: Mapping[str, Any], read: Mapping[str, Any]) -> str:
    """Which members' final answer is missing; nothing if none is."""
    silent = sorted(set(told) - set(read))
    members = len(history.asking("raft")) or len(told)
    if silent:
        return f"{', '.join(silent)} could not be read in the end"
    return f"only {len(read)} of {members} members were read in the end" if len(read) < members else ""
