"""Several plans of one program, each in a process of its own, by one start of Python; standard library only.

``python3 -I several.py PROGRAM PLAN...``: PROGRAM is a Python file with a function ``work(plan)``, each PLAN
a JSON file, whose `deadline`, if it has one, is how many seconds its work may take to come to an end.

Starting Python and what a prober imports costs more than a tenth of a second of a processor, and ten times
that in an emulated machine; a fork costs next to nothing.  When one of them ends, asked to or not, the others
are asked to by SIGTERM, and whoever does not in time is killed.  It has failed if one of them has, and says
which.
"""

import importlib.util
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

GRACE = 3  # seconds above the longest deadline; whoever waits for us waits longer


class Several:
    """The processes at work, and how they end."""

    def __init__(self, work: Callable[[Any], None], plans: Mapping[str, Any]) -> None:
        self.work, self.plans = work, plans
        self.patience = GRACE + max(int(plan.get("deadline", 0)) for plan in plans.values())
        self.names: dict[int, str] = {}
        self.ending = False

    def run(self) -> int:
        """Begin all, and wait until all have ended; the status to end with."""
        # It is kept for each process until that waits for it, and for us until we know all.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        for name, plan in self.plans.items():
            pid = os.fork()
            if not pid:
                self.be(plan)
            self.names[pid] = name
        signal.signal(signal.SIGTERM, lambda *_: self.end())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started us ends us
        signal.signal(signal.SIGALRM, lambda *_: self.tell(signal.SIGKILL))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        return self.attend()

    def be(self, plan: Any) -> NoReturn:
        """One of them, from its first moment to its last."""
        status = 1
        try:
            self.work(plan)
            status = 0
        except BaseException:  # noqa: BLE001 - whatever it was, it is told, and is the end of this process
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def attend(self) -> int:
        """Until the last has ended."""
        status = 0
        while self.names:
            pid, how = os.wait()
            name = self.names.pop(pid, "")
            if how:
                status = 1
                sys.stderr.write(f"{name} ended with {os.waitstatus_to_exitcode(how)}\n")
                sys.stderr.flush()
            self.end()
        return status

    def end(self) -> None:
        """Ask all to end; harmless if they were asked before."""
        if not self.ending:
            self.ending = True
            signal.alarm(self.patience)
            self.tell(signal.SIGTERM)

    def tell(self, number: signal.Signals) -> None:
        """One signal for all that are left."""
        for pid in list(self.names):
            with suppress(ProcessLookupError):
                os.kill(pid, number)


def program(path: str) -> Any:
    """The module in a file; by its path, for this program sees no packages."""
    spec = importlib.util.spec_from_file_location("program", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """All plans, each at work."""
    path, *plans = sys.argv[1:]
    return Several(
        program(path).work, {Path(each).stem: json.loads(Path(each).read_text()) for each in plans}
    ).run()


if __name__ == "__main__":
    sys.exit(main())
