"""Heals a fault whose harness was killed: a process of its own, one for each fault that lasts.

``python -m lab.faults.watchdog LAB DEBT`` ends as soon as the debt is paid or the lab is gone, also amid
healing: a lab of the same name that comes next is none of its business.  When the debt is due and its owner
is no more, it pays.  An owner that lives is given time, for it is at work on it.  What the watchdog says is
in ``DEBT.log``.
"""

import logging
import os
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

from lab.background import start
from lab.cluster import Cluster
from lab.debts import Debt, read
from lab.errors import FAILURES, flat
from lab.faults.healing import WITHIN, heal_file
from lab.opening import reopened
from lab.wait import NotYet, stretched, wait_until

log = logging.getLogger(__name__)
# Seconds after the debt is due in which its owner may still pay; of one that lives they are stretched.
DEAD, ALIVE = 3.0, 2 * WITHIN
LONGEST = 24 * 3600.0  # seconds; no fault lasts longer
EVERY = 0.25


def guard(lab: str, debt: Debt) -> None:
    """Start one for this debt; it outlives us.  How slow the lab's machines are is ours to know."""
    argv = [sys.executable, "-m", "lab.faults.watchdog", lab, str(debt.path), f"{stretched(ALIVE):.0f}"]
    with debt.path.with_suffix(".log").open("wb") as said:
        subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},  # this very version
        )


def watch(lab: str, path: Path, dead: float = DEAD, alive: float = ALIVE) -> None:
    """Wait until the debt is paid or due, and then pay it."""

    def check() -> bool:
        try:
            debt = read(path)
        except FileNotFoundError:
            return False
        if not debt.due_for(alive if debt.owner_lives() else dead):
            raise NotYet(f"{debt.record['fault']} is not due yet")
        return True

    if not wait_until(f"{path.name} to be paid", check, timeout=LONGEST, every=EVERY):
        path.with_suffix(".log").unlink(missing_ok=True)
        return
    log.warning("nobody healed %s in time; healing it", path.name)
    healed = start(partial(_heal, lab, path), "heal")

    def check_over() -> None:
        if not healed.done() and path.exists():
            raise NotYet("it is being healed")

    wait_until(f"{path.name} to be healed", check_over, timeout=LONGEST, every=EVERY)
    if healed.done():
        healed.result()
    path.with_suffix(".log").unlink(missing_ok=True)


def _heal(lab: str, path: Path) -> None:
    with closing(reopened(lab)) as laboratory:
        heal_file(Cluster(laboratory), path)


def main() -> None:
    """See the module."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    name, path, alive = sys.argv[1:]
    try:
        watch(name, Path(path), alive=float(alive))
    except FAILURES as error:
        log.error("%s", flat(error))  # noqa: TRY400 - foreseen: its text is all there is to say
        sys.exit(1)


if __name__ == "__main__":
    main()
