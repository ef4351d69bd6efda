"""The figures of VMs: runs as they lie in their folder, what is missing, and the table.  Looks at files."""

import json
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT, UP, RESTORE = "script", "up", "restore"
SCRIPT_ENDS = ("DNS answer", "readyz 12")  # how lines of the script begin that together are the end
UP_ENDS = ("dns", "every-master")  # the product's stages, likewise
TIMED = re.compile(r"^\s*\d+(\.\d+)?\s*s?\s+(.+)$")  # what the script says the time is, and the step

Found = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A run that is to be made: its kind, the round it belongs to, its number within that."""

    kind: str
    turn: int
    number: int = 1

    @property
    def file(self) -> str:
        """Where it is written down, in the folder of all."""
        return f"{self.turn:02}-{self.kind}-{self.number:02}.json"


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure, and the most that it may be."""

    what: str
    most: float
    unit: str
    values: Callable[[Mapping[Wanted, Found]], list[float]]


def all_wanted(rounds: int, restores: int, *, script: bool) -> list[Wanted]:
    """Every run, in the order they are made: the product right after the script.  Pure."""
    found = []
    for turn in range(1, rounds + 1):
        found += [Wanted(SCRIPT, turn)] if script else []
        found += [Wanted(UP, turn), *(Wanted(RESTORE, turn, n) for n in range(1, restores + 1))]
    return found


def read(folder: Path, wanted: Sequence[Wanted]) -> dict[Wanted, Found]:
    """The runs that are there; one that was cut while it was written is not."""
    found = {}
    for each in wanted:
        try:
            found[each] = json.loads((folder / each.file).read_text())
        except (FileNotFoundError, ValueError):
            continue
    return found


def write(folder: Path, run: Wanted, facts: Found) -> None:
    """Write one down, as a whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{run.file}.part"
    part.write_text(json.dumps(facts, indent=1))
    part.replace(folder / run.file)


def to_make(wanted: Sequence[Wanted], done: Mapping[Wanted, Found]) -> list[Wanted]:
    """What is missing.  A script without the `up` right after it compares nothing: both are made.  Pure."""
    alone = {Wanted(SCRIPT, each.turn) for each in wanted if each.kind == UP and each not in done}
    halves = {Wanted(UP, each.turn) for each in wanted if each.kind == SCRIPT and each not in done}
    return [each for each in wanted if each not in done or each in alone or each in halves]


def step_of(line: str) -> str:
    """The step that a line tells of, without the clock of who tells it.  Pure."""
    timed = TIMED.match(line)
    return (timed[2] if timed else line).strip()


def ended(steps: Mapping[str, float], ends: Sequence[str]) -> float | None:
    """Seconds until all of these were reached; None if one was not.  Steps begin with these words.  Pure."""
    at = [min((when for step, when in steps.items() if step.startswith(end)), default=None) for end in ends]
    reached = [when for when in at if when is not None]
    return max(reached) if len(reached) == len(ends) else None


def ratios(runs: Mapping[Wanted, Found]) -> list[float]:
    """Of each round with both: the product's part of the script's time.  Pure."""
    pairs = ((runs.get(Wanted(UP, turn)), runs.get(Wanted(SCRIPT, turn))) for turn in turns_of(runs))
    return [up["seconds"] / script["seconds"] for up, script in pairs if up and script]


def turns_of(runs: Mapping[Wanted, Found]) -> list[int]:
    """The rounds of which something is there.  Pure."""
    return sorted({each.turn for each in runs})


def of_kind(kind: str, key: str) -> Callable[[Mapping[Wanted, Found]], list[float]]:
    """One figure of every run of a kind.  Pure."""
    return lambda runs: [facts[key] for each, facts in runs.items() if each.kind == kind]


def busy(runs: Mapping[Wanted, Found]) -> list[float]:
    """Per cent of the wall time that the harness' own processes had of one processor.  Pure."""
    return [100 * up["harness_cpu"] / up["whole"] for each, up in runs.items() if each.kind == UP]


GOALS = (
    Goal("`up` to a DNS answer and both apiservers, part of the script's time", 1.15, "", ratios),
    Goal("a restore until DNS answers", 20.0, " s", of_kind(RESTORE, "seconds")),
    Goal("memory of all VMs' QEMU, after `up`", 7.0, " GiB", of_kind(UP, "memory_gib")),
    Goal("memory of all VMs' QEMU, after a restore", 7.0, " GiB", of_kind(RESTORE, "memory_gib")),
    Goal("processor time of the harness in `up`", 5.0, " %", busy),
)


def table(runs: Mapping[Wanted, Found]) -> Iterator[str]:
    """Every figure with its goal, as Markdown.  Pure."""
    yield "| figure | median | least to greatest | runs | at most | |"
    yield "|---|---|---|---|---|---|"
    for goal in GOALS:
        values = goal.values(runs)
        if not values:
            yield f"| {goal.what} | - | - | 0 | {goal.most:g}{goal.unit} | not measured |"
            continue
        middle, unit = statistics.median(values), goal.unit
        said = "held" if middle <= goal.most else "MISSED"
        spread = f"{min(values):.2f} to {max(values):.2f}{unit} | {len(values)}"
        yield f"| {goal.what} | {middle:.2f}{unit} | {spread} | {goal.most:g}{unit} | {said} |"


def steps_told(runs: Mapping[Wanted, Found]) -> Iterator[str]:
    """When each step of every bring-up ended, for who asks where the time goes.  Pure."""
    for run, facts in runs.items():
        if run.kind in (SCRIPT, UP):
            yield f"round {run.turn}, {run.kind}: {facts['seconds']:.1f} s; {facts['host']}"
            yield from (f"  {when:7.1f}  {step}" for step, when in facts["steps"].items())


def missed(runs: Mapping[Wanted, Found]) -> list[str]:
    """The goals that were measured and not reached.  Pure."""
    measured = [(goal, values) for goal in GOALS if (values := goal.values(runs))]
    return [goal.what for goal, values in measured if statistics.median(values) > goal.most]


def is_vm(command: Sequence[str], lab: str) -> bool:
    """Whether a process is the QEMU of a machine of this lab's, as libvirt starts it.  Pure."""
    if not command or "qemu" not in Path(command[0]).name:
        return False
    return any(word.startswith(f"guest=thwlab_{lab}_") for word in command)


def resident_kib(status: str) -> int:
    """What a process has in memory, by its /proc/PID/status.  Pure."""
    said = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(said[1]) if said else 0
