"""A program of this host, at work in the lab's network: begun, watched, ended and read."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from lab.cluster import Cluster

GRACE = 5.0  # seconds to come to an end
LAST = 1000  # characters of what it said last


class Hosted:
    """It reads a plan, writes lines of JSON, and ends when its input closes, so with us.

    ``folder`` is private and keeps its plan, its lines and its errors, by ``name``.
    """

    def __init__(
        self, cluster: Cluster, program: ModuleType, folder: Path, name: str, plan: Mapping[str, Any]
    ) -> None:
        self.output, self._errors = folder / f"{name}.jsonl", folder / f"{name}.err"
        path = folder / f"{name}.plan"
        path.write_text(json.dumps({**plan, "output": str(self.output)}))
        argv = cluster.lab.provider.host_argv([sys.executable, "-I", str(program.__file__), str(path)])
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=errors, stderr=errors)

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

    def lines(self) -> list[dict[str, Any]]:
        """What it has written up to now."""
        return parsed(self.output.read_text()) if self.output.exists() else []


def parsed(text: str) -> list[dict[str, Any]]:
    """The whole lines; one that was cut off is left out."""
    lines = text.split("\n")[:-1]
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return found
