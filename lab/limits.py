"""Time limits as verdicts: judged on machines that compute as fast as their host, elsewhere only told.

Under software emulation everything takes ten times as long or more, so a time says nothing of the cluster;
a limit that was stretched until it holds would say nothing either.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from lab.errors import ClusterError


@dataclass
class Limits:
    """The limits of one run.  `is_slow` says whether its machines are too slow to be judged by time."""

    is_slow: Callable[[], bool]
    unjudged: list[str] = field(default_factory=list)

    def at_most(self, seconds: float, limit: float, what: str, *, more: str = "") -> None:
        """Insist that something took no longer than so many seconds; where machines are slow, note it.

        Raises `ClusterError` with both numbers, and with ``more``, which explains them.
        """
        told = f"{what}: {seconds:.1f} s, the limit is {limit:g} s"
        if self.is_slow():
            self.unjudged.append(told)
        elif seconds > limit:
            raise ClusterError(f"{told}. {more}" if more else told)

    def summary(self) -> list[str]:
        """What was not judged, for the end of a run; nothing where everything was."""
        if not self.unjudged:
            return []
        head = f"not judged: {len(self.unjudged)} time limits, for these machines compute too slowly"
        return [head, *(f"  {each}" for each in self.unjudged)]
