"""When a run proves nothing, whatever its findings say."""

from collections.abc import Iterable, Iterator, Sequence

from lab.history import History, Injection, Probed, Sample, Span, Still
from lab.invariants.answers import OfAnswers
from lab.invariants.base import Invariant, Unclear, window_of
from lab.invariants.finding import Unit, shown
from lab.invariants.paths import ENOUGH, Watched, paths, watched
from lab.invariants.terms import PHASES, STEADY, WHOLE

STEADY_SHARE = 0.999
UNDER_WAY = 1.0  # seconds before the first fault in which a question may be asked that the fault then hits
LATE_SHARE = 0.5  # of a probe's interval
QUANTILE = 0.99


def reasons(history: History, invariants: Sequence[Invariant], faults: int | None = None) -> list[str]:
    """Why the run proves nothing; empty if it does prove something.  Pure.

    ``faults`` is how many the plan had, where that is known.
    """
    return [
        *history.troubles,
        *_unfinished(history),
        *_probers(history),
        *(text for injection in history.injections for text in _injected(injection)),
        *_undone(history, faults),
        *_unsteady(history, invariants),
    ]


def vital(invariants: Iterable[Invariant]) -> tuple[str, ...]:
    """The questions that must be answered before anything is broken: those whose answers are judged."""
    return tuple(sorted({str(each.of) for each in invariants if isinstance(each, OfAnswers)}))


def lateness(history: History, probe: str) -> float:
    """By how many seconds the prober itself was late, at the 99th percentile; 0 without questions."""
    return percentile([sample.late for sample in history.samples.get(probe, ())])


def percentile(values: Sequence[float]) -> float:
    """The 99th; 0 of none."""
    late = sorted(values)
    return late[min(len(late) - 1, int(QUANTILE * len(late)))] if late else 0.0


def _unfinished(history: History) -> Iterator[str]:
    if missing := [name for name in PHASES if name not in history.phases]:
        yield f"the run ended before its phase {missing[0]} was over"
    if not any(history.samples.values()):
        yield "not one question was asked"


def _probers(history: History) -> Iterator[str]:
    """On emulated machines lateness is recorded and not judged, for they are always late."""
    for probe in history.probes.values():
        late = lateness(history, probe.name)
        if late > LATE_SHARE * probe.interval and not history.facts.get("emulated") and not probe.lost:
            yield (
                f"{probe.name}: the prober itself was {late * 1000:.0f} ms late at the 99th percentile, more"
                f" than half of its interval of {probe.interval * 1000:.0f} ms"
            )
        yield from _too_few(history, probe)


def _too_few(history: History, probe: Probed) -> Iterator[str]:
    """A vantage point that was off or frozen itself makes no run invalid."""
    if not set(PHASES) <= set(history.phases):
        return  # told once for the whole run
    try:
        seen = watched(history, probe, window_of(history, WHOLE))
    except Unclear as why:
        if not probe.lost:
            yield str(why)
        return
    if len(seen.samples) < ENOUGH * seen.planned and not probe.lost:
        share = shown(len(seen.samples) / seen.planned, Unit.SHARE)
        yield f"{probe.name}: {len(seen.samples)} of {seen.planned} planned questions were asked, {share}"


def _injected(injection: Injection) -> Iterator[str]:
    name = f"{injection.fault} of {injection.asked or ', '.join(injection.machines)}"
    if injection.trouble:
        yield f"{name}: {injection.trouble}"
    if injection.in_force is None or not injection.evidence:
        yield f"{name}: nothing proves that it bit"
    if injection.still == Still.NO:
        yield (
            f"{name}: no longer in force when its healing was to begin, {_at(injection.looked)}, proven"
            f" last {_at(injection.in_force)}: {injection.seen}"
        )
    if injection.healed is None:
        yield f"{name}: it was not healed; the lab is not fit for another run"


def _at(instant: float | None) -> str:
    return f"at {instant:.1f} s of the run" if instant is not None else "nobody knows when"


def _undone(history: History, faults: int | None) -> Iterator[str]:
    done = len(history.injections)
    if faults is not None and done < faults:
        yield f"{done} of {faults} planned faults were done"


def _unsteady(history: History, invariants: Sequence[Invariant]) -> Iterator[str]:
    """What the invariants ask must have been answered before anything was broken."""
    if STEADY not in history.phases:
        return
    for question in vital(invariants):
        for seen in _seen(history, question, history.phases[STEADY]):
            failed = [sample for sample in seen.failed if not _was_hit(sample, history.phases[STEADY])]
            share = 1 - len(failed) / len(seen.samples)
            if share < STEADY_SHARE:
                said = failed[0].said or failed[0].outcome
                yield (
                    f"{seen.probe.name}: {shown(share, Unit.SHARE)} answered in the steady phase, less than"
                    f" {shown(STEADY_SHARE, Unit.SHARE)}, before anything was broken; first: {said}"
                )


def _was_hit(sample: Sample, steady: Span) -> bool:
    """Whether it was under way when the phase ended, and so the fault began, and not for long."""
    return sample.answered > steady.end and sample.sent > steady.end - UNDER_WAY


def _seen(history: History, question: str, span: Span) -> Iterator[Watched]:
    try:
        asked = paths(history, question)
    except Unclear:
        return
    for probe in asked:
        try:
            yield watched(history, probe, span)
        except Unclear:  # too few questions is a reason of its own
            continue
