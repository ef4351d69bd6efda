"""The phase before anything is broken: it counts only if all that will be judged was answered in it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lab.errors import ClusterError
from lab.invariants.finding import Unit, shown
from lab.invariants.validity import STEADY_SHARE
from lab.probes.question import Probe
from lab.probes.watching import Watch
from lab.scenario.course import STEADY, Course
from lab.wait import dwell

TRIES = 3
LOOK = 1.0  # seconds before the phase ends that it is looked at, so that the look takes no time of its own
NAMED = 3  # probes; one sick member is many probes' trouble


def await_answered(
    course: Course, watch: Watch, now: Callable[[], float], tell: Callable[[str], None]
) -> float:
    """Let the steady phase pass but for its last second, anew where it was not steady; when that began.

    Seconds of ``now``, the recorder's clock.  `ClusterError` with what was not answered once it was tried
    `TRIES` times: what is broken then would be judged by the damage that was there before.
    """
    planned = course.phases[STEADY]
    for number in range(1, TRIES + 1):
        begin = now()
        dwell(planned - LOOK, watch.check)
        missing = unanswered(watch.failed(course.vital, begin), _asked(watch, planned))
        if not missing:
            return begin
        said = "; ".join(missing[:NAMED]) + (f"; and {len(missing) - NAMED} more" if missing[NAMED:] else "")
        if number < TRIES:
            tell(f"  not steady: {said}; the phase begins anew, {number + 1} of {TRIES}")
    raise ClusterError(f"nothing was broken, for the lab was not steady, {TRIES} times of {TRIES}: {said}")


def unanswered(failed: Mapping[str, Sequence[Mapping[str, Any]]], asked: Mapping[str, float]) -> list[str]:
    """A line for each probe of whose ``asked`` questions too many failed, the worst first.  Pure."""
    shares = {name: 1 - len(lines) / asked[name] for name, lines in failed.items()}
    short = sorted((share, name) for name, share in shares.items() if share < STEADY_SHARE)
    return [
        f"{name}: {len(failed[name])} questions failed, {shown(max(0.0, share), Unit.SHARE)} answered;"
        f" first: {_said(failed[name])}"
        for share, name in short
    ]


def _asked(watch: Watch, seconds: float) -> dict[str, float]:
    """How many questions each probe asks in that time."""
    probes: list[Probe] = [each.probe for each in watch.running]
    return {each.name: max(1.0, seconds / each.interval) for each in probes}


def _said(lines: Sequence[Mapping[str, Any]]) -> str:
    first = min(lines, key=lambda line: line["scheduled"])
    return str(first.get("said") or first["outcome"])
