"""What every fault is: something done to machines of the lab, proven to bite, and undone again."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, TypeAlias

from lab.cluster import Cluster
from lab.debts import REMEDY

# What a number in a field means; `typing.get_type_hints(kind, include_extras=True)` tells it to whoever reads
# scenario files.  A field that is a `Literal` lists its choices.
Seconds: TypeAlias = Annotated[float, "seconds"]
SignedSeconds: TypeAlias = Annotated[float, "signed seconds"]
Percent: TypeAlias = Annotated[float, "percent"]
Bytes: TypeAlias = Annotated[int, "bytes"]
BytesPerSecond: TypeAlias = Annotated[int, "bytes per second"]
PerSecond: TypeAlias = Annotated[int, "per second"]
Ports: TypeAlias = Annotated[tuple[int, ...], "ports"]
Peers: TypeAlias = Annotated[tuple[str, ...], "machines"]


@dataclass(frozen=True, slots=True)
class Script:
    """Shell commands that undo a fault where they stand; the victim's own timer runs them without us."""

    machine: str
    text: str


@dataclass(frozen=True)
class Fault(ABC):
    """Built from plain values only, so that whoever finds its undo record builds it again and heals.

    `machines` are the victims as resolved when it begins.  A fault without duration (`lasts` is False) does
    what it does once and heals by itself; `heal` then only checks and helps.  One that lasts must still be in
    force when its healing begins, or its run proves nothing.  Where `silences` is True
    nothing runs on the victims while it lasts, probers neither.  `destroys_data` is for one after which only
    a snapshot brings back what was.  `takes` is how many seconds `inject` itself may need, where that is more
    than a moment: nobody may heal it meanwhile.  Subclasses are frozen dataclasses; their fields are the
    words of a scenario file, and their docstrings tell what each means.
    """

    machines: tuple[str, ...]

    word: ClassVar[str]
    lasts: ClassVar[bool] = True
    silences: ClassVar[bool] = False
    destroys_data: ClassVar[bool] = False
    takes: ClassVar[float] = 0.0

    def unavailable(self, cluster: Cluster) -> str:
        """Why this cluster or host cannot do it, for the report; empty if it can.  Changes nothing."""
        return ""

    def undo(self) -> tuple[Script, ...]:
        """How the victims can undo it by themselves; empty where only somebody above them can.  Pure."""
        return ()

    @abstractmethod
    def inject(self, cluster: Cluster) -> None:
        """Do it.  Returns once the damage was asked for, not once it shows."""

    @abstractmethod
    def in_force(self, cluster: Cluster) -> str:
        """What proves that it bites, with numbers; raises `NotYet` as long as nothing does."""

    def still_in_force(self, cluster: Cluster) -> str:
        """The same once more, just before it is healed; raises `NotYet` with what is seen in its place.

        Every moment it takes prolongs the fault.  So whoever needs seconds for `in_force`, or counts there
        what has happened since the beginning, asks something quicker here that tells what is so now.
        """
        return self.in_force(cluster)

    def ended(self, cluster: Cluster) -> str:
        """Since when a victim is free of it, for one that should not be; empty if nothing there tells."""
        return ""

    @abstractmethod
    def heal(self, cluster: Cluster) -> None:
        """Undo it; harmless when there is nothing to undo, and never in need of what `inject` remembered."""

    @abstractmethod
    def check_healed(self, cluster: Cluster) -> None:
        """Return if nothing of it is left and what it hit serves again; raise `NotYet` until then."""

    def remedy(self, cluster: Cluster) -> str:
        """What whoever finds it unhealed may do."""
        return REMEDY

    def record(self) -> dict[str, Any]:
        """Its word and values, as JSON can hold them."""
        return {"fault": self.word, **asdict(self)}


def rebuilt(known: Mapping[str, type[Fault]], record: Mapping[str, Any]) -> Fault:
    """The fault of a record; `KeyError` if this version does not know its word."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items() if name != "fault"}
    return known[record["fault"]](**values)
