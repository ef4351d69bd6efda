"""run, recheck and heal: the lab broken on purpose, judged, and made whole again."""

import json
import signal
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import click

from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.cluster import Cluster
from lab.errors import ClusterError, ConfigError, LabError, flat
from lab.faults.healing import heal_all, heal_due
from lab.faults.undo import debts
from lab.ownership import make_folder, point
from lab.scenario.between import Between, Policy
from lab.scenario.breaking import Unavailable
from lab.scenario.judging import Judgement, Status, judged, records_of
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, load, remembered
from lab.scenario.performing import lines, perform
from lab.scenario.plan import Plan, fresh_seed, plan_of
from lab.scenario.running import NotFit
from lab.scenario.telling import lines as planned
from lab.users import Sign

pass_session = click.make_pass_decorator(Session, ensure=True)
NOT_FIT = Status.UNKNOWN


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab run scenarios/apiserver-crash.yaml",
        "thwlab run scenarios/apiserver-crash.yaml --dry-run   what would be done, and judged by what",
        "thwlab run scenarios/*.yaml --between restore         each on a lab as it was at first",
        "thwlab run scenarios/silent-master.yaml --repeat 5    worst, median and spread",
        "thwlab recheck artifacts/latest/apiserver-crash       judge a stored run again",
    ),
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--seed", default="", help="All choices follow from it; printed and stored if none is given.")
@click.option("--repeat", default=1, type=click.IntRange(min=1), help="Run each so many times.")
@click.option(
    "--between",
    type=click.Choice([policy.value for policy in Policy]),
    default=Policy.AUTO.value,
    show_default=True,
    help="How the next scenario is kept from the damage of the last.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done; needs no lab and touches none.")
@pass_session
def run(session: Session, files: Sequence[Path], seed: str, repeat: int, between: str, dry_run: bool) -> None:
    """Break the running lab as scenario files say, measure what its users felt, and judge it.

    Exit code 0 if every invariant held, 1 if one was broken, 3 if one is unknown or a run proves nothing, 2
    for a mistake in a file.
    """
    known = Known(session.known_plan)
    scenarios = _loaded(files, known)
    plans = [(scenario, plan_of(scenario, seed or fresh_seed())) for scenario in scenarios]
    if dry_run:
        for scenario, plan in plans:
            click.echo("\n".join([*planned(scenario, plan, known), ""]))
        return
    folder = _run_folder(session)
    todo = [each for each in plans for _ in range(repeat)]
    with closing(session.attached()) as lab:
        sign = Sign(lab.state.path, str(folder))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is broken is healed on the way out
        try:
            status = _perform(Cluster(lab), todo, folder, Policy(between))
        finally:
            sign.lift()
    click.echo(f"records: {folder}")
    raise click.exceptions.Exit(int(status))


def _loaded(files: Sequence[Path], known: Known) -> list[Scenario]:
    """Every scenario; the mistakes of all files together."""
    found, mistakes = [], []
    for path in files:
        try:
            found.append(load(path, known))
        except ConfigError as error:
            mistakes += error.problems
    if mistakes:
        raise ConfigError("the scenarios", mistakes)
    return found


def _run_folder(session: Session) -> Path:
    settings = session.settings
    name = settings["run"].value or time.strftime("%Y%m%d-%H%M%S") + "-run"
    folder = make_folder(Path(settings["artifacts"].value) / name)
    point(folder.parent / "latest", folder.name)
    return folder


def _perform(cluster: Cluster, todo: Sequence[tuple[Scenario, Plan]], folder: Path, policy: Policy) -> Status:
    """Each in turn on a whole lab; the worst of what they come to."""
    keep = Between(cluster, policy)
    try:
        keep.begin()
    except (ClusterError, LabError, BaseExceptionGroup) as error:
        raise NotFit(
            f"the lab is not whole, so it is not broken any further: {flat(error)}", remedy="thwlab up"
        ) from error
    statuses = []
    try:
        for number, (scenario, plan) in enumerate(todo, 1):
            place = folder / f"{number:02}-{scenario.name}"
            statuses.append(_one(cluster, scenario, plan, place))
            if number < len(todo) and (why := keep.after(destroyed=scenario.destroys_data)):
                click.echo(f"the lab went back to where it was: {why}")
    finally:
        keep.end()
    return max(statuses, key=(Status.HELD, Status.UNKNOWN, Status.BROKEN).index)


def _one(cluster: Cluster, scenario: Scenario, plan: Plan, place: Path) -> Status:
    try:
        return perform(cluster, scenario, plan, place, click.echo).judgement.status
    except Unavailable as why:
        click.echo(f"{scenario.name}: skipped, this machine cannot do it: {why}")
        return Status.HELD


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab recheck artifacts/latest/01-apiserver-crash", "thwlab recheck RUN --json | jq .verdict"
    ),
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@pass_session
def recheck(session: Session, folder: Path, as_json: bool) -> None:
    """Judge a stored run again, by the scenario as it was then; needs no lab.

    Exit codes as those of `thwlab run`.
    """
    judgement = _rejudged(session, folder)
    if as_json:
        findings = [finding.record() for finding in judgement.findings]
        told = {"scenario": judgement.scenario, "verdict": judgement.word, "findings": findings}
        click.echo(json.dumps({**told, "invalid": judgement.invalid}, indent=2))
    else:
        click.echo("\n".join(lines(judgement)))
    raise click.exceptions.Exit(int(judgement.status))


def _rejudged(session: Session, folder: Path) -> Judgement:
    records = records_of(folder)
    told = next(record for record in records if record["kind"] == "scenario")
    return judged(records, remembered(told["text"], told["source"], Known(session.topology)))


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab heal             what should have been healed by now",
        "thwlab heal --all       everything, also what a run is holding broken just now",
    ),
)
@click.option("--all", "everything", is_flag=True, help="Also what is not due yet.")
@pass_session
def heal(session: Session, everything: bool) -> None:
    """Undo what a run of a scenario broke and could not undo itself; harmless when there is nothing.

    Exit code 0 if nothing is left broken.
    """
    owed = debts(session.state.path)
    if not owed:
        click.echo(f"lab {session.name}: nothing is broken on purpose")
        return
    with closing(session.attached()) as lab:
        cluster = Cluster(lab)
        done = (heal_all if everything else heal_due)(cluster, session.state.path)
    for line in done:
        click.echo(f"healed: {line}")
    for debt in debts(session.state.path):
        click.echo(f"not due yet: {debt}; thwlab{session.flags} heal --all undoes it now")


COMMANDS = (run, recheck, heal)
