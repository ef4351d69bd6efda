"""What the time of runs goes into: seconds, by what they were spent on."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

ASKED = PHASES, RESTORE = "phases", "restore"  # all else is beside it


@dataclass
class Spent:
    """Seconds by what they were spent on, added up; parts do not lie within each other."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time in here, however it ends."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.add({what: time.monotonic() - begun})

    def add(self, more: Mapping[str, float]) -> None:
        """Count these too."""
        for what, seconds in more.items():
            self.seconds[what] = self.seconds.get(what, 0.0) + seconds

    @property
    def whole(self) -> float:
        """All of it."""
        return sum(self.seconds.values())

    @property
    def beside(self) -> dict[str, float]:
        """What was neither phase nor restore, the longest first."""
        rest = {what: took for what, took in self.seconds.items() if what not in ASKED}
        return dict(sorted(rest.items(), key=lambda each: -each[1]))

    @property
    def told(self) -> str:
        """What was asked for, and what came beside it."""
        asked = [f"{took:.0f} s of {what}" for what in ASKED if (took := self.seconds.get(what)) is not None]
        parts = ", ".join(f"{what} {took:.1f} s" for what, took in self.beside.items())
        rest = f"{sum(self.beside.values()):.0f} s beside: {parts or 'nothing'}"
        return ", ".join([*(asked or ["no phase"]), rest])

    @property
    def overhead(self) -> str:
        """How much more than was asked for, of a set of runs."""
        beside = sum(self.beside.values())
        asked = self.whole - beside
        share = f"{beside / asked * 100:.0f} % over phases and restores" if asked else "nothing but that"
        return f"time: {self.whole:.0f} s; {self.told}; {share}"

    def record(self) -> dict[str, float]:
        """As JSON can hold it."""
        return {what: round(took, 2) for what, took in self.seconds.items()}
