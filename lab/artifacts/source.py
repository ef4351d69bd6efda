"""What a source of programs promises, and how it says why it could not."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.artifacts.catalogue import Item
from lab.errors import LabError


class SourceFailed(LabError):
    """One source could not deliver; another may."""


class Unreachable(SourceFailed):
    """A host cannot be talked to at all, so that asking it again in this run is a waste of time."""


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life while a source works: what it does, how much of it is done (0..1) if it knows."""

    phase: str
    done: float | None = None


class Source(Protocol):
    """Somewhere programs come from."""

    @property
    def name(self) -> str:
        """What the source is called in messages."""
        ...

    def offers(self, item: Item) -> bool:
        """Whether the catalogue names this source for the item."""
        ...

    def deliver(self, item: Item, into: Path, beat: Callable[[Beat], None]) -> str:
        """Put every program of the item into the empty folder, verified; say where they came from.

        Raises `SourceFailed` with the reason; what is then left in the folder is of no use to anybody.
        """
        ...
