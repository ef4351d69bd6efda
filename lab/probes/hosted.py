"""A program of this host, at work in the lab's network: begun, watched, ended and read."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.cluster import Cluster

GRACE = 5.0  # seconds to come to an end
LAST = 1000  # characters of what it said last


class Hosted:
    """It reads its plans, writes lines of JSON, and ends when its input closes, so with us.

    ``programs`` is the file to start, and which other it is told before the plans; ``folder`` is private and
    keeps plans, lines and errors, by the names of the plans.
    """

    def __init__(
        self,
        cluster: Cluster,
        programs: Sequence[ModuleType],
        folder: Path,
        plans: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._folder, self._errors = folder, folder / f"{next(iter(plans))}.err"
        for name, plan in plans.items():
            told = {**plan, "output": str(self.output(name))}
            self._plan(name).write_text(json.dumps(told))
        files = [str(each.__file__) for each in programs]
        argv = [sys.executable, "-I", *files, *(str(self._plan(name)) for name in plans)]
        argv = cluster.lab.provider.host_argv(argv)
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=errors, stderr=errors)

    def _plan(self, name: str) -> Path:
        return self._folder / f"{name}.plan"

    def output(self, name: str) -> Path:
        """The file that is written for a plan."""
        return self._folder / f"{name}.jsonl"

    def trouble(self) -> str:
        """How it ended, and what it said last; empty if it is at work."""
        if self._process.poll() is None:
            return ""
        return f"ended with {self._process.returncode}: {self.last_words()}"

    def last_words(self) -> str:
        """The end of what it said of itself."""
        return self._errors.read_text(errors="replace").strip()[-LAST:]

    def stop(self) -> None:
        """Ask it to end; harmless if it has.  Does not wait."""
        if self._process.stdin:
            self._process.stdin.close()

    def finish(self, seconds: float = GRACE) -> None:
        """Stop it and wait; one that has not ended after so many seconds is killed."""
        self.stop()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(GRACE)

    def lines(self, name: str) -> list[dict[str, Any]]:
        """What it has written for a plan up to now."""
        output = self.output(name)
        return parsed(output.read_text()) if output.exists() else []


def parsed(text: str) -> list[dict[str, Any]]:
    """The whole lines; one that was cut off is left out."""
    lines = text.split("\n")[:-1]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return found
