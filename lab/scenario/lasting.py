"""Whether a fault is still there when its healing is to begin: else its verdicts are about nothing.

Another fault may have ended it, such as one that boots the machine on which it is held; so may an agent that
starts again what was stopped.  What cannot be asked is unknown, which proves neither.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from lab.background import start
from lab.cluster import Cluster
from lab.errors import FAILURES, WaitExpired, flat
from lab.faults.base import Fault
from lab.faults.shell import age_of
from lab.history import Still
from lab.wait import wait_until

# Seconds: for it to show, as what is killed again and again may be there for a moment; for any answer at all,
# for the fault goes on meanwhile; for a machine to say how long it has been up; and for a verdict to come
# out of its thread.
SHOWS, ANSWER, AGE, HANDED = 1.0, 4.0, 2.0, 0.3
FAILED = (*FAILURES, ValueError)  # an answer that cannot be read is none


@dataclass(frozen=True, slots=True)
class Looked:
    """What was seen of a fault that should be in force."""

    still: Still
    seen: str


def look_again(cluster: Cluster, fault: Fault, lasted: float) -> Looked:
    """Ask all victims at once, ``lasted`` seconds after the fault was proven; answers in `ANSWER` seconds.

    One that is free of it decides; if there is none, one that cannot be asked.
    """
    end = time.monotonic() + ANSWER
    asked = [(one, start(partial(_asked, cluster, one, lasted, end), "still")) for one in _parts(fault)]
    found = [_come(one, task, end) for one, task in asked]
    decisive = next(s for s in (Still.NO, Still.UNKNOWN, Still.YES) if s in {each.still for each in found})
    return Looked(decisive, "; ".join(each.seen for each in found if each.still is decisive))


def _parts(fault: Fault) -> Iterator[Fault]:
    """The fault of each victim by itself; of what is off or frozen the provider tells in one word."""
    if fault.silences:
        yield fault
    else:
        yield from (replace(fault, machines=(name,)) for name in fault.machines)


def _come(one: Fault, task: Future[Looked], end: float) -> Looked:
    try:
        return task.result(max(0.0, end - time.monotonic()))
    except TimeoutError:
        return Looked(Still.UNKNOWN, f"{', '.join(one.machines)}: no answer within {ANSWER:.0f} s")


def _asked(cluster: Cluster, one: Fault, lasted: float, end: float) -> Looked:
    what = f"{one.word} to show"
    try:
        seen = wait_until(what, partial(one.still_in_force, cluster), timeout=SHOWS, every=0.1, exactly=True)
        return Looked(Still.YES, seen)
    except WaitExpired as error:
        return _gone(cluster, one, lasted, error.last, end)
    except FAILED as error:
        return Looked(Still.UNKNOWN, flat(error))


def _gone(cluster: Cluster, one: Fault, lasted: float, seen: str, end: float) -> Looked:
    """It does not show; but a machine that answers nothing shows nothing either."""
    if one.silences:  # that it runs is not its own word, but its provider's
        since = _in_time(lambda: _booted(cluster, one, lasted) or one.ended(cluster), end)
        return Looked(Still.NO, "; ".join(filter(None, [seen, since])))
    try:
        since = _booted(cluster, one, lasted)
    except FAILED as error:
        return Looked(Still.UNKNOWN, f"{seen}, but {flat(error)}")
    since = since or _in_time(partial(one.ended, cluster), end)
    return Looked(Still.NO, "; ".join(filter(None, [seen, since])))


def _booted(cluster: Cluster, one: Fault, lasted: float) -> str:
    """Which of its machines were booted since it was proven; each of them answered."""
    ages = {name: age_of(cluster.machines[name], timeout=AGE) for name in one.machines}
    return "; ".join(f"{name} was booted {age} s before" for name, age in ages.items() if age < lasted)


def _in_time(tell: Callable[[], str], end: float) -> str:
    """What makes a verdict clearer, if it comes early enough: no verdict waits for words."""
    with suppress(TimeoutError, *FAILED):
        return start(tell, "since").result(max(0.0, end - HANDED - time.monotonic()))
    return ""
