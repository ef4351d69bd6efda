"""What became of nodes, pods and the addresses behind a Service."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

from lab.history import History, Probed, Sample, Span
from lab.invariants.base import (
    Blind,
    Invariant,
    Need,
    Seen,
    Unclear,
    end_of,
    fact_of,
    injection_of,
    origin_of,
    victims_of,
    window_of,
)
from lab.invariants.finding import Unit, Verdict
from lab.invariants.paths import each_path, paths, told, watched
from lab.invariants.terms import (
    ALL_AFTER,
    FIRST,
    NEW_POD,
    NONE,
    STEADY,
    Among,
    Count,
    Phases,
    Question,
    Seconds,
    Since,
    Step,
)

NODES, PODS, ENDPOINTS, LEASES = "nodes", "pods", "endpoints", "leases"
READY = "True"
BLIND = 10.0  # seconds without an observation, from which on an observer may have missed something
PLAN = "plan"  # fact: every planned value by its path


def observed(history: History, question: str, span: Span) -> list[Sample]:
    """What all observers of that kind saw in the window, in the order in which they were answered."""
    found = [
        sample
        for probe in paths(history, question)
        for sample in history.samples.get(probe.name, ())
        if sample.ok and sample.value is not None and span.begin <= sample.answered <= span.end
    ]
    return sorted(found, key=lambda sample: sample.answered)


@dataclass(frozen=True, kw_only=True)
class UntilSeen(Invariant):
    """Seconds until an observer saw something.

    `fault` is which of the scenario's faults, 1 for the first.
    """

    unit: ClassVar[Unit] = Unit.SECONDS
    since: ClassVar[Since] = Since.FAULT

    at_most: Seconds
    fault: Count = FIRST

    def _wait(self, history: History, sees: Sequence[tuple[Sample, str]], last: float, never: str) -> Seen:
        """Held or broken by the first that was seen, or by that nothing was until the last observation."""
        origin = origin_of(injection_of(history, self.fault), self.since)
        span = Span(origin, end_of(history))
        if sees:
            sample, text = sees[0]
            return self.measured(sample.answered - origin, text, span)
        if last - origin < self.at_most:
            raise Unclear(f"{never}, but it was looked at for {max(0.0, last - origin):.1f} s only")
        return Seen(Verdict.BROKEN, None, f"{never} in {last - origin:.1f} s", span)

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, self.since, "it may take so long until that is seen")


@dataclass(frozen=True, kw_only=True)
class NodeNotReady(UntilSeen):
    """Seconds from the beginning of a fault until a victim's node was seen as not Ready."""

    word: ClassVar[str] = "node-not-ready"
    observes: ClassVar[tuple[str, ...]] = (NODES,)

    def look(self, history: History) -> Seen:  # noqa: D102
        injection = injection_of(history, self.fault)
        seen = observed(history, NODES, Span(injection.begun, end_of(history)))
        nodes = {name for sample in seen for name in sample.value} & set(injection.machines)
        if not nodes:
            raise Unclear(f"{', '.join(injection.machines)}: nobody saw a node of that name after the fault")
        gone = [
            (sample, f"{name} is {sample.value[name]}")
            for sample in seen
            for name in sorted(nodes & set(sample.value))
            if sample.value[name] != READY
        ]
        return self._wait(history, gone, seen[-1].answered, f"{', '.join(sorted(nodes))} stayed Ready")


@dataclass(frozen=True, kw_only=True)
class NodesReady(UntilSeen):
    """Seconds from when a fault's healing began until every node was Ready, and stayed so."""

    word: ClassVar[str] = "nodes-ready"
    observes: ClassVar[tuple[str, ...]] = (NODES,)
    since: ClassVar[Since] = Since.HEAL

    def look(self, history: History) -> Seen:  # noqa: D102
        origin = origin_of(injection_of(history, self.fault), self.since)
        seen = observed(history, NODES, Span(origin, end_of(history)))
        if not seen:
            raise Unclear("nobody saw the nodes after the healing")
        unready = [place for place, sample in enumerate(seen) if set(sample.value.values()) != {READY}]
        first = unready[-1] + 1 if unready else 0
        whole = [(sample, f"{len(sample.value)} nodes are Ready") for sample in seen[first:]]
        last = seen[-1].value
        never = ", ".join(f"{name} is {ready}" for name, ready in last.items() if ready != READY)
        return self._wait(history, whole, seen[-1].answered, never or "no node was there")


@dataclass(frozen=True, kw_only=True)
class EndpointDropped(UntilSeen):
    """Seconds from the beginning of a fault until an address of before was no more behind the Service."""

    word: ClassVar[str] = "endpoint-dropped"
    observes: ClassVar[tuple[str, ...]] = (ENDPOINTS,)

    def look(self, history: History) -> Seen:  # noqa: D102
        begun = injection_of(history, self.fault).begun
        before = observed(history, ENDPOINTS, Span(0.0, begun))
        after = observed(history, ENDPOINTS, Span(begun, end_of(history)))
        if not before or not after:
            raise Unclear(f"nobody saw the endpoints {'before' if not before else 'after'} the fault")
        known = set(before[-1].value)
        gone = [
            (s, f"{', '.join(sorted(known - set(s.value)))} is gone") for s in after if known - set(s.value)
        ]
        return self._wait(history, gone, after[-1].answered, f"{', '.join(sorted(known))} stayed")


@dataclass(frozen=True, kw_only=True)
class EndpointFlaps(Invariant):
    """How often an address of before left the Service although nothing was done to its machine.

    Masters renew their place there by leases of 15 s: one that a stale leader of etcd revokes is a promise
    that was broken to who had renewed it.
    """

    word: ClassVar[str] = "endpoint-flaps"
    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (ENDPOINTS,)

    at_most: Count = NONE
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        plan = fact_of(history, PLAN)
        hit = {plan.get(f"machines.{name}.address") for name in victims_of(history)}
        seen = _whole(observed(history, ENDPOINTS, span), span, "endpoints")
        left = [
            f"{address} at {now.answered:.1f} s"
            for before, now in pairwise(seen)
            for address in sorted(set(before.value) - set(now.value) - hit)
        ]
        return self.measured(len(left), "; ".join(left[:3]) or f"{', '.join(seen[0].value)} stayed", span)


@dataclass(frozen=True, kw_only=True)
class NodeFlaps(Invariant):
    """How often a node that no fault was done to stopped being Ready."""

    word: ClassVar[str] = "node-flaps"
    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (NODES,)

    at_most: Count = NONE
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        seen = _whole(observed(history, NODES, span), span, "nodes")
        victims = victims_of(history)
        flaps: list[str] = []
        ready: dict[str, bool] = {}
        for sample in seen:
            now = {name: state == READY for name, state in sample.value.items() if name not in victims}
            flaps += [
                f"{n} at {sample.answered:.1f} s" for n, is_so in now.items() if ready.get(n) and not is_so
            ]
            ready |= now
        return self.measured(len(flaps), "; ".join(flaps[:3]) or f"{', '.join(ready)} stayed Ready", span)


@dataclass(frozen=True, kw_only=True)
class Evictions(Invariant):
    """Pods that were told to go, or went, of those that were there during the whole steady phase."""

    word: ClassVar[str] = "evictions"
    unit: ClassVar[Unit] = Unit.COUNT
    observes: ClassVar[tuple[str, ...]] = (PODS,)

    at_most: Count = NONE
    during: Phases = ALL_AFTER

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        steady = observed(history, PODS, window_of(history, STEADY))
        if not steady:
            raise Unclear("nobody saw the pods during the steady phase")
        old = set.intersection(*(set(sample.value) for sample in steady))
        seen = observed(history, PODS, span)
        if not seen or span.end - seen[-1].answered > BLIND:
            raise Unclear(f"nobody saw the pods in the last {BLIND:g} s of {told(span)}")
        gone = {name for sample in seen for name in old if _is_going(sample.value.get(name))}
        return self.measured(len(gone), ", ".join(sorted(gone)[:5]) or f"all {len(old)} pods stayed", span)


@dataclass(frozen=True, kw_only=True)
class NewPod(Invariant):
    """Seconds until a new pod was bound, started or answering, of every one that was asked for.

    `step` is how far it must come.
    """

    word: ClassVar[str] = "new-pod"
    times_answers: ClassVar[bool] = True
    unit: ClassVar[Unit] = Unit.SECONDS

    of: Question = NEW_POD
    step: Step = Step.ANSWERING
    at_most: Seconds
    during: Phases = ALL_AFTER
    among: Among = Among.ALL

    def look(self, history: History) -> Seen:  # noqa: D102
        span = window_of(history, self.during)
        return self.gravest(each_path(history, self.of, self.among, lambda p: self._path(history, p, span)))

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        samples = watched(history, probe, span).samples
        place = list(Step).index(self.step)
        came = [sample for sample in samples if len(sample.phases) > place]
        stuck = [sample for sample in samples if len(sample.phases) <= place]
        if late := [sample for sample in stuck if sample.answered - sample.sent >= self.at_most]:
            first = late[0]
            text = (
                f"{first.probe} at {first.sent:.1f} s: {first.said or first.outcome}{_holder(history, first)}"
            )
            return Seen(Verdict.BROKEN, None, f"{len(late)} of {len(samples)} never; {text}", span)
        if stuck:
            raise Unclear(f"{stuck[0].probe}: {stuck[0].said or 'given up'} before the limit")
        slowest = max(came, key=lambda sample: sample.phases[place])
        return self.measured(slowest.phases[place], f"the slowest of {len(came)}: {slowest.probe}", span)


def _holder(history: History, sample: Sample) -> str:
    """Who held the scheduler's lease when a pod was not served: a fresh lease is no proof of work."""
    try:
        seen = observed(history, LEASES, Span(sample.sent, sample.answered))
    except Unclear:
        return ""
    holders = {str(each.value.get("kube-scheduler", {}).get("holder", "")) for each in seen} - {""}
    return f"; {', '.join(sorted(holders))} held the scheduler's lease meanwhile" if holders else ""


def _is_going(pod: Any) -> bool:
    """Whether a pod as observed is gone, failed, or was told to go."""
    return pod is None or pod[1] == "Failed" or (len(pod) > 3 and bool(pod[3]))


def _whole(seen: Sequence[Sample], span: Span, what: str) -> Sequence[Sample]:
    """The observations, if they leave no gap in which something may have been missed."""
    instants = [span.begin, *(sample.answered for sample in seen), span.end]
    blind = max(after - before for before, after in pairwise(instants))
    if not seen:
        raise Unclear(f"nobody saw the {what} in {told(span)}")
    if blind > BLIND:
        raise Blind(f"for {blind:.1f} s nobody saw the {what}")
    return seen
