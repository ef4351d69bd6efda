"""run, recheck and shrink: the lab broken on purpose, and judged by numbers."""

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import click

from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.failover.comparing import apart, compared, only_in_one
from lab.failover.performing import lines
from lab.failover.series import Series
from lab.failover.stored import judged_below, plans_below, rejudged
from lab.history import history, read
from lab.ownership import make_folder, point
from lab.scenario.between import Policy
from lab.scenario.breaking import hindrance
from lab.scenario.composing import composed
from lab.scenario.fitness import heal_left
from lab.scenario.forms import seconds
from lab.scenario.judging import Judgement, Status, broken_in
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, load, load_all
from lab.scenario.plan import Plan, differences, fresh_seed, from_file, plan_of
from lab.scenario.replaying import insist_known, moved
from lab.scenario.shrinking import Shrinker, shows
from lab.scenario.telling import lines as planned
from lab.turns import Turns
from lab.users import Sign

SCENARIOS = Path("scenarios")
RANDOM = "10m"
Todo = list[tuple[Scenario, Plan]]
pass_session = click.make_pass_decorator(Session, ensure=True)
between = click.option(
    "--between",
    type=click.Choice([policy.value for policy in Policy]),
    help="How a run is kept from the damage of the last: proof, a snapshot, or proof and else a snapshot"
    " (auto, unless LAB_BETWEEN says otherwise).",
)


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab run scenarios/apiserver-crash.yaml",
        "thwlab run scenarios/apiserver-crash.yaml --dry-run   what would be done, and judged by what",
        "thwlab run scenarios/master-silent.yaml --repeat 5",
        "thwlab run --random 10m --seed 7                      faults of scenarios/*.yaml at random",
        "thwlab run scenarios/master-crash.yaml --replay artifacts/latest/01-master-crash/plan.json",
    ),
)
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--seed", help="All choices follow from it (LAB_SEED); a new one is printed and stored.")
@click.option("--repeat", type=click.IntRange(min=1), help="Run each so many times (LAB_REPEAT, else once).")
@click.option(
    "--random",
    "time_for_random",
    metavar="[TIME]",
    is_flag=False,
    flag_value=RANDOM,
    help=f"Faults of the files at random, so long (else {RANDOM}).",
)
@click.option(
    "--replay", type=click.Path(path_type=Path), help="Do a recorded plan.json again, on the roles of now."
)
@click.option("--replay-targets", is_flag=True, help="On the machines of then instead.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; needs no lab and touches none.")
@between
@pass_session
def run(
    session: Session,
    files: Sequence[Path],
    seed: str | None,
    repeat: int | None,
    time_for_random: str | None,
    replay: Path | None,
    replay_targets: bool,
    dry_run: bool,
    between: str | None,
) -> None:
    """Break the running lab as scenario files say, measure what its users felt, and judge it.

    Exit code 0 if every invariant held, 1 if one was broken, 3 if one is unknown or a run proves nothing, 2
    for a mistake in a file.
    """
    if time_for_random and replay:
        raise click.UsageError("--random makes a new plan, --replay takes a recorded one: give one")
    if replay_targets and not replay:
        raise click.UsageError("--replay-targets says how to --replay a plan.json; name it")
    known = Known(session.topology if dry_run else session.known_plan)
    settings = session.settings
    seed = seed or settings["seed"].value or fresh_seed()
    if time_for_random:
        length = _length(time_for_random)
        pool = _loaded(files, known) if files else load_all(SCENARIOS, known)
        todo = _at_random(pool if dry_run else _possible(session, pool), known, seed, length)
    elif replay:
        todo = _again(files, known, replay, pinned=replay_targets)
    else:
        todo = [(scenario, plan_of(scenario, seed)) for scenario in _loaded(files, known)]
    if dry_run:
        for scenario, plan in todo:
            click.echo("\n".join([*planned(scenario, plan, known), ""]))
        return
    times = range(repeat or int(settings["repeat"].value))
    series, status = _performed(session, [each for each in todo for _ in times], between)
    if replay:
        _tell_differences(from_file(replay), series)
    raise click.exceptions.Exit(int(status))


def _loaded(files: Sequence[Path], known: Known) -> list[Scenario]:
    """Every scenario; the mistakes of all files together."""
    if not files:
        raise click.UsageError("name scenario files, such as scenarios/apiserver-crash.yaml; or --random 10m")
    found, mistakes = [], []
    for path in files:
        try:
            found.append(load(path, known))
        except ConfigError as error:
            mistakes += error.problems
    if mistakes:
        raise ConfigError("the scenarios", mistakes)
    return found


def _possible(session: Session, pool: Sequence[Scenario]) -> list[Scenario]:
    """Those of which the running lab can do every fault; the others are named.

    Who leads, and what a machine can do, is asked of a lab on which nothing is broken any more.
    """
    with _alone(session, "thwlab run --random") as cluster:
        heal_left(cluster, click.echo)
        why = {each.name: hindrance(cluster, each.faults) for each in pool}
    if left_out := [name for name, reason in why.items() if reason]:
        click.echo(f"left out, for this lab cannot do them: {', '.join(left_out)}")
    return [each for each in pool if not why[each.name]]


def _length(text: str) -> float:
    try:
        return seconds(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--random") from error


def _at_random(pool: Sequence[Scenario], known: Known, seed: str, length: float) -> Todo:
    made = composed(pool, known, seed=seed, seconds=length)
    return [(made, plan_of(made, seed))]


def _again(files: Sequence[Path], known: Known, replay: Path, *, pinned: bool) -> Todo:
    recorded = from_file(replay)
    insist_known(recorded, known, str(replay))
    fitting = [each for each in _loaded(files, known) if each.name == recorded.scenario]
    if not fitting:
        raise click.UsageError(f"{replay} is a plan of scenario {recorded.scenario}; name its file too")
    if pinned:
        recorded = recorded.pinned()
        insist_known(recorded, known, str(replay))
    return [(fitting[0], recorded)]


def _tell_differences(recorded: Plan, series: Series) -> None:
    for each in series.done:
        told = history(read(each.folder / "records.jsonl"))
        found = [*differences(recorded, from_file(each.folder / "plan.json")), *moved(recorded, told)]
        click.echo("\n".join(["differs from the recorded run:", *found]) if found else "as it was recorded")


def _performed(session: Session, todo: Todo, between: str | None) -> tuple[Series, Status]:
    """Run them all on the running lab."""
    folder = _run_folder(session)
    with _alone(session, str(folder)) as cluster:
        series = Series(cluster, folder, _policy(session, between), click.echo)
        try:
            status = series.run(todo)
        finally:  # also what a run that was cut short came to
            if series.done or series.skipped:
                click.echo("\n".join(["", *series.summary()]))
    return series, status


def _policy(session: Session, between: str | None) -> Policy:
    return Policy(between or session.settings["between"].value)


@contextmanager
def _alone(session: Session, doing: str) -> Iterator[Cluster]:
    """The running lab for nobody else: who begins a run heals whatever he finds broken on purpose."""
    with closing(session.attached()) as lab:
        turns, sign = Turns(lab.state, click.echo), Sign(lab.state.path, doing)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is broken is healed on the way out
        try:
            turns.take("thwlab run", alone=True)
            yield Cluster(lab)
        finally:
            turns.end()
            sign.lift()


def _run_folder(session: Session) -> Path:
    settings = session.settings
    name = settings["run"].value or time.strftime("%Y%m%d-%H%M%S") + "-run"
    folder = make_folder(Path(settings["artifacts"].value) / name)
    point(folder.parent / "latest", folder.name)
    return folder


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
    _, judgement = rejudged(folder, Known(session.topology))
    if as_json:
        findings = [finding.record() for finding in judgement.findings]
        told = {"scenario": judgement.scenario, "verdict": judgement.word, "findings": findings}
        click.echo(json.dumps({**told, "invalid": judgement.invalid}, indent=2))
    else:
        click.echo("\n".join(lines(judgement)))
    raise click.exceptions.Exit(int(judgement.status))


@click.command(cls=LabCommand, epilog=examples("thwlab shrink artifacts/latest/01-random-7"))
@click.argument("folder", type=click.Path(path_type=Path))
@between
@pass_session
def shrink(session: Session, folder: Path, between: str | None) -> None:
    """Find the fewest and shortest faults with which a run that was broken is broken still.

    Runs parts of its plan on the running lab until none can be left out, and the result three times more.
    Only what that run broke counts: with fewer faults others may break, that expect one which is left out.
    A run that proves nothing counts for neither, and is made again, three times at most.
    Exit code 0 if it broke each of these times.
    """
    scenario, judgement = rejudged(folder, Known(session.topology))
    if judgement.status is not Status.BROKEN:
        raise click.UsageError(f"{folder} is {judgement.word}; only a broken run can be made smaller")
    target = _run_folder(session)
    plan = from_file(folder / "plan.json")
    guilty = broken_in(judgement)
    with _alone(session, str(target)) as cluster:

        def breaks(tried: Plan) -> bool | None:
            place = target / f"try-{len(list(target.glob('try-*'))) + 1:02}"
            series = Series(cluster, place, _policy(session, between), click.echo, go_on=True)
            series.run([(scenario, tried)])
            return shows(guilty, [each.judgement for each in series.done])

        found = Shrinker(breaks).shrunk(plan)
    (target / "plan.json").write_text(found.plan.to_json())
    click.echo(f"{len(found.plan.steps)} faults are left after {found.runs} runs: {target / 'plan.json'}")
    click.echo("\n".join(f"  {step} for {step.hold:g} s" for step in found.plan.steps))
    click.echo(f"broken {found.confirmed} of {found.wanted} times more")
    if not found.is_sure:
        raise click.exceptions.Exit(int(Status.UNKNOWN))


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab compare artifacts/nginx artifacts/haproxy     five runs each, for example",
        "thwlab compare RUN/01-master-crash RUN/02-master-crash",
    ),
)
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@pass_session
def compare(session: Session, first: Path, second: Path) -> None:
    """Set two runs, or two sets of runs, beside each other: median, worst, spread, and whether they differ.

    They do where no run of one lies among those of the other.  Invalid runs are left out, and counted.  What
    the two sets were run on is said first: plan and provider, where they differ.
    """
    sets = [_judged_below(session, folder) for folder in (first, second)]
    plans = [plans_below(folder) for folder in (first, second)]
    for line in (*apart(*plans), *only_in_one(*sets), *(each.line() for each in compared(*sets))):
        click.echo(line)


def _judged_below(session: Session, folder: Path) -> list[Judgement]:
    """Every run below a folder, or the folder's own, that proves something."""
    found = judged_below(folder, Known(session.topology))
    if not found:
        raise ConfigError(str(folder), [f"{folder}: holds no run of a scenario"])
    valid = [each for each in found if not each.invalid]
    click.echo(f"{folder}: {len(valid)} runs, {len(found) - len(valid)} invalid ones left out")
    return valid


COMMANDS = (run, recheck, shrink, compare)
