"""All that the page draws, small: runs of equal answers, and how long every answer took."""

from itertools import groupby
from typing import Any

from lab.history import History
from lab.report.lanes import begin_of, end_of, faults, phases, probes
from lab.report.observed import SECTIONS
from lab.report.plain import plain
from lab.report.runs import TICK, Texts, stepped, ticks

Picture = dict[str, Any]


def picture_of(history: History) -> Picture:
    """The timeline's sections with their lanes, and the latencies of each probe.  Pure."""
    texts = Texts()
    begin, end = begin_of(history), end_of(history)
    drawn = [phases(history), faults(history), probes(history, set(SECTIONS))]
    drawn += [make(history) for make in SECTIONS.values()]
    picture: Picture = {
        "tick": TICK,
        "span": [begin, end if end > begin else begin + 1],
        "marks": [[each.begun, end if each.healed is None else each.healed] for each in history.injections],
        "phases": [[span.begin, span.end] for span in history.phases.values()],
        "sections": [
            {
                "title": each.title,
                "about": each.about,
                "empty": "" if each.lanes else each.empty,
                "lanes": [lane.coded(texts) for lane in each.lanes],
            }
            for each in drawn
        ],
        "latency": [_latency(history, name) for name in history.probes if history.samples.get(name)],
    }
    found: Picture = plain({**picture, "texts": texts.all})
    return found


def _latency(history: History, name: str) -> dict[str, Any]:
    """`outcomes` are pairs: a word's number, and how many questions in a row ended so."""
    probe, samples = history.probes[name], history.samples[name]
    known = list(dict.fromkeys(sample.outcome.value for sample in samples))
    equal = groupby(known.index(sample.outcome.value) for sample in samples)
    return {
        "name": name,
        "deadline": probe.deadline,
        "words": known,
        "beats": stepped([sample.scheduled for sample in samples]),
        "took": [ticks(sample.answered - sample.sent) for sample in samples],
        "outcomes": [number for word, some in equal for number in (word, len(list(some)))],
    }
