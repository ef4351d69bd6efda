"""What `thwlab doctor --fix` would do, as data; and doing it."""

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.disks import STATE, Place
from lab.doctor.facts import Facts
from lab.doctor.finding import Finding, Verdict
from lab.errors import LabError

UPDATE_TIMEOUT, INSTALL_TIMEOUT = 300.0, 1200.0
LOCK = "-oDPkg::Lock::Timeout=120"
TAIL = 20

Command = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """`commands` install packages here; `by_hand` is for the reader: other systems, sysctls, and the rest.

    `wished` installs, one by one, what no lab needs: that a release has it not keeps nothing from running.
    """

    commands: tuple[Command, ...]
    by_hand: tuple[str, ...]
    wished: tuple[Command, ...] = ()


def repair_for(findings: Sequence[Finding], facts: Facts) -> Repair:
    """The plan: packages by apt-get where there is one, everything else as lines to type."""
    wrong = [each for each in findings if each.verdict in (Verdict.MISSING, Verdict.WARNING)]
    needed = dict.fromkeys(
        name for each in wrong if each.verdict is Verdict.MISSING for name in each.packages
    )
    wishes = dict.fromkeys(
        each.packages for each in wrong if each.verdict is Verdict.WARNING and each.packages
    )
    installs = bool(needed or wishes) and facts.debian
    commands = [("apt-get", LOCK, "update"), *([_install(*needed)] if needed else [])]
    rest = [each.remedy for each in wrong if each.remedy and not (installs and each.packages)]
    if not installs:
        return Repair((), tuple(dict.fromkeys(rest)))
    return Repair(tuple(commands), tuple(dict.fromkeys(rest)), tuple(_install(*names) for names in wishes))


def _install(*packages: str) -> Command:
    return ("apt-get", LOCK, "install", "-y", "--no-install-recommends", *packages)


def carry_out(commands: Sequence[Command], log: Path) -> None:
    """Run the commands one after the other, unattended, their output in `log`.

    Raises `LabError` with the last lines of the log at the first that fails or does not end in time.
    """
    with Place(log.parent, STATE).naming_trouble():
        log.parent.mkdir(parents=True, exist_ok=True)
    for command in commands:
        _run(command, log, INSTALL_TIMEOUT if "install" in command else UPDATE_TIMEOUT)


def _run(command: Command, log: Path, timeout: float) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l"}
    line = " ".join(command)
    with log.open("ab") as out:
        out.write(f"$ {line}\n".encode())
        out.flush()
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise LabError(f"`{line}` cannot be run: {error.strerror}") from error
        status = _ended(process, timeout)
    if status is None:
        raise LabError(f"`{line}` did not end within {timeout:.0f}s; {log} ends with:\n{_tail(log)}")
    if status != 0:
        raise LabError(f"`{line}` exited {status}; {log} ends with:\n{_tail(log)}", remedy=f"sudo {line}")


def _ended(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """Its status, or None if it had to be ended, with all it started."""
    try:
        return process.wait(timeout=timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"    {line[:300]}" for line in lines[-TAIL:]) or "    (nothing)"
