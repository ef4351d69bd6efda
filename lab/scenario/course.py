"""What a run does and when, settled before it begins.  Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

STEADY, FAULT, RECOVERY = PHASES = ("steady", "fault", "recovery")


@dataclass(frozen=True, slots=True)
class Doing:
    """One fault: its word and values, at whom, so many seconds after the fault phase began, for how long."""

    fault: str
    on: str
    at: float = 0.0
    hold: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)
    number: int = field(default=0, compare=False)  # in its plan; 0 where there is none


@dataclass(frozen=True, slots=True)
class Course:
    """The phases, in seconds, what is done in the second of them, and who is asked all the while.

    `keeps` are connections that are kept open without a word: exec, logs, watch.  `vital` are the questions
    that must be answered all through the first phase, else nothing is done in the second; `needed` are those
    without which nothing could be judged, and machines that are slow are asked no others.
    """

    name: str
    phases: Mapping[str, float]
    doings: tuple[Doing, ...] = ()
    probes: tuple[str, ...] = ()
    seed: str = ""
    keeps: tuple[str, ...] = ()
    vital: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """All phases together."""
        return sum(self.phases.values())
