"""What every invariant is: typed words, a limit, and a pure judgement over a history."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.history import History, Injection, Span
from lab.invariants.finding import Finding, Unit, Verdict, worst
from lab.invariants.terms import IN_FORCE, Phases, Since

NEAR = 1e-9  # what arithmetic with fractions may be wrong by


class Unclear(Exception):
    """The history does not carry the judgement; the text says why."""


class Blind(Unclear):
    """Nobody looked for so long that something may have been missed, which is a limit of time as well."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found in the history, before it is called a finding.

    ``timed`` says that the verdict turns on a limit of time, whatever the unit of its number.
    """

    verdict: Verdict
    value: float | None
    text: str = ""
    window: Span | None = None
    timed: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """How long a run must go on to be judged: seconds since a fault or its healing began, and why."""

    seconds: float
    since: Since
    why: str


@dataclass(frozen=True, kw_only=True)
class Invariant(ABC):
    """Subclasses are frozen dataclasses; their fields are the words of a scenario file.

    Exactly one of the fields `at_most` and `at_least` is the limit.
    """

    word: ClassVar[str]
    unit: ClassVar[Unit]
    observes: ClassVar[tuple[str, ...]] = ()  # questions it needs besides the one it names
    times_answers: ClassVar[bool] = False  # whether the limit is of single answers, which a probe cuts off

    @abstractmethod
    def look(self, history: History) -> Seen:
        """Judge.  Pure; raises `Unclear` where the history does not carry it."""

    def needs(self) -> Need | None:
        """How long the phases must be at least, if a limit asks for that."""
        return None

    def judge(self, history: History) -> Finding:
        """The finding; limits of time are not judged where machines are emulated.  Pure."""
        try:
            seen = self.look(history)
        except Unclear as why:
            seen = Seen(Verdict.UNKNOWN, None, str(why), timed=isinstance(why, Blind))
        found = Finding(
            invariant=self.title,
            verdict=seen.verdict,
            value=seen.value,
            limit=self.limit,
            unit=self.unit,
            window=seen.window,
            text=seen.text,
            bound=self.bound,
        )
        timed = seen.timed or (self.unit is Unit.SECONDS and seen.verdict is not Verdict.UNKNOWN)
        return found.unjudged() if timed and history.facts.get("emulated") else found

    @property
    def title(self) -> str:
        """The word with what it is about, as `expect` and reports name it."""
        about = {name: getattr(self, name, None) for name in _TITLE}
        parts = [f" {link}{value}" for name, link in _TITLE.items() if (value := about[name])]
        return self.word + "".join(p for p in parts if p not in (*_UNSAID, f" of {self.word}"))

    @property
    def bound(self) -> str:
        """`at-most` or `at-least`."""
        return "at-most" if hasattr(self, "at_most") else "at-least"

    @property
    def limit(self) -> float:
        """The number on which it turns, in its unit."""
        return float(getattr(self, self.bound.replace("-", "_")))

    def keeps(self, value: float) -> bool:
        """Whether the value is on the right side of the limit."""
        return value <= self.limit + NEAR if self.bound == "at-most" else value >= self.limit - NEAR

    def measured(self, value: float, text: str = "", window: Span | None = None) -> Seen:
        """Held or broken by this value."""
        return Seen(Verdict.HELD if self.keeps(value) else Verdict.BROKEN, value, text, window)

    def gravest(self, several: Iterable[Seen]) -> Seen:
        """Of the same thing seen on several paths what counts for all: broken beats unknown beats held.

        Of those that are broken one counts first that is so whatever a question's deadline was.
        """
        each = list(several)
        verdict = worst(one.verdict for one in each)
        side = 1 if self.bound == "at-most" else -1
        among = [one for one in each if one.verdict is verdict]
        among = [one for one in among if not one.timed] or among
        return max(among, key=lambda one: side * one.value if one.value is not None else float("inf"))


# The fields that a title names, with what stands before them, and what goes without saying.
_TITLE = {"of": "of ", "lease": "of ", "step": "until ", "kept": "of ", "paths": "", "among": "among ",
          "since": "since ", "during": "during "}  # fmt: skip
_UNSAID = (" worst", " among all")


def window_of(history: History, during: Phases) -> Span:
    """The phases' span; `Unclear` if the run has not all of them."""
    if during == IN_FORCE:
        return _in_force(history)
    names = during.split("+")
    missing = [name for name in names if name not in history.phases]
    if missing:
        raise Unclear(f"the run has no phase {', '.join(missing)}: it ended before")
    return history.window(names[0], names[-1])


def _in_force(history: History) -> Span:
    """While all faults of the run were in force together; `Unclear` if they never were."""
    done = [injection_of(history, number) for number in range(1, len(history.injections) + 1)]
    begins = [each.in_force for each in done if each.in_force is not None]
    ends = [origin_of(each, Since.HEAL) for each in done]
    if not done or max(begins) >= min(ends):
        raise Unclear(f"the run's {len(done)} faults were never in force together")
    return Span(max(begins), min(ends))


def end_of(history: History) -> float:
    """When the last phase ended."""
    if not history.phases:
        raise Unclear("the run has no phases: it ended before the first")
    return max(span.end for span in history.phases.values())


def injection_of(history: History, number: int) -> Injection:
    """The run's first fault is 1.  `Unclear` if it was not done, or did not bite."""
    done = sorted(history.injections, key=lambda each: (each.begun, each.number))
    if not 1 <= number <= len(done):
        raise Unclear(f"the run has {len(done)} faults, and this asks for number {number}")
    found = done[number - 1]
    if found.in_force is None:
        raise Unclear(f"nothing proves that {found.fault} of {found.asked} bit")
    return found


def origin_of(injection: Injection, since: Since) -> float:
    """From when time counts; the earlier of two instants, so that no outage looks shorter than it was."""
    if since is Since.FAULT:
        return injection.begun
    if injection.heal_begun is None:
        raise Unclear(f"{injection.fault} of {injection.asked} was not healed")
    return injection.heal_begun


def victims_of(history: History) -> frozenset[str]:
    """Every machine that a fault of the run was done to."""
    return frozenset(name for each in history.injections for name in each.machines)


def fact_of(history: History, name: str) -> Any:
    """What was asked once; `Unclear` if it was not, or if the answer is empty."""
    if not (found := history.facts.get(name)):
        raise Unclear(f"the run has no fact '{name}': it was not asked, or nobody answered")
    return found
