"""The same run as seen by a slower probe: what others measure once a second, we can compute."""

from dataclasses import dataclass, replace
from typing import ClassVar

from lab.history import History, Probed, Sample, Span
from lab.invariants.answers import OfAnswers
from lab.invariants.base import NEAR, Seen, Unclear
from lab.invariants.finding import Unit
from lab.invariants.formulas import longest_block
from lab.invariants.paths import watched
from lab.invariants.terms import FIRST, Count, Seconds


def resampled(history: History, probe: str, hz: float) -> History:
    """The history as if that probe had asked only ``hz`` times a second.  Pure.

    Of every beat of the slower grid, which begins with the first question, the question next to it is kept.
    `KeyError` for a probe that is not there, `ValueError` for a rate that is not slower than its own.
    """
    asked = history.probes[probe]
    step = 1 / hz
    if step < asked.interval - NEAR:
        raise ValueError(f"{probe} asked {1 / asked.interval:g} times a second, which is slower than {hz:g}")
    kept = _on_grid(history.samples.get(probe, ()), step, asked.interval)
    return replace(
        history,
        probes={**history.probes, probe: replace(asked, interval=step)},
        samples={**history.samples, probe: kept},
    )


def _on_grid(samples: tuple[Sample, ...], step: float, interval: float) -> tuple[Sample, ...]:
    kept: dict[int, Sample] = {}
    for sample in samples:
        beat = round((sample.scheduled - samples[0].scheduled) / step)
        off = abs(sample.scheduled - samples[0].scheduled - beat * step)
        if off <= interval / 2 + NEAR:
            kept.setdefault(beat, sample)
    return tuple(kept.values())


@dataclass(frozen=True, kw_only=True)
class Resample(OfAnswers):
    """By how much the longest run of failures differs when it is asked for `hz` times a second only.

    More than one beat of the slower probe, and the probe or the formula is wrong.
    """

    word: ClassVar[str] = "resample"
    unit: ClassVar[Unit] = Unit.SECONDS

    at_most: Seconds
    hz: Count = FIRST

    def _path(self, history: History, probe: Probed, span: Span) -> Seen:
        fine = longest_block(watched(history, probe, span))
        try:
            slower = resampled(history, probe.name, self.hz)
        except (ValueError, ZeroDivisionError) as why:
            raise Unclear(str(why)) from why
        coarse = longest_block(watched(slower, slower.probes[probe.name], span))
        text = f"{probe.name}: {fine:.2f} s, and {coarse:.2f} s at {self.hz} Hz"
        return self.measured(abs(fine - coarse), text, span)
