"""up, down, snapshot, restore."""

import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import click

from lab.bringup import Bringup, Stage, ancestors, machines_for
from lab.cli.failures import INTERRUPTED
from lab.cli.options import LabCommand, examples
from lab.cli.progress import Progress, progress_for
from lab.cli.session import Session, no_such
from lab.errors import ClusterError, LabError
from lab.laboratory import Laboratory
from lab.opening import open_lab, remove_lab
from lab.settings import asked
from lab.stages import stages_for
from lab.state import StateFolder

T = TypeVar("T")
pass_session = click.make_pass_decorator(Session, ensure=True)
SNAPSHOT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


def stage_names(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """For shell completion."""
    try:
        stages = stages_for(ctx.ensure_object(Session).topology)
    except LabError:
        return []
    return [stage.name for stage in stages if stage.name.startswith(incomplete)]


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab up                         the guide's cluster",
        "thwlab up --until etcd            three machines and etcd, no more",
        "thwlab up --dry-run               the stages, and what each waits for",
        "thwlab up --config my.yaml        a plan of your own",
        "thwlab up --config more.yaml --grow   add its machines and roles to the lab that runs",
        "thwlab up --name two --versions 1.36.3",
    ),
)
@click.option(
    "--until", metavar="STAGE", shell_complete=stage_names, help="Only this stage and what it needs."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--grow", is_flag=True, help="The plan may add machines and roles to the lab that runs.")
@pass_session
def up(session: Session, until: str | None, dry_run: bool, grow: bool) -> None:
    """Bring a lab up, or the rest of one; what runs already is left alone."""
    stages = chosen(stages_for(session.topology), until)
    if dry_run:
        click.echo("\n".join(would_do(session, stages)))
        return
    try:
        _bring_up(session, stages, grow=grow)
    except KeyboardInterrupt:
        click.echo(f"\n{left_behind(session)}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None
    except (LabError, ClusterError, BaseExceptionGroup):
        if session.state.path.exists():
            click.echo(left_behind(session), err=True)
        raise


def _bring_up(session: Session, stages: Sequence[Stage], *, grow: bool) -> None:
    start = time.monotonic()
    with progress_for({stage.name: stage.truth for stage in stages}) as progress, session.state.locked():
        lab = open_lab(
            session.topology, session.provider, progress.note, grow=grow, asked=asked(session.settings)
        )
        try:
            interruptible(lambda: _require(lab, stages, progress))
        finally:
            lab.close()
    click.echo(f"lab {session.name} is up after {time.monotonic() - start:.1f} s")
    click.echo(f'  eval "$(thwlab{session.flags} env)" && kubectl get nodes')
    click.echo(f"  thwlab{session.flags} down removes it")


def _require(lab: Laboratory, stages: Sequence[Stage], progress: Progress) -> None:
    Bringup(lab, stages, progress.report).require(*(stage.name for stage in stages))


def chosen(stages: Sequence[Stage], until: str | None) -> list[Stage]:
    """All stages, or one and what it needs.  Pure."""
    if until is None:
        return list(stages)
    names = [stage.name for stage in stages]
    if until not in names:
        raise click.BadParameter(no_such("stage", until, names), param_hint="--until")
    wanted = ancestors({stage.name: stage for stage in stages}, [until])
    return [stage for stage in stages if stage.name in wanted]


def would_do(session: Session, stages: Sequence[Stage]) -> list[str]:
    """What `up` would do, a line each.  Pure."""
    topology = session.topology
    there = machines_for(topology, stages)
    nodes = [node for node in topology.nodes if node.name in there]
    machines = [f"  {node.name:14} {node.address}  {', '.join(sorted(node.roles))}" for node in nodes]
    steps = [f"  {stage.name:14} {stage.truth}{_after(stage)}" for stage in stages]
    title = f"lab {topology.name}: Kubernetes {topology.versions.kubernetes}, provider {session.provider}"
    return [title, "machines:", *machines, "stages:", *steps, "nothing was done (--dry-run)"]


def _after(stage: Stage) -> str:
    return f" (after {', '.join(stage.needs)})" if stage.needs else ""


def left_behind(session: Session) -> str:
    """What is still there after a call that did not finish, and what removes it."""
    again = f"`thwlab{session.flags} up` goes on from here"
    return f"lab {session.name} stays as it is; {again}, `thwlab{session.flags} down` removes it"


def interruptible(work: Callable[[], T]) -> T:
    """Do it in a thread of its own, so that Ctrl-C is heard at once and not when stages have ended."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - handed over to the waiting thread
            result.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return result.result()


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab down",
        "thwlab down --name two",
    ),
)
@pass_session
def down(session: Session) -> None:
    """Remove everything the lab ever created, also after a crash or a reboot of this host."""
    start = time.monotonic()
    if remove_lab(session.name):
        click.echo(f"lab {session.name} is removed, after {time.monotonic() - start:.1f} s")
    else:
        click.echo(f"there is no lab {session.name}; nothing to remove")


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab snapshot fresh",
        "thwlab snapshot --list",
        "thwlab restore fresh",
    ),
)
@click.argument("snapshot_name", metavar="NAME", required=False)
@click.option("--list", "listing", is_flag=True, help="The snapshots there are.")
@pass_session
def snapshot(session: Session, snapshot_name: str | None, listing: bool) -> None:
    """Take a snapshot of all machines at one instant, to come back to."""
    if listing == bool(snapshot_name):
        raise click.UsageError("give either a NAME or --list")
    if listing:
        click.echo("\n".join(taken(session.state)) or f"no snapshots of lab {session.name}")
        return
    assert snapshot_name
    _check_new(snapshot_name, taken(session.state))
    with session.state.locked():
        session.attached().provider.snapshot(snapshot_name)
        _folder(session.state).mkdir(exist_ok=True)
        (_folder(session.state) / snapshot_name).touch()
    click.echo(f"snapshot {snapshot_name} is taken; `thwlab{session.flags} restore {snapshot_name}`")


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab restore fresh",
    ),
)
@click.argument("snapshot_name", metavar="NAME")
@pass_session
def restore(session: Session, snapshot_name: str) -> None:
    """Bring all machines back to a snapshot; what was written since is gone."""
    known = taken(session.state)
    if snapshot_name not in known:
        raise click.BadParameter(no_such("snapshot", snapshot_name, known), param_hint="NAME")
    with session.state.locked():
        session.attached().provider.restore(snapshot_name)
    click.echo(
        f"lab {session.name} is back at {snapshot_name}; `thwlab{session.flags} status` shows how it is"
    )


def taken(state: StateFolder) -> list[str]:
    """The snapshots that `thwlab snapshot` took of this lab, oldest first."""
    folder = _folder(state)
    there = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime) if folder.exists() else []
    return [path.name for path in there]


def _folder(state: StateFolder) -> Path:
    return state.path / "snapshots"


def _check_new(name: str, known: Sequence[str]) -> None:
    if not SNAPSHOT_NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r}: at most 40 of a-z, 0-9 and '-'", param_hint="NAME")
    if name in known:
        raise click.BadParameter(f"there is a snapshot {name!r} already", param_hint="NAME")


COMMANDS = (up, down, snapshot, restore)
