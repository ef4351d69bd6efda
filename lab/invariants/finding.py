"""What a judgement says: a verdict, and the number, limit and window that it rests on."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from lab.history import Span


class Verdict(StrEnum):
    """`UNKNOWN` is not a pass: the history does not carry a judgement.

    `NOT_JUDGED` is for limits of time on emulated machines: the number is shown, the rest decides.
    """

    HELD = "held"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    NOT_JUDGED = "not-judged"


_RANK = (Verdict.BROKEN, Verdict.UNKNOWN, Verdict.HELD, Verdict.NOT_JUDGED)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """What several verdicts come to: broken beats unknown beats held.

    What was not judged decides nothing; where nothing was judged, nothing is known.
    """
    first = min(verdicts, key=_RANK.index, default=Verdict.UNKNOWN)
    return Verdict.UNKNOWN if first is Verdict.NOT_JUDGED else first


class Unit(StrEnum):
    """What a number is: seconds, a share from 0 to 1, or a count."""

    SECONDS = "s"
    SHARE = "share"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Finding:
    """The judgement of one invariant.

    `invariant` is its title, unique in its scenario.  `value` is None where nothing could be measured, or
    where what was waited for never came.  `bound` says on which side of the limit the value may be.
    """

    invariant: str
    verdict: Verdict
    value: float | None
    limit: float
    unit: Unit
    window: Span | None
    text: str
    bound: str = "at-most"

    def record(self) -> dict[str, Any]:
        """The finding as JSON can hold it."""
        return asdict(self)

    def unjudged(self) -> "Finding":
        """The same number, and no verdict."""
        return replace(self, verdict=Verdict.NOT_JUDGED)

    def unknown(self, why: str) -> "Finding":
        """The same number, which proves nothing."""
        text = f"{why}; until then {self.verdict}" + (f", {self.text}" if self.text else "")
        return replace(self, verdict=Verdict.UNKNOWN, text=text)

    def line(self) -> str:
        """The finding in one line, for a terminal."""
        bound = self.bound.replace("-", " ")
        measured = "nothing" if self.value is None else shown(self.value, self.unit)
        said = f"{self.invariant}: {measured}, {bound} {shown(self.limit, self.unit)} wanted"
        return f"{self.verdict:<10} {said}; {self.text}" if self.text else f"{self.verdict:<10} {said}"


def from_record(told: dict[str, Any]) -> Finding:
    """The finding that a record tells of."""
    window = told.get("window")
    values = {
        **told,
        "verdict": Verdict(told["verdict"]),
        "unit": Unit(told["unit"]),
        "window": Span(**window) if window else None,
    }
    return Finding(**values)


def shown(value: float, unit: Unit) -> str:
    """A number with its unit: `1.25 s`, `99.5 %`, `3`."""
    if unit is Unit.SECONDS:
        return f"{value:.3g} s" if value < 1 else f"{value:.2f} s"
    if unit is Unit.SHARE:
        return f"{_cut(value * 100)} %"
    return f"{value:g}"


def _cut(percent: float) -> str:
    """At most two places, and never rounded up: 99.996 is no 100."""
    cut = int(percent * 100 + 1e-6) / 100
    return f"{cut:.2f}".rstrip("0").rstrip(".")
