"""The lanes of the timeline that every run has: its phases, its faults, its probes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.history import History, Injection, Probed, Still
from lab.report.runs import Run, Texts, coded, runs_of

# How a word is drawn.  Anything else is a name, and has the colour of that name in all lanes.
OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
PART, CALM = "part", "calm"  # not whole; nothing to say
EVEN, ODD = "even", "odd"  # what only has to differ from its neighbours
SILENT = "silent"  # an observer was not answered
INJECTING, FORCE, HEALING = "injecting", "force", "healing"
TONES = {word: word for word in (OK, FAILED, UNKNOWN)}
STAGES = {"being injected": INJECTING, "in force": FORCE, "being healed": HEALING}


@dataclass(frozen=True, slots=True)
class Lane:
    """One line of the timeline.  `tones` says how a word is drawn; `note` stands beside it, `empty` in it."""

    name: str
    runs: Sequence[Run]
    tones: dict[str, str] = field(default_factory=dict)
    note: str = ""
    empty: str = ""

    def coded(self, texts: Texts) -> dict[str, Any]:
        """As the page's program reads it."""
        words = list(dict.fromkeys(run.word for run in self.runs))
        return {
            "name": self.name,
            "note": self.note,
            "empty": "" if self.runs else self.empty or "no data",
            "words": words,
            "tones": [self.tones.get(word, f"={word}") for word in words],
            "runs": coded(self.runs, words, texts),
        }


@dataclass(frozen=True, slots=True)
class Section:
    """Lanes that belong together; `empty` says why there are none."""

    title: str
    lanes: Sequence[Lane]
    empty: str = ""
    about: str = ""


def phases(history: History) -> Section:
    """One lane with all phases."""
    runs = [Run(span.begin, span.end, name) for name, span in history.phases.items()]
    tones = {run.word: CALM for run in runs}
    return Section("Phases", [Lane("phases", runs, tones, empty="no data: the run ended before")])


def faults(history: History) -> Section:
    """A lane for each fault, from the moment it was begun until it was healed."""
    end = end_of(history)
    lanes = [
        Lane(_title(each), list(_stages(each, end)), STAGES, _troubles(each)) for each in history.injections
    ]
    return Section("Faults", lanes, "no fault was done in this run", "hatched while being injected or healed")


def _title(injection: Injection) -> str:
    machines = ", ".join(injection.machines)
    asked = injection.asked if injection.asked and injection.asked != machines else ""
    where = f"{asked} = {machines}" if asked and machines else machines or asked or "nobody"
    return f"{injection.fault} on {where}"


def _troubles(injection: Injection) -> str:
    never = "nothing proves that it bit" if injection.in_force is None else ""
    gone = "gone before its healing" if injection.still == Still.NO else ""
    unhealed = "not healed" if injection.healed is None else ""
    return "; ".join(each for each in (injection.trouble, never, gone, unhealed) if each)


def _stages(injection: Injection, end: float) -> Iterator[Run]:
    """What is missing lasts until the next that is known, or until the run's end."""
    healed = end if injection.healed is None else injection.healed
    heal = healed if injection.heal_begun is None else injection.heal_begun
    force = heal if injection.in_force is None else injection.in_force
    for word, begin, until in zip(STAGES, (injection.begun, force, heal), (force, heal, healed), strict=True):
        if until > begin:
            yield Run(begin, until, word, said=injection.evidence if word == "in force" else "")


def probes(history: History, observers: set[str]) -> Section:
    """A lane for each probe that asks what users ask."""
    lanes = [asked(history, each) for each in history.probes.values() if each.question not in observers]
    return Section("Probes", lanes, "no data: nobody was asked anything", "each from its first beat on")


def asked(history: History, probe: Probed) -> Lane:
    """How its questions ended."""
    runs = runs_of(history.samples.get(probe.name, ()), probe.interval)
    return Lane(probe.name, runs, TONES, note=away(probe), empty="no data: not one question was asked")


def away(probe: Probed) -> str:
    """Why its vantage point was away for a while."""
    return f"vantage lost: {probe.lost}" if probe.lost else ""


def end_of(history: History) -> float:
    """The last instant that anything is known of, in seconds."""
    instants = [span.end for span in history.phases.values()]
    instants += [some[-1].scheduled for some in history.samples.values() if some]
    instants += [t for i in history.injections for t in (i.begun, i.in_force, i.heal_begun, i.healed) if t]
    return max(instants, default=0.0)


def begin_of(history: History) -> float:
    """The first instant that anything is known of, in seconds."""
    instants = [span.begin for span in history.phases.values()]
    instants += [some[0].scheduled for some in history.samples.values() if some]
    instants += [each.begun for each in history.injections]
    return min(instants, default=0.0)
