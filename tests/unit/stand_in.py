"""Programs that stand in for Vagrant, VBoxManage, virsh or ssh: they write down how they were called.

A stand-in answers from `answers`: the first whose pattern is found in the joined arguments.
"""

import json
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BODY = """\
#!{python} -IS
import json, os, re, sys, time
calls, answers = {calls!r}, {answers!r}
with open(calls, "a") as log:
    log.write(json.dumps({{"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(),
                          "at": time.monotonic()}}) + "\\n")
done = open(calls + ".done", "a+")
done.seek(0)
used = done.read().split()
for each in json.load(open(answers)):
    if re.search(each["when"], " ".join(sys.argv[1:])) and each["once"] not in used:
        if each["once"]:
            done.write(each["once"] + "\\n")
            done.flush()
        sys.stdout.write(each["out"]); sys.stdout.flush()
        sys.stderr.write(each["err"]); sys.stderr.flush()
        if each["seconds"]:
            time.sleep(each["seconds"])
        sys.exit(each["status"])
"""


@dataclass
class StandIn:
    """One program in a folder that the test puts on PATH."""

    path: Path
    _answers: list[dict[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = BODY.format(python=sys.executable, calls=str(self._calls), answers=str(self._file))
        self.path.write_text(text)
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self._save()

    def answer(
        self,
        when: str,
        out: str = "",
        *,
        err: str = "",
        status: int = 0,
        seconds: float = 0,
        once: bool = False,
    ) -> "StandIn":
        """Say this to calls that match; later answers win over earlier ones, a `once` is used up."""
        mark = f"a{len(self._answers)}" if once else ""
        self._answers.insert(
            0, {"when": when, "out": out, "err": err, "status": status, "seconds": seconds, "once": mark}
        )
        self._save()
        return self

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of every call so far."""
        return [list(each["argv"]) for each in self.records]

    @property
    def records(self) -> list[dict[str, object]]:
        """Every call so far: argv, env, cwd, at."""
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]

    @property
    def _calls(self) -> Path:
        return self.path.with_name(f".{self.path.name}.calls")

    @property
    def _file(self) -> Path:
        return self.path.with_name(f".{self.path.name}.answers")

    def _save(self) -> None:
        part = self._file.with_suffix(".part")
        part.write_text(json.dumps(self._answers))
        part.replace(self._file)


def on_path(folder: Path, rest: Sequence[str] = ("/usr/bin", "/bin", "/usr/sbin")) -> str:
    """A PATH with the stand-ins' folder first."""
    return os.pathsep.join([str(folder), *rest])
