"""How long each step of an answer took: connect, TLS, first byte; before, during and after the fault.  Pure.

Of each probe and phase, for the questions that came so far, whatever became of them later: a step that a
question never took has no time, and how many took it is told beside.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from statistics import median
from typing import Any

from lab.history import History, Probed, Sample
from lab.invariants.terms import PHASES
from lab.invariants.validity import QUANTILE

# What a question's prober notes when it has it behind it; "" is no step of its own there.
HTTPS = ("connect", "TLS", "first byte")
HTTP = ("connect", "", "first byte")
STEPS: Mapping[str, tuple[str, ...]] = {
    "cluster-ip": HTTP,
    "node-port": HTTP,
    "api-kept": ("connect", "answer"),
    "dns": ("", "answer"),
    "dns-pod": ("", "answer"),
    "dns-kept": ("", "answer"),
    "new-pod": ("bound", "started", "answering"),
    "scale": ("acted",),
    "api-watch": ("acknowledged",),
}
PLACES = 6  # of seconds


def steps_of(history: History, probe: Probed) -> list[dict[str, Any]]:
    """A row for each step: its name, and by phase how many took it, their median and 99th percentile."""
    windows = {name: _taken(history, probe, name) for name in PHASES}
    longest = max((len(took) for taken in windows.values() for took in taken), default=0)
    names = STEPS.get(probe.question, HTTPS)
    return [
        {"step": name, **{window: _spread(taken, place) for window, taken in windows.items()}}
        for place, name in enumerate(_named(names, longest))
        if name
    ]


def _named(names: Sequence[str], count: int) -> Iterator[str]:
    for place, name in zip_longest(range(count), names[:count]):
        yield f"step {place + 1}" if name is None else name


def _taken(history: History, probe: Probed, phase: str) -> list[list[float]]:
    """Of each question whose beat lies in the phase the seconds of each step that it took."""
    span = history.phases.get(str(phase))
    return [_each(sample) for sample in history.within(probe.name, span)] if span else []


def _each(sample: Sample) -> list[float]:
    """A sample has seconds since it was sent."""
    return [after - before for before, after in zip((0.0, *sample.phases), sample.phases, strict=False)]


def _spread(taken: Sequence[Sequence[float]], place: int) -> dict[str, Any]:
    took = sorted(each[place] for each in taken if len(each) > place)
    if not took:
        return {"took": 0, "of": len(taken), "median": None, "p99": None}
    last = took[min(len(took) - 1, int(QUANTILE * len(took)))]
    return {
        "took": len(took),
        "of": len(taken),
        "median": round(median(took), PLACES),
        "p99": round(last, PLACES),
    }
