"""Forwarders from this host's loopback to machines; one per machine and port, shared by all processes."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import filelock

from lab.errors import LabError
from lab.providers import forward


@dataclass(frozen=True, slots=True)
class Forwarders:
    """Those of one lab; they live in its network namespace and end with it."""

    records: Path
    network: Path

    def port_to(self, machine: str, address: str, port: int) -> int:
        """The loopback port behind which the machine's port answers; the same as long as the lab lives."""
        record = self.records / f"{machine}-{port}"
        self.records.mkdir(exist_ok=True)
        with filelock.FileLock(self.records / ".lock", timeout=30):
            known = _read(record)
            if known and self._lives(known[0]):
                return known[1]
            pid, listening = self._start(address, port, str(known[1]) if known else "0")
            record.write_text(f"{pid} {listening}\n")
            return listening

    def _lives(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/ns/net").stat().st_ino == self.network.stat().st_ino
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            return False

    def _start(self, address: str, port: int, listen: str) -> tuple[int, int]:
        argv = [sys.executable, "-I", forward.__file__, str(self.network), address, str(port), listen]
        process = subprocess.Popen(
            argv,
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        line = process.stdout.readline() if process.stdout else b""
        if not line:
            raise LabError(
                f"cannot forward to {address}:{port}: `{' '.join(argv)}` ended at once",
                remedy=f"`ss -lptn 'sport = :{listen}'` shows who has the port" if listen != "0" else "",
            )
        return process.pid, int(line)


def _read(record: Path) -> tuple[int, int] | None:
    """The process and port of a record; None for one that is not there or that nobody here wrote."""
    try:
        pid, port = (int(word) for word in record.read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return (pid, port) if port > 1023 else None
