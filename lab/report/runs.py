"""Run-length coding: equal answers one after the other as one, so that long runs stay small and fast to draw.

Times are counted in ticks of 0.1 ms, which is as exact as records are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from lab.history import Outcome, Sample

TICK = 1e-4  # seconds
HOLE = 1.5  # beats without a record, from which on something is missing


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive questions with one answer; `said` is what the first of them said.

    It begins with its first beat and ends one interval after its last, or with the beat that follows.
    """

    begin: float
    end: float
    word: str
    count: int = 1
    said: str = ""


Wording = Callable[[Sample], str]


def answers(sample: Sample) -> str:
    """ok, failed or unknown."""
    return sample.outcome.value


def seen(value: Callable[[Sample], str]) -> Wording:
    """What an observer saw, or that it was told nothing."""
    return lambda sample: value(sample) if sample.outcome is Outcome.OK else sample.outcome.value


def runs_of(samples: Sequence[Sample], interval: float, word: Wording = answers) -> list[Run]:
    """The samples as runs, by beat; where beats left no record a run ends, and a gap is left.  Pure."""
    pieces = groupby(_numbered(samples, interval, word), key=lambda piece: piece[:2])
    found = [_run([sample for *_, sample in piece], name, interval) for (_, name), piece in pieces]
    return [_cut(one, after) for one, after in pairwise([*found, None]) if one is not None]


def _numbered(samples: Sequence[Sample], interval: float, word: Wording) -> Iterator[tuple[int, str, Sample]]:
    """Each sample with its word, and the number of holes before it."""
    holes, last = 0, None
    for sample in samples:
        holes += last is not None and sample.scheduled - last > HOLE * interval
        last = sample.scheduled
        yield holes, word(sample), sample


def _run(some: list[Sample], word: str, interval: float) -> Run:
    return Run(some[0].scheduled, some[-1].scheduled + interval, word, len(some), some[0].said)


def _cut(one: Run | None, after: Run | None) -> Run:
    assert one is not None
    end = one.end if after is None else min(one.end, after.begin)
    return Run(one.begin, end, one.word, one.count, one.said)


def ticks(seconds: float) -> int:
    """The instant in ticks."""
    return round(seconds / TICK)


def coded(runs: Sequence[Run], words: Sequence[str], texts: "Texts") -> list[int]:
    """Five numbers for each run: ticks since the last one ended, its ticks, word, count, text (or -1)."""
    code = {word: number for number, word in enumerate(words)}
    found: list[int] = []
    at = 0
    for run in runs:
        begin, end = ticks(run.begin), ticks(run.end)
        found += (begin - at, end - begin, code[run.word], run.count, texts.number(run.said))
        at = end
    return found


def stepped(instants: Sequence[float]) -> list[int]:
    """Instants that are mostly one interval apart: the first, then (how many, ticks from one to the next)."""
    these = [ticks(instant) for instant in instants]
    steps = [after - before for before, after in pairwise(these)]
    pairs = [(len(list(equal)), step) for step, equal in groupby(steps)]
    return [*these[:1], *(number for pair in pairs for number in pair)]


class Texts:
    """What was said, each text once; of very many different ones only the first are kept."""

    MOST = 500
    OTHER = "(one of very many different texts; see the records)"

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The text's place in the list, -1 if it is empty."""
        if not text:
            return -1
        if text not in self._numbers and len(self._numbers) >= self.MOST:
            text = self.OTHER
        return self._numbers.setdefault(text, len(self._numbers))

    @property
    def all(self) -> list[str]:
        """All of them, by number."""
        return list(self._numbers)
