"""Which settings keep the API alive best: the same scenarios on one lab under each of them, in turns.

Each variant of settings.yaml is one change of the plan.

``sudo .venv/bin/python benchmarks/settings.py``; README.md beside this file says what is measured.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import click
from variants import plans_of, told

from lab.automatic import CONTAINERS
from lab.bringup import Bringup
from lab.cluster import Cluster
from lab.failover.comparing import by_invariant, values_of
from lab.failover.performing import perform
from lab.failover.stored import judged_below
from lab.invariants.finding import Finding, shown
from lab.laboratory import Laboratory
from lab.opening import open_lab, remove_lab
from lab.plan import load_topology
from lab.report.stored import JSON
from lab.report.values import told as said
from lab.scenario.judging import Judgement
from lab.scenario.known import Known
from lab.scenario.loading import load
from lab.scenario.plan import plan_of
from lab.scenario.steadiness import insist_steady
from lab.stages import stages_for
from lab.topology import Balancer, Role, Topology

FILES = tuple(
    Path("scenarios") / f"{name}.yaml" for name in ("master-silent", "apiserver-hung", "master-frozen")
)
LAB = "settings"
STAGES = ("dns", "admin")
TRIES = 3  # of a run that proves nothing, each time the program is started


def switch(lab: Laboratory, topology: Topology) -> None:
    """Have the running lab as the plan says; the balancer that is not asked for gives up its port first."""
    for other in set(Balancer) - {topology.load_balancer}:
        for machine in lab.of(Role.LOAD_BALANCER):
            machine.check("systemctl", "disable", "--now", "--quiet", f"{other}.service")
    lab.close()
    lab.topology = topology
    Bringup(lab, stages_for(topology)).require(*STAGES)
    for machine in lab.of(Role.LOAD_BALANCER):  # which bring-up does only for a unit that is new
        machine.check("systemctl", "enable", "--quiet", f"{topology.load_balancer}.service")


def turns(runs: int, names: Sequence[str], files: Sequence[Path]) -> Iterator[tuple[str, Path, int]]:
    """Variant, scenario and number of every run; who goes first changes.  Pure."""
    for number in range(runs):
        start = number % len(names)
        for file in files:
            for name in [*names[start:], *names[:start]]:
                yield name, file, number + 1


def is_done(place: Path) -> bool:
    """Whether a run is there that proves something; one that was cut or is invalid is moved away."""
    report = place / JSON
    if report.exists() and not json.loads(report.read_text())["reasons"]:
        return True
    if place.exists():
        place.rename(place.with_name(f"{'invalid' if report.exists() else 'cut'}-{time.time_ns()}"))
    return False


def missing(
    runs: int, names: Sequence[str], files: Sequence[Path], folder: Path
) -> list[tuple[str, Path, Path]]:
    """Variant, scenario and folder of every run that is still to be made."""
    wanted = [
        (name, file, folder / name / file.stem / f"{number:02}")
        for name, file, number in turns(runs, names, files)
    ]
    return [each for each in wanted if not is_done(each[2])]


def valid_runs(folder: Path, topology: Topology) -> list[Judgement]:
    """Every run of a variant that proves something, judged anew."""
    return [each for each in judged_below(folder, Known(topology)) if not each.invalid]


def one(lab: Laboratory, file: Path, place: Path, seed: str) -> None:
    """One run, after the lab was seen to be whole."""
    scenario = load(file, Known(lab.topology))
    cluster = Cluster(lab)
    insist_steady(cluster)
    performed = perform(cluster, scenario, plan_of(scenario, seed), place, lambda _: None)
    click.echo(f"{place}: {performed.judgement.word}")


def table(sets: Mapping[str, Sequence[Judgement]]) -> Iterator[str]:
    """Median and worst of every measured value, a column for each variant."""
    yield f"| scenario: what is measured | limit | {' | '.join(sets)} |"
    yield "|---" * (len(sets) + 2) + "|"
    columns = [by_invariant(runs) for runs in sets.values()]
    for key in sorted({key for column in columns for key in column}):
        told = [column.get(key, []) for column in columns]
        finding = next(each for each in told if each)[0]
        limit = f"{finding.bound.replace('-', ' ')} {shown(finding.limit, finding.unit)}"
        yield f"| {key[0]}: {key[1]} | {limit} | {' | '.join(map(cell, told))} |"


def cell(findings: Sequence[Finding]) -> str:
    """Median, worst, and of how many runs."""
    values = values_of(findings)
    if not values.values:
        return "-"
    unit = findings[0].unit
    return f"{said(values.median, unit)}, worst {said(values.worst, unit)} (n={len(values.values)})"


@click.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--variant", "names", multiple=True, help="All of settings.yaml if none is named.")
@click.option("--runs", default=5, show_default=True, help="Of each scenario under each variant.")
@click.option(
    "--folder", default=Path("artifacts/settings"), show_default=True, type=click.Path(path_type=Path)
)
@click.option("--table", "only_table", is_flag=True, help="Run nothing; show what was measured.")
def main(files: tuple[Path, ...], names: tuple[str, ...], runs: int, folder: Path, only_table: bool) -> None:
    """Run scenarios on one lab under several settings, in turns, and show what users would have felt.

    Goes on where it was cut: valid runs that are in the folder are not made again, invalid ones are.
    """
    plan = load_topology(name=LAB)
    plans = chosen(plans_of(plan), names)
    files = files or FILES
    click.echo("\n".join(f"{name}: {told(plan, each)}" for name, each in plans.items()))
    if not only_table and (todo := missing(runs, list(plans), files, folder)):
        click.echo(f"{len(todo)} runs of {len(plans) * len(files) * runs} are to be made")
        measure(plans, lambda: missing(runs, list(plans), files, folder))
    click.echo("\n".join(table({name: valid_runs(folder / name, each) for name, each in plans.items()})))
    if not only_table and (todo := missing(runs, list(plans), files, folder)):
        raise click.ClickException(f"{len(todo)} runs are not valid yet; start this again")


def chosen(plans: Mapping[str, Topology], names: Sequence[str]) -> dict[str, Topology]:
    """Those that are named, or all; one that is not there is a mistake."""
    if strange := [name for name in names if name not in plans]:
        raise click.UsageError(
            f"no variant {', '.join(strange)}, or what the plan has already: {', '.join(plans)}"
        )
    return {name: each for name, each in plans.items() if not names or name in names}


def measure(plans: Mapping[str, Topology], still: Callable[[], Sequence[tuple[str, Path, Path]]]) -> None:
    """All that is still to be made, on one lab that is removed at the end; what is invalid, again."""
    began = next(iter(plans.values()))
    lab = open_lab(began, CONTAINERS, lambda _: None)
    try:
        with lab.state.locked(), closing(lab):
            Bringup(lab, stages_for(began)).require(*STAGES)
            for _ in range(TRIES):
                for name, file, place in still():
                    switch(lab, plans[name])
                    one(lab, file, place, seed=f"{file.stem}-{place.name}")
    finally:
        remove_lab(began.name)


if __name__ == "__main__":
    main()
