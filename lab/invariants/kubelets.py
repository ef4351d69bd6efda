"""Why a kubelet stays away, by its own word: a node that is not Ready does not say."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lab.history import History, Span
from lab.invariants.base import Invariant, Need, Seen, Unclear, end_of, fact_of, injection_of
from lab.invariants.finding import Unit
from lab.invariants.terms import FIRST, Count, Seconds, Since

LOGS = "logs"
Line = tuple[float, str]
_ENDED = re.compile(r"client certificate in \S+ is expired: ([^\"]+)")
_REFUSED = re.compile(r"certificate signing request: .*unauthorized", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class LockedOut(Invariant):
    """Seconds from the beginning of a fault until a victim's kubelet said both why it cannot come back.

    That its client certificate has ended, and that its bootstrap token is refused; by its log, of which a run
    keeps excerpts.  What is in none of them is unknown.  `fault` is which of the scenario's faults, 1 for the
    first.
    """

    word: ClassVar[str] = "locked-out"
    unit: ClassVar[Unit] = Unit.SECONDS

    at_most: Seconds
    fault: Count = FIRST

    def look(self, history: History) -> Seen:  # noqa: D102
        injection = injection_of(history, self.fault)
        span = Span(injection.begun, end_of(history))
        logs: dict[str, Any] = fact_of(history, LOGS)
        told = {name: _after(logs.get(name) or (), span.begin) for name in injection.machines}
        for name, lines in told.items():
            ended, refused = _first(lines, _ENDED), _first(lines, _REFUSED)
            if ended and refused:
                at, when = max(ended[0], refused[0]), _ENDED.search(ended[1])
                text = f"{name}: client certificate ended at {when[1].strip() if when else '?'}"
                return self.measured(at - span.begin, f"{text}, bootstrap token refused", span)
        raise Unclear("; ".join(_missing(name, lines) for name, lines in told.items()))

    def needs(self) -> Need:  # noqa: D102
        return Need(self.at_most, Since.FAULT, "it may take so long until the kubelet says so")


def _after(lines: Iterable[Sequence[Any]], begin: float) -> list[Line]:
    return [(float(at), str(said)) for at, said in lines if float(at) >= begin]


def _first(lines: Iterable[Line], pattern: re.Pattern[str]) -> Line | None:
    return next(((at, said) for at, said in lines if pattern.search(said)), None)


def _missing(name: str, lines: Sequence[Line]) -> str:
    words = {"that its client certificate has ended": _ENDED, "that its bootstrap token is refused": _REFUSED}
    silent = [word for word, pattern in words.items() if not _first(lines, pattern)]
    return f"in what was kept of {name}'s log its kubelet does not say {' nor '.join(silent)}"
