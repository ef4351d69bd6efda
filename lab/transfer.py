"""Files on their way to a machine, in one stream for `lab.receiver`, and its report of them."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lab import receiver
from lab.errors import LabError, OutputLost

if TYPE_CHECKING:
    from lab.machine import File, Result

RECEIVER = Path(receiver.__file__).read_text("utf-8")
REPORTS_LOST = 2  # that many may be lost, one after the other


@dataclass(frozen=True, slots=True)
class Carried:
    """What came of files: the paths that were written, and those that are not right and were left.

    `seen` is what the look printed, if there was one; nothing where every file was written.
    """

    written: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()
    seen: str = ""


def stream(files: Sequence["File"], lacking: Mapping[str, Sequence["File"]]) -> tuple[bytes, int]:
    """What the receiver reads, and how many files are in it.  What is lacking comes first.  Pure.

    If that went wrong after the others, they would be right by the next time, and nobody told of them.
    Raises `LabError` for a path that the stream cannot carry.
    """
    own = {file.path for file in files}
    sakes: dict[str, list[str]] = {}
    for sake, more in lacking.items():
        for file in more:
            sakes.setdefault(file.path, []).append(sake.encode().hex())
    first = {f.path: f for more in lacking.values() for f in more if f.path not in own}
    for path in (*first, *own):
        if "\n" in path or not path.startswith("/"):
            raise LabError(f"{path!r}: a file's path is absolute and has no line break")
    words = [*(":".join(["none", *sakes[path]]) for path in first), *("any" for _ in files)]
    every = [*first.values(), *files]
    lines = (f"{word} {f.mode:o} {len(f.content)} {f.path}\n" for word, f in zip(words, every, strict=True))
    return "".join(lines).encode() + b"\n" + b"".join(f.content for f in every), len(every)


def receive(run: Callable[[Sequence[str]], "Result"], look: Sequence[str] = ()) -> "Result":
    """How the receiver ended; ``run`` gives a command line the stream.

    ``look`` is a command that it becomes in the end, where not every file had to be written.
    Where its report is lost it is asked again, and told for how long others like it were at work before it.
    """
    began, recent = time.monotonic(), 0.0

    def once() -> "Result":
        return run(("python3", "-c", RECEIVER, f"{recent:.3f}", *look))

    for _ in range(REPORTS_LOST):
        with suppress(OutputLost):
            return once()
        recent = time.monotonic() - began + 0.1
    return once()


def report(text: str) -> Carried:
    """What the receiver said, and after an empty word what the look did.  Pure."""
    told, _, seen = f"\0{text}".partition("\0\0")
    words = told.split("\0")
    written, left = (frozenset(each[1:] for each in words if each[:1] == mark) for mark in "+-")
    return Carried(written, left, seen)
