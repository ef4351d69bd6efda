"""Which questions a judgement looks at: the probes of a word, and what each of them recorded in a window."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from lab.history import History, Probed, Sample, Span
from lab.invariants.base import Seen, Unclear, victims_of
from lab.invariants.finding import Verdict
from lab.invariants.terms import Among

ENOUGH = 0.95  # of the planned questions, below which a vantage point counts as away
_SLACK = 1e-3  # of a beat: what arithmetic with fractions may be wrong by


@dataclass(frozen=True, slots=True)
class Watched:
    """What one probe recorded in a window, by beat.  `holes` are the beats that left no record."""

    probe: Probed
    span: Span
    samples: tuple[Sample, ...]
    holes: tuple[float, ...] = ()

    @property
    def missing(self) -> int:
        """How many questions were planned and left no record."""
        return len(self.holes)

    @property
    def planned(self) -> int:
        """How many questions there should be."""
        return len(self.samples) + self.missing

    @property
    def failed(self) -> list[Sample]:
        """Those that were not answered as they should be, unknown ones among them."""
        return [sample for sample in self.samples if not sample.ok]


def holes_in(samples: Sequence[Sample], span: Span, step: float) -> tuple[float, ...]:
    """The beats of a grid with this step that lie in the span and left no record.  Pure."""
    if not samples or step <= 0:
        return ()
    beats = [sample.scheduled for sample in samples]
    before = int((beats[0] - span.begin) / step + _SLACK)
    after = int((span.end - beats[-1]) / step - _SLACK)
    between = ((beat, round((later - beat) / step) - 1) for beat, later in pairwise(beats))
    return (
        *(beats[0] - number * step for number in range(before, 0, -1)),
        *(beat + number * step for beat, count in between for number in range(1, count + 1)),
        *(beats[-1] + number * step for number in range(1, after + 1)),
    )


def paths(history: History, question: str, among: Among = Among.ALL) -> list[Probed]:
    """The probes with that question, as far as they are wanted; `Unclear` if there are none."""
    asked = history.asking(question)
    victims = victims_of(history)
    if among is not Among.ALL:
        hit = among is Among.VICTIMS
        asked = [probe for probe in asked if bool({probe.at, probe.target} & victims) is hit]
    if not asked:
        which = "" if among is Among.ALL else f" among {among}"
        raise Unclear(f"nobody asked {question}{which}")
    return asked


def watched(history: History, probe: Probed, span: Span) -> Watched:
    """What that probe saw in the window; `Unclear` if it saw nothing, or its vantage point was away.

    One that was begun anew after its machine was off is looked at from then on.
    """
    if probe.again and probe.began > span.begin:
        span = Span(min(probe.began, span.end), span.end)
    samples = tuple(history.within(probe.name, span))
    seen = Watched(probe, span, samples, holes_in(samples, span, probe.interval))
    if probe.lost and len(samples) <= ENOUGH * seen.planned:
        raise Unclear(f"{probe.name}: its vantage point was away: {probe.lost}")
    if not samples:
        raise Unclear(f"{probe.name}: not one question was asked in {told(span)}")
    return seen


def each_path(
    history: History, question: str, among: Among, look: Callable[[Probed], Seen]
) -> Iterator[Seen]:
    """The judgement of each path by itself; unknown where it cannot be told."""
    yield from each_of(paths(history, question, among), look)


def begun_anew(history: History, probe: Probed) -> bool:
    """Whether it was away, and another one asks the same from there since."""
    same = [each for each in history.asking(probe.question) if each.again and each.at == probe.at]
    return bool(probe.lost) and any(each.target == probe.target for each in same)


def each_of(probes: Iterable[Probed], look: Callable[[Probed], Seen]) -> Iterator[Seen]:
    """The same of these probes."""
    for probe in probes:
        try:
            yield look(probe)
        except Unclear as why:
            yield Seen(Verdict.UNKNOWN, None, str(why))


def told(span: Span) -> str:
    """A window in words."""
    return f"the {span.seconds:.1f} s from {span.begin:.1f} s on"
