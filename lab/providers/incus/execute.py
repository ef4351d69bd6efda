"""Run a command in an instance, with a deadline that holds, and lose nothing of what it prints."""

import secrets
import time

from lab.errors import WaitExpired
from lab.machine import Result
from lab.providers.incus import recorded, streamed
from lab.providers.incus.api import Api, NoAnswer
from lab.providers.incus.command import Command, NeverBegan

# A file that is opened anew through these is emptied, which a pipe is not.
REOPENED = ("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/self/fd/")


def execute(api: Api, instance: str, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Result:
    """Run `argv` as root; at the deadline it ends with all it started, and what it printed comes back.

    The daemon records the output of a command, for its streams are not to be relied on: LXD 5.0 drops one
    in some thousands.  Only a command with input needs them, and one that opens its own output by name: a
    file that `echo >/dev/stderr` opens is emptied.  Only what `argv` says can be seen here; a program of
    the machine's that does so empties what was printed to that stream before.

    A command without input ends with its own process; one with input once nobody holds its output open,
    or at the deadline, and `leftover` names who did.
    """
    start = time.monotonic()
    for last in (False, True):
        command = Command(api, instance, argv, start + timeout, secrets.token_hex(8))
        try:
            if stdin or any(path in word for word in argv for path in REOPENED):
                return streamed.run(command, stdin)
            return recorded.run(command)
        except (NoAnswer, WaitExpired):
            break
        except NeverBegan:  # seen once in some ten thousand, on a machine that had just been resumed
            if last:
                raise
    return Result(None, seconds=time.monotonic() - start)
