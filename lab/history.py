"""What happened, on one monotonic clock: one append-only stream of records per run.

The terminal, pytest, reports and CI only read it.  One JSON object per line; `at` is seconds since the
stream was opened, `kind` says what the other fields are.
"""

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from lab.ownership import adopt, make_folder
from lab.secrecy import harmless

SCHEMA = 1


@dataclass
class Recorder:
    """The one writer of a run's `records.jsonl`.  Each record is on disk when `write` returns.

    Texts come from anywhere: journals, what commands printed, answers.  So each goes through the filter.
    """

    path: Path
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        make_folder(self.path.parent)
        self.path.touch()
        adopt(self.path)
        self.write("run", schema=SCHEMA, wall=time.strftime("%Y-%m-%dT%H:%M:%S%z"))

    @property
    def began(self) -> float:
        """This host's monotonic clock when the stream was opened, in seconds."""
        return self._began

    def now(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self._began

    def write(self, kind: str, **fields: Any) -> None:
        """Append a record; what is no JSON is written as text."""
        self.write_all(kind, [fields])

    def write_all(self, kind: str, these: Iterable[Mapping[str, Any]]) -> None:
        """Append a record for each, in one go."""
        at = round(self.now(), 3)
        lines = [
            json.dumps({"at": at, "kind": kind, **harmless(fields)}, ensure_ascii=True) + "\n"
            for fields in these
        ]
        with self._lock, self.path.open("a", encoding="ascii") as stream:
            stream.write("".join(lines))


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of a stream; a last line that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


# -- what a run of a scenario leaves, as those see it who judge it ---------------------------------------


class Outcome(StrEnum):
    """How a question ended.  Unknown: what was asked for may have been done all the same."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Still(StrEnum):
    """Whether a fault was in force when its healing was to begin, as far as anybody could tell."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sample:
    """One question of a probe; all times are seconds of the stream's clock.

    `scheduled` is the beat of the grid, `sent` when the question really began, `answered` when it was
    decided.  `phases` are seconds since `sent` until connected, until TLS stood, until the first byte of the
    answer; one that was not reached is missing at the end.  `key` names what was written; `acked` whether
    that was acknowledged, which it can be although the question as a whole failed, and `acknowledged` when,
    in seconds since `sent`.  `value` is what an observer saw.
    """

    probe: str
    scheduled: float
    sent: float
    answered: float
    outcome: Outcome
    said: str = ""
    phases: tuple[float, ...] = ()
    key: str = ""
    acked: bool = False
    value: Any = None
    acknowledged: float | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered as it should be, in time."""
        return self.outcome is Outcome.OK

    @property
    def acked_at(self) -> float:
        """When its write was acknowledged; records of before tell only when its answer began, or the end."""
        if self.acknowledged is not None:
            return self.sent + self.acknowledged
        return self.sent + self.phases[2] if len(self.phases) > 2 else self.answered

    @property
    def late(self) -> float:
        """Seconds by which the prober itself was late."""
        return self.sent - self.scheduled


@dataclass(frozen=True, slots=True)
class Span:
    """From when until when, in seconds of the stream's clock."""

    begin: float
    end: float

    def has(self, instant: float) -> bool:
        """Whether the instant lies in it; its end does not."""
        return self.begin <= instant < self.end

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.begin


@dataclass(frozen=True, slots=True)
class Probed:
    """What one probe was meant to do: `interval` and `deadline` in seconds, `at` its vantage point.

    `question` is the word of the catalogue, by which scenarios and invariants ask for it.
    """

    name: str
    question: str
    at: str
    interval: float
    deadline: float
    target: str = ""
    began: float = 0.0
    ended: float = 0.0
    lost: str = ""  # why its vantage point was away for a while
    bound: float = 0.0  # by how many seconds all times of its samples may be wrong, for another clock's sake
    again: bool = False  # begun anew after its machine was off, so that `began` lies in the middle of the run


@dataclass(frozen=True, slots=True)
class Injection:
    """One fault as it was done.  Times are None for what did not come to pass.

    `asked` is the role or name that the scenario gave, `machines` what it was when the fault began;
    `evidence` is what proves that it bit; `unit` the program, where it was done to one.  `looked` is when it
    was asked for once more, just before its healing began, `still` what came of it, and `seen` why; None
    and empty where nobody asked, as of faults that do not last, and in records of before.  `undone` is when
    the commands that undo it had ended, before anybody asked whether it is healed.
    """

    number: int
    fault: str
    asked: str
    machines: tuple[str, ...]
    begun: float
    in_force: float | None = None
    evidence: str = ""
    heal_begun: float | None = None
    undone: float | None = None
    healed: float | None = None
    trouble: str = ""
    unit: str = ""
    looked: float | None = None
    still: str = ""
    seen: str = ""

    @property
    def span(self) -> Span | None:
        """From the evidence that it bit until the evidence that it was healed."""
        if self.in_force is None or self.healed is None:
            return None
        return Span(self.in_force, self.healed)


@dataclass(frozen=True, slots=True)
class History:
    """A whole run, read from its records; what judges a run looks at nothing else."""

    phases: Mapping[str, Span]
    probes: Mapping[str, Probed]
    samples: Mapping[str, tuple[Sample, ...]]
    injections: tuple[Injection, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # what was asked once, by name
    troubles: tuple[str, ...] = ()  # why the run proves nothing, as found while it ran

    def asking(self, question: str) -> list[Probed]:
        """The probes with one question, in the order they were started."""
        return [probe for probe in self.probes.values() if probe.question == question]

    def window(self, first: str, last: str | None = None) -> Span:
        """From the beginning of one phase to the end of it, or of a later one."""
        return Span(self.phases[first].begin, self.phases[last or first].end)

    def within(self, probe: str, span: Span) -> list[Sample]:
        """The questions of a probe whose beat lies in the span, by beat."""
        return [sample for sample in self.samples.get(probe, ()) if span.has(sample.scheduled)]


def history(records: Sequence[Mapping[str, Any]]) -> History:
    """The run that a stream tells of; records of other kinds are left out."""
    these: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        rest = {name: value for name, value in record.items() if name not in ("at", "kind")}
        these.setdefault(record["kind"], []).append(rest)
    samples: dict[str, list[Sample]] = {}
    for each in these.get("sample", ()):
        each |= {"outcome": Outcome(each["outcome"]), "phases": tuple(each.get("phases", ()))}
        samples.setdefault(each["probe"], []).append(Sample(**each))
    probed = [Probed(at=each.pop("vantage", ""), **each) for each in these.get("probe", ())]
    injections = {each["number"]: each for each in these.get("injection", ())}  # the last word counts
    return History(
        phases={each["phase"]: Span(each["begin"], each["end"]) for each in these.get("phase", ())},
        probes={each.name: each for each in probed},
        samples={name: tuple(sorted(some, key=lambda s: s.scheduled)) for name, some in samples.items()},
        injections=tuple(
            Injection(**{**each, "machines": tuple(each["machines"])}) for each in injections.values()
        ),
        facts={each["name"]: each["value"] for each in these.get("fact", ())},
        troubles=tuple(each["text"] for each in these.get("trouble", ())),
    )
