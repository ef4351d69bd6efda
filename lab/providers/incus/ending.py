"""End a command with all it started, from inside its machine."""

import time

from lab.machine import OUTPUT_CAP
from lab.providers.commands import MARK
from lab.providers.incus.api import Json, NoAnswer
from lab.providers.incus.command import GRACE, RECORDED, Command, await_end
from lab.providers.incus.logs import Logs


def cut(command: Command, operation: str) -> tuple[Json | None, tuple[str, ...]]:
    """End the command and what it started; how it ended, if it did, and the command lines of the rest.

    Twice, for on a loaded machine it may not have begun at the first time.
    """
    found: tuple[str, ...] = ()
    for _ in range(2):
        ended = end_all(command, operation)
        if ended is None:
            break
        found += ended
        if done := await_end(command.api, operation, time.monotonic() + GRACE / 3):
            return done, found
    return None, found


def end_all(command: Command, operation: str) -> tuple[str, ...] | None:
    """Kill what still runs of a command; the command lines of what was found beside its own process.

    It is known by its mark, or where it changed its environment by the log it prints to.  None from a
    machine that does not answer.
    """
    argv = ("sh", "-c", _END_ALL, f"{MARK}={command.mark}", operation)
    killer = Command(command.api, command.instance, argv, time.monotonic() + GRACE, patient=False)
    try:
        began = killer.begin(RECORDED, timeout=killer.left)["id"]
    except NoAnswer:
        return None
    logs = Logs(killer.api, killer.instance, began)
    try:
        if (done := await_end(killer.api, began, killer.deadline)) is None:
            return None
        logs.told(done)
        said = logs.read(OUTPUT_CAP)[0][0]
    except NoAnswer:
        return None
    finally:
        logs.delete()
    lines = (line.strip() for line in said.decode(errors="replace").splitlines())
    return tuple(line for line in lines if line)


# Twice, for what was being started meanwhile; stopped first, so that nobody goes on when a child is gone; and
# all are named before any is killed, for some end with another.  The command's own process is not named: it
# is the one whose parent is outside of the machine, or in a VM the daemon's agent.
_END_ALL = """\
for turn in 1 2; do
  found=$({
    grep -lszFx -e "$0" /proc/[0-9]*/environ
    find /proc/[0-9]*/fd -lname "*/exec_$1.std*"
  } | cut -d/ -f3 | sort -u)
  for each in $found; do kill -STOP "$each"; done
  for each in $found; do
    parent=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$each/status")
    case $parent:$(cat "/proc/$parent/comm") in
      0:* | *:incus-agent* | *:lxd-agent*) ;;
      *) tr '\\0' ' ' <"/proc/$each/cmdline" && echo ;;
    esac
  done
  for each in $found; do kill -KILL "$each"; done
done 2>/dev/null
"""
