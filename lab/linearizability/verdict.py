"""Held, broken or unknown: three values, and which of them beats which."""

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What a history proves.  Unknown is not a pass."""

    HELD = "held"
    BROKEN = "broken"
    UNKNOWN = "unknown"


_RANK = (Verdict.BROKEN, Verdict.UNKNOWN, Verdict.HELD)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Of several verdicts the one that counts for all: broken beats unknown beats held."""
    return min(verdicts, key=_RANK.index, default=Verdict.HELD)
