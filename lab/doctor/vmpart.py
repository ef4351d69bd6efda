"""``python -m lab.doctor.vmpart``: whether `make test` runs its part on VMs now; one line says why.

It is left out where no VMs are possible, and where too much of CI's time is gone.  The latter is an error
if the caches were warm when `make test` began: then something has become slow.  `--caches` says whether
they are, for the Makefile to ask before it fills them; with `--red` it records what was not tried at all.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lab.choice import LIBVIRT_PRIVATE, Made, made_of
from lab.doctor import can_host, proc
from lab.doctor.gather import image_is_cached
from lab.errors import ConfigError
from lab.providers.base import Missing
from lab.results import LEFT_OUT
from lab.settings import Effective, plan_of, resolve
from lab.topology import Topology

PROVIDER = LIBVIRT_PRIVATE
ALL_OF_CI, ENOUGH = 90, 55  # minutes: what CI grants, and after how many none of this is begun
BEGAN, WARMTH = "THWLAB_BEGAN", "THWLAB_WARMTH"  # the Makefile's: seconds since 1970, and `--caches` then
WARM, COLD = "warm", "cold"
EARLIER = "linters, packages, unit or e2e tests are red, and it comes after them"
OS_RELEASE = Path("/etc/os-release")


class Choice(Enum):
    """What to do, by the exit status that says it."""

    RUN = 0
    ERROR = 1
    LEFT_OUT = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and why."""

    choice: Choice
    why: str

    @property
    def line(self) -> str:
        """As the run's summary has it."""
        said = "run" if self.choice is Choice.RUN else "NOT RUN"
        return f"the VM part of make test: {said}: {self.why}"


def decide(minutes: float, caches: str, obstacle: str, packages: str = "") -> Decision:
    """The rule, for so many minutes after the beginning; ``packages`` are installed first.  Pure.

    ``caches`` is what `--caches` said then; what was not noted counts as warm, for an excuse must be shown.
    """
    if obstacle:
        return Decision(Choice.LEFT_OUT, f"this host can run no VMs ({obstacle})")
    gone = f"{minutes:.0f} of CI's {ALL_OF_CI} minutes are gone"
    if minutes <= ENOUGH:
        first = f" once {packages} are installed" if packages else ""
        return Decision(Choice.RUN, f"VMs are possible here{first}, and {gone}")
    if caches == COLD:
        return Decision(Choice.LEFT_OUT, f"{gone}, more than {ENOUGH}; the caches had to be filled")
    return Decision(
        Choice.ERROR, f"{gone}, more than {ENOUGH}, though the caches were {caches or 'not said to be cold'}"
    )


def obstacle_in(lacking: Sequence[Missing], *, root: bool, apt: bool) -> str:
    """Why this host cannot run VMs, nor be brought to it by `thwlab doctor --fix`; empty if it can.  Pure."""
    reasons = [each.what for each in lacking if not each.packages]
    if (packages := packages_in(lacking)) and not (root and apt):
        nobody = "no apt here" if not apt else "only root could install them"
        reasons.append(f"it lacks {packages}: {nobody}")
    return "; ".join(reasons)


def packages_in(lacking: Sequence[Missing]) -> str:
    """What `thwlab doctor --fix` would install.  Pure."""
    return ", ".join(dict.fromkeys(name for each in lacking for name in each.packages))


def minutes_since(began: str, now: float) -> float:
    """Minutes since what `BEGAN` says; 0 where nobody noted it."""
    if not began:
        return 0.0
    try:
        return max(0.0, now - float(began)) / 60
    except ValueError as error:
        raise ConfigError(BEGAN, [f"{began!r} is no number of seconds since 1970"]) from error


def caches_of(topology: Topology) -> str:
    """Whether neither the lab of this plan nor its VMs need anything fetched or built: `WARM` or `COLD`."""
    codename, _ = _release()
    made = (Made.ROOT, made_of(PROVIDER))
    return WARM if all(image_is_cached(topology, codename, each) for each in made) else COLD


def record(decision: Decision, settings: Mapping[str, Effective]) -> None:
    """Where `thwlab summary` reads it: in the folder of the run, if it was given a name."""
    folder = Path(settings["artifacts"].value) / settings["run"].value
    if settings["run"].value and decision.choice is not Choice.RUN:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LEFT_OUT).write_text(f"{decision.line}\n")


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """As `Choice`, 2 for a bad plan or setting; with `--caches` 0."""
    asked = _parser().parse_args(argv)
    try:
        settings = resolve({}, {})
        if asked.caches:
            sys.stdout.write(f"{caches_of(plan_of(settings).topology)}\n")
            return 0
        if asked.red:  # perhaps because the plan is bad
            decision = Decision(Choice.LEFT_OUT, EARLIER)
        else:
            decision = _decided(plan_of(settings).topology, environ)
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    record(decision, settings)
    sys.stdout.write(f"{decision.line}\n")
    return decision.choice.value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.doctor.vmpart", description=__doc__)
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--caches", action="store_true", help="say warm or cold, decide nothing")
    instead.add_argument("--red", action="store_true", help="record that what comes before it is red")
    return parser


def _decided(topology: Topology, environ: Mapping[str, str]) -> Decision:
    minutes = minutes_since(environ.get(BEGAN, ""), time.time())
    if platform.system() != "Linux":
        return decide(minutes, "", "a libvirtd of the lab's own needs Linux")
    apt = bool(_release()[1] & {"debian", "ubuntu"})
    lacking = can_host(topology, PROVIDER)
    obstacle = obstacle_in(lacking, root=os.geteuid() == 0, apt=apt)
    return decide(minutes, environ.get(WARMTH, ""), obstacle, packages_in(lacking))


def _release() -> tuple[str, frozenset[str]]:
    """This host's name for its release, and its kin."""
    return proc.os_release(OS_RELEASE.read_text() if OS_RELEASE.exists() else "")


if __name__ == "__main__":
    sys.exit(main())
