"""What works for a lab and outlives a thwlab that was killed: noted as it runs, ended by whoever comes next.

A process' number is used again; with the time at which it began it is that process and no other.
"""

import os
import signal
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from lab.wait import NotYet, wait_until

ASK = 10.0  # seconds
END = 10.0


def note(folder: Path, pid: int) -> Path:
    """Write down that the process with this number, which leads its group, works; remove the note then."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / str(pid)
    path.write_text(born(pid))
    return path


def end(folder: Path) -> list[int]:
    """Kill the groups of all that are noted and still there; their numbers.

    Only for who has the lab's lock: nobody else's work is noted then.
    """
    ended = []
    for path in sorted(folder.glob("*")):
        pid = int(path.name)
        if (since := path.read_text()) and born(pid) == since:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            wait_until(f"process {pid} to end", partial(_check_gone, path), timeout=END)
            ended.append(pid)
        path.unlink(missing_ok=True)
    return ended


def born(pid: int) -> str:
    """When the process began, in this system's words; empty if there is none, or only its remains."""
    if not Path("/proc/self/stat").exists():
        return _told_by_ps(pid)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]  # proc_pid_stat(5): state is field 3, starttime 22


def _told_by_ps(pid: int) -> str:
    """As macOS has it."""
    argv = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=ASK, check=False)
    state, _, since = said.stdout.strip().partition(" ")
    return "" if state.startswith("Z") else since.strip()


def _check_gone(path: Path) -> None:
    if born(int(path.name)) == path.read_text():
        raise NotYet("it is there")
