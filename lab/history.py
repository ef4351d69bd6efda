"""What happened, on one monotonic clock: one append-only stream of records per run.

The terminal, pytest, reports and CI only read it.  One JSON object per line; `at` is seconds since the
stream was opened, `kind` says what the other fields are.
"""

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.ownership import adopt, make_folder

SCHEMA = 1


@dataclass
class Recorder:
    """The one writer of a run's `records.jsonl`.  Each record is on disk when `write` returns."""

    path: Path
    _began: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        make_folder(self.path.parent)
        self.path.touch()
        adopt(self.path)
        self.write("run", schema=SCHEMA, wall=time.strftime("%Y-%m-%dT%H:%M:%S%z"))

    def write(self, kind: str, **fields: Any) -> None:
        """Append a record; what is no JSON is written as text."""
        record = {"at": round(time.monotonic() - self._began, 3), "kind": kind, **fields}
        line = json.dumps(record, default=str, ensure_ascii=True) + "\n"
        with self._lock, self.path.open("a", encoding="ascii") as stream:
            stream.write(line)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of a stream; a last line that was cut off is left out."""
    records = []
    for line in path.read_text(encoding="ascii").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
