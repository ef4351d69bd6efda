"""How long it takes from nothing to a DNS answer: the product and a straight-line script, in turns.

``sudo .venv/bin/python benchmarks/bringup.py``; README.md beside this file says what is measured.
"""

import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from lab.artifacts.prepare import root_of
from lab.bringup import Bringup, Outcome
from lab.opening import open_lab, remove_lab
from lab.plan import load_topology
from lab.providers.incus.image import image_of
from lab.stages import stages_for

SCRIPT = Path(__file__).with_name("straight_line.sh")
PROVIDER = "incus:private"
STAGES = ("dns", "admin")
UP = "up"
STARTS = " starts"
OWN_CLOCK = re.compile(r"^[0-9.]+ ")  # what the script says the time is
QUIET = 0.5  # load average of the last minute above which figures mean little
GOAL = 1.0  # of the script's time
PATIENCE = 300  # seconds granted to one run
GRACE = 30  # seconds granted to a run that is stopped, for removing what it made


class RunFailed(click.ClickException):
    """A run did not come to its end, so there is nothing to compare."""


@dataclass(frozen=True, slots=True)
class Run:
    """One way from nothing to a DNS answer: seconds from its start to each of its steps."""

    steps: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Until the cluster answered."""
        return self.steps[UP]


@dataclass(frozen=True, slots=True)
class Round:
    """Both, right after one another."""

    script: Run
    product: Run

    @property
    def ratio(self) -> float:
        """The product's part of the script's time; below 1 the product is faster."""
        return self.product.seconds / self.script.seconds


# -- the two ways --------------------------------------------------------------------------------------


def run_script() -> Run:
    """The straight-line script, on the image that the product would use."""
    topology = load_topology()
    image = image_of(root_of(topology, lambda _: None))
    versions = {"COREDNS": topology.versions.coredns, "PAUSE": topology.versions.pause}
    with tempfile.NamedTemporaryFile(suffix=".tar") as metadata:
        metadata.write(image.metadata)
        metadata.flush()
        return timed([str(SCRIPT), metadata.name, str(image.root)], versions)


def run_product() -> Run:
    """The product, as a process of its own, and its removal."""
    name = f"bench-{os.getpid()}"
    try:
        return timed([sys.executable, __file__, "--bring-up", name])
    finally:
        remove_lab(name)


def timed(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a program that prints a line per step; the clock is ours and starts before the program does."""
    os.sync()  # what the run before has written is not this one's work
    began = time.monotonic()
    with process(argv, environment or {}) as lines:
        steps = {OWN_CLOCK.sub("", line.strip()): time.monotonic() - began for line in lines}
    if UP not in steps:
        raise RunFailed(f"{argv[0]} ended without an answer, after {', '.join(steps) or 'nothing'}")
    return Run(steps)


@contextmanager
def process(argv: Sequence[str], environment: Mapping[str, str]) -> Iterator[Iterator[str]]:
    """The lines a program prints; whatever happens, it has ended and cleaned up afterwards."""
    started = subprocess.Popen(
        ["timeout", "--foreground", f"--kill-after={GRACE}", str(PATIENCE), *argv],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield iter(started.stdout or ())
    except BaseException:
        started.terminate()
        raise
    finally:
        started.wait(timeout=2 * GRACE)


def bring_up(name: str) -> None:
    """What the child does: `thwlab up`, telling when each stage starts and ends."""

    def tell(stage: str, outcome: Outcome | None) -> None:
        click.echo(stage if outcome else stage + STARTS)

    topology = load_topology(name=name)
    lab = open_lab(topology, PROVIDER, lambda _: None)
    with lab.state.locked(), closing(lab):
        Bringup(lab, stages_for(topology), tell).require(*STAGES)
        click.echo(UP)


# -- what is told --------------------------------------------------------------------------------------


def machine_facts() -> str:
    """What the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cgroup = 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    load = " ".join(f"{each:.2f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, Linux {platform.release()}, cgroup v{cgroup}, load {load}"
    )


def obstacles() -> list[str]:
    """Why figures from this host would mean little now."""
    spaces = Path("/run/netns")
    labs = sorted(p.name for p in spaces.glob("thw*")) if spaces.exists() else []
    load = os.getloadavg()[0]
    return [f"{name} is there" for name in labs] + ([f"the load is {load:.2f}"] if load > QUIET else [])


def spread(values: Sequence[float], unit: str = "") -> str:
    """Least, middle and greatest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"min {low:.2f}{unit}, median {middle:.2f}{unit}, max {high:.2f}{unit}"


def medians(runs: Sequence[Run]) -> dict[str, float]:
    """Of each step, by when it happened; steps that not every run has are left out."""
    common = set.intersection(*(set(run.steps) for run in runs))
    found = {step: statistics.median(run.steps[step] for run in runs) for step in common}
    return dict(sorted(found.items(), key=lambda each: each[1]))


def stage_lines(at: Mapping[str, float]) -> list[str]:
    """Of each stage when it ended, and how long it took if it told when it started."""
    ends = {step: when for step, when in at.items() if not step.endswith(STARTS)}
    took = {step: f"took {at[end] - at[step]:6.2f}" for end in ends if (step := end + STARTS) in at}
    return [f"  {when:6.2f}  {step:20} {took.get(step + STARTS, '')}".rstrip() for step, when in ends.items()]


def summary(rounds: Sequence[Round]) -> list[str]:
    """The verdict and where the time went."""
    return [
        f"script: {spread([each.script.seconds for each in rounds], ' s')}",
        f"product: {spread([each.product.seconds for each in rounds], ' s')}",
        f"ratio: {spread([each.ratio for each in rounds])}; goal: at most {GOAL}",
        "script, median seconds until:",
        *stage_lines(medians([each.script for each in rounds])),
        "product, median seconds until:",
        *stage_lines(medians([each.product for each in rounds])),
    ]


# -- the program ---------------------------------------------------------------------------------------


def measured_round(number: int) -> Round:
    """Both once; who goes first changes, so that neither gains by what the other leaves in the caches."""
    if number % 2:
        script, product = run_script(), run_product()
    else:
        product, script = run_product(), run_script()
    return Round(script, product)


def _stop(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@click.command()
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(min=1), help="Runs of both.")
@click.option("--anyway", is_flag=True, help="Measure beside other labs and under load too.")
@click.option("--bring-up", "lab", hidden=True)
def main(rounds: int, anyway: bool, lab: str | None) -> None:
    """Measure bring-up against the straight-line script; exits 1 if the median ratio misses the goal."""
    if lab:
        bring_up(lab)
        return
    signal.signal(signal.SIGTERM, _stop)
    click.echo(machine_facts())
    found = obstacles()
    if found and not anyway:
        raise click.ClickException(f"{'; '.join(found)}. Figures would mean little; --anyway takes them")
    done = []
    for number in range(1, rounds + 1):
        done.append(measured_round(number))
        pair = done[-1]
        click.echo(
            f"round {number}: script {pair.script.seconds:.2f} s, product {pair.product.seconds:.2f} s, "
            f"ratio {pair.ratio:.2f}"
        )
    click.echo("\n".join(summary(done)))
    sys.exit(statistics.median(each.ratio for each in done) > GOAL)


if __name__ == "__main__":
    main()
