"""The command `thwlab`.

Reading order: `app` (the commands and how they end), `failures` (exit codes), `session` (settings, plan,
lab), `progress` (what one sees), then one file for each family of commands.
"""

import os
import signal
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130


def main() -> None:
    """The entry point `thwlab`.

    All else is imported here and not above, for importing takes a second in which people press Ctrl-C too.
    """
    _while_importing(_leave)
    from lab.cli.app import run

    _while_importing(signal.default_int_handler)
    run()


def _while_importing(handler: Callable[[int, FrameType | None], None]) -> None:
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell's background jobs have it
        signal.signal(signal.SIGINT, handler)


def _leave(_: int, __: FrameType | None) -> None:
    """At once: nothing was begun, and an exception would be lost in whatever is half imported."""
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)
