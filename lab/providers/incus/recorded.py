"""Run a command whose output the daemon writes to files; nothing of it can be lost on its way."""

import shlex
import time
from contextlib import suppress

from lab.errors import LabError, OutputLost, WaitExpired
from lab.machine import OUTPUT_CAP, Result
from lab.providers.incus.api import ApiError, Json, NoAnswer
from lab.providers.incus.command import GRACE, KILLED, RECORDED, Command, await_end, status_of
from lab.providers.incus.ending import cut, end_all
from lab.providers.incus.logs import Logs
from lab.providers.incus.sweeper import SWEEPER, Remnant
from lab.wait import wait_until

FLOOD = 1 << 30  # bytes of output, of which nobody reads more than the cap, that may lie on this host's disk
WATCH = 2.0  # seconds between two looks at how much there is
FLOODED = f"ended by the lab: it printed more than {FLOOD >> 30} GiB; have it write to a file of the machine"


def run(command: Command) -> Result:
    """Run it without input.

    It ends with its own process: whoever that left behind lives on, but what it prints from then on is
    nobody's, and if it still writes at the deadline, or more than `OUTPUT_CAP` before, it is ended.  Who is
    silent for a second at first is not looked at again.

    Until it is deleted the output lies on this host's disk.  A flood is ended by the deadline, or with
    status 137 and a word about it once it is seen to be more than `FLOOD`; until then it writes as fast as
    the disk takes it, `WATCH` seconds long.
    """
    start = time.monotonic()
    remnant = Remnant(command)
    with SWEEPER.following(remnant):
        logs = _begin(command, remnant)
        done, flooded = _watched(remnant, logs)
        leftover: tuple[str, ...] = ()
        late = done is None
        if flooded:
            end_all(command, remnant.operation)
            done = await_end(command.api, remnant.operation, time.monotonic() + GRACE)
        elif late:
            done, leftover = cut(command, remnant.operation)
        status, said = status_of(done)
        (out, out_size), (err, err_size) = _read(command, logs, done)
        if done is not None:
            remnant.ended(out_size + err_size, alone=late)
    if flooded:
        status, said = KILLED, FLOODED.encode()
    elif late and status == KILLED:
        status = None
    dropped = out_size - len(out) + err_size - len(err)
    return Result(status, out, err + said, time.monotonic() - start, dropped, leftover)


def _begin(command: Command, remnant: Remnant) -> Logs:
    """Have it begun; an answer may come after the deadline, for then it has to be ended."""
    what = f"{command.instance} to take a command"
    try:
        begun = wait_until(
            what,
            lambda: command.begin(RECORDED, timeout=command.left + GRACE),
            timeout=command.left,
            every=0.1,
        )
    except (ApiError, WaitExpired):
        SWEEPER.forget(remnant)
        raise
    remnant.operation = begun["id"]
    remnant.logs = Logs(command.api, command.instance, remnant.operation)
    return remnant.logs


def _watched(remnant: Remnant, logs: Logs) -> tuple[Json | None, bool]:
    """How it ended, if it did before its deadline, and whether it prints more than may lie here."""
    deadline = remnant.command.deadline
    while True:
        until = min(deadline, time.monotonic() + WATCH)
        done = await_end(remnant.command.api, remnant.operation, until)
        if done is not None or time.monotonic() >= deadline:
            return done, False
        with suppress(NoAnswer):  # of a daemon that is busy; there is a next look
            if logs.size(timeout=WATCH / 2) > FLOOD:
                return None, True


def _read(command: Command, logs: Logs, done: Json | None) -> list[tuple[bytes, int]]:
    """Both streams up to the cap, with their sizes; of what has not ended, what there is."""
    if done:
        logs.told(done)
    try:
        return logs.read(OUTPUT_CAP)
    except LabError as error:
        if done is None and isinstance(error, ApiError):  # the daemon had not come to open them
            return [(b"", 0), (b"", 0)]
        line = shlex.join(command.argv)[:300]
        raise OutputLost(f"the daemon lost output of `{line}`: {error}") from error
