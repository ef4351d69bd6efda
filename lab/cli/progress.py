"""What one sees while a lab comes up: a line for each stage, and a sign of life between them."""

import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

import click
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from lab.bringup import Outcome, mark, remark

HEARTBEAT = 10.0  # seconds of silence until a line says what is waited for
LONGEST = 200  # characters of an error beside its stage; all of it is told in the end
MARKS = {"ok": "green", "FAILED": "red", "blocked": "yellow"}


class Progress:
    """Told by `open_lab` and `Bringup`, from any thread.  This one prints plain lines."""

    def __init__(
        self,
        truths: Mapping[str, str],
        say: Callable[[str], None] = click.echo,
        *,
        clock: Callable[[], float] = time.monotonic,
        heartbeat: float = HEARTBEAT,
    ) -> None:
        self.truths = truths
        self.running: dict[str, float] = {}
        self.steps: dict[str, str] = {}
        self.noted = ""
        self._say = say
        self._clock = clock
        self._heartbeat = heartbeat
        self._lock = threading.RLock()
        self._spoke = clock()
        self._end = threading.Event()

    def __enter__(self) -> Self:
        """Show signs of life until the end of the block."""
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Be silent from now on."""
        self._end.set()

    def note(self, text: str) -> None:
        """Something before the stages: programs, image.  What changes in numbers only is not repeated."""
        with self._lock:
            fresh = _gist(text) != _gist(self.noted) and not text.endswith("ready")
            self.noted = text
            if fresh:
                self.line(text)

    def step(self, stage: str, text: str) -> None:
        """How far a stage is that takes long; shown with it for as long as it runs."""
        with self._lock:
            self.steps[stage] = text

    def report(self, stage: str, outcome: Outcome | None) -> None:
        """A stage begins (None) or has ended."""
        with self._lock:
            self.noted = ""
            if outcome is None:
                self.running[stage] = self._clock()
                return
            self.running.pop(stage, None)
            self.steps.pop(stage, None)
            self.line(ended(outcome, self.truths.get(stage, "they run")))

    def line(self, text: str) -> None:
        """A line that stays."""
        with self._lock:
            self._spoke = self._clock()
            self._say(text)

    def waiting(self) -> str:
        """What is waited for now, and since when."""
        now = self._clock()
        stages = [
            f"{name}, {now - since:.0f} s ({self._told(name, 'until they run')})"
            for name, since in list(self.running.items())
        ]
        return "; ".join(stages) or self.noted or "the lab's folder"

    def _told(self, stage: str, otherwise: str) -> str:
        return self.steps.get(stage) or self.truths.get(stage, otherwise)

    def beat(self) -> None:
        """A line if nothing was said for a while."""
        with self._lock:
            if self._clock() - self._spoke >= self._heartbeat:
                self.line(f"  ...     waiting for {self.waiting()}")

    def _beat(self) -> None:
        while not self._end.wait(min(1.0, self._heartbeat)):
            self.beat()


class LiveProgress(Progress):
    """The same for a terminal: what runs is shown below the lines that stay."""

    def __init__(self, truths: Mapping[str, str], console: Console) -> None:
        super().__init__(truths, lambda text: console.print(_coloured(text), soft_wrap=True))
        self._live = Live(console=console, get_renderable=self._below, refresh_per_second=5, transient=True)

    def __enter__(self) -> Self:
        """Show what runs until the end of the block."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the lines that stay and give the cursor back."""
        self._live.stop()

    def note(self, text: str) -> None:
        """Shown until the next one."""
        self.noted = text

    def _below(self) -> Group:
        now = self._clock()
        rows = [
            f"{name:14} {now - since:6.1f} s  {self._told(name, 'machines boot')}"
            for name, since in list(self.running.items())
        ]
        shown = rows or ([self.noted] if self.noted else [])
        return Group(*(Spinner("line", Text(row, style="dim")) for row in shown))


def progress_for(truths: Mapping[str, str]) -> Progress:
    """Live where somebody watches, plain lines in a file or a pipe."""
    console = Console()
    if sys.stdout is not None and console.is_terminal and not console.is_dumb_terminal:
        return LiveProgress(truths, console)
    return Progress(truths)


def ended(outcome: Outcome, truth: str) -> str:
    """A stage's line.  Pure."""
    said = remark(outcome) or truth if outcome.error is None else _short(str(outcome.error).splitlines()[0])
    return f"  {mark(outcome):7} {outcome.stage:14} {outcome.seconds:6.1f} s  {said}"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


def _gist(text: str) -> str:
    return text.split(", about ")[0]


def _coloured(text: str) -> str:
    mark = text.strip().split(" ")[0]
    plain = escape(text)
    return plain.replace(mark, f"[{MARKS[mark]}]{mark}[/]", 1) if mark in MARKS else plain
