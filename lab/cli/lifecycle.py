"""up, down, snapshot, restore."""

import re
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from typing import TypeVar

import click

from lab.bringup import Bringup, Stage, ancestors, awaited_by, machines_for
from lab.choice import decided, provider_of
from lab.cli import INTERRUPTED, words
from lab.cli.options import LabCommand, examples
from lab.cli.progress import Progress, progress_for
from lab.cli.session import Session, no_such
from lab.debts import debts, insist_none
from lab.errors import FAILURES
from lab.laboratory import Laboratory
from lab.opening import made_with, open_lab, remove_lab
from lab.providers.base import Snapshot
from lab.settings import asked
from lab.stages import stages_for
from lab.users import insist_unused

T = TypeVar("T")
pass_session = click.make_pass_decorator(Session, ensure=True)
force = click.option("--force", is_flag=True, help="Also while a pytest run works with the lab.")
UNMEASURED = "some stages come after others too, by how slow the machines are: measured when they are new"
SNAPSHOT_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")


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
    "--until", metavar="STAGE", shell_complete=words.stages, help="Only this stage and what it needs."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--grow", is_flag=True, help="The plan may add machines and roles to the lab that runs.")
@pass_session
def up(session: Session, until: str | None, dry_run: bool, grow: bool) -> None:
    """Bring a lab up, or the rest of one; what runs already is left alone."""
    stages = chosen(stages_for(session.topology), until)
    if dry_run:
        click.echo("\n".join(would_do(session, stages, slow=_is_slow(session))))
        return
    try:
        _bring_up(session, stages, grow=grow)
    except KeyboardInterrupt:
        begun = session.state.path.exists()
        said = (
            left_behind(session) if begun else f"interrupted before anything of lab {session.name} was there"
        )
        click.echo(f"\n{said}", err=True)
        raise click.exceptions.Exit(INTERRUPTED) from None


def _bring_up(session: Session, stages: Sequence[Stage], *, grow: bool) -> None:
    start = time.monotonic()
    lab: Laboratory | None = None
    try:
        with progress_for({stage.name: stage.truth for stage in stages}) as progress, session.state.locked():
            lab = open_lab(
                session.topology, session.provider, progress.note, grow=grow, asked=asked(session.settings)
            )
            _require(lab, stages, progress)
    except FAILURES:
        if lab is not None:  # else nothing was begun, and there is nothing to go on from
            click.echo(left_behind(session), err=True)
        raise
    click.echo(f"lab {session.name} is up after {time.monotonic() - start:.1f} s")
    click.echo(f'  eval "$(thwlab{session.flags} env)" && kubectl get nodes')
    click.echo(f"  thwlab{session.flags} down removes it")


def _require(lab: Laboratory, stages: Sequence[Stage], progress: Progress) -> None:
    lab.tell = progress.step
    bringup = Bringup(lab, stages, progress.report)
    try:
        interruptible(lambda: bringup.require(*(stage.name for stage in stages)))
    finally:
        lab.close()


def chosen(stages: Sequence[Stage], until: str | None) -> list[Stage]:
    """All stages, or one with what it needs and what comes along.  Pure.

    `machines` stands in every table of stages and is none itself: they are up once they know each other.
    """
    if until is None:
        return list(stages)
    until = "hosts" if until == "machines" else until
    names = [stage.name for stage in stages]
    if until not in names:
        raise click.BadParameter(no_such("stage", until, names), param_hint="--until")
    by_name = {stage.name: stage for stage in stages}
    wanted = ancestors(by_name, [until, *(name for name in by_name[until].along if name in by_name)])
    return [stage for stage in stages if stage.name in wanted]


def _is_slow(session: Session) -> bool | None:
    """Whether the lab's machines are slow; None where nobody has measured them yet."""
    word = session.provider
    provider = provider_of(made_with(session.state, word) if word == "auto" else word, session.name)
    return provider.is_slow if provider.is_measured else None


def would_do(session: Session, stages: Sequence[Stage], *, slow: bool | None) -> list[str]:
    """What `up` would do, a line each; `slow` is None if that is not known of the machines.  Pure."""
    topology = session.topology
    there = machines_for(topology, stages)
    nodes = [node for node in topology.nodes if node.name in there]
    width = max((len(str(node.address)) for node in nodes), default=0)
    machines = [
        f"  {node.name:14} {node.address!s:{width}}  {', '.join(sorted(node.roles))}" for node in nodes
    ]
    names = [stage.name for stage in stages]
    before = {stage.name: awaited_by(stage, names, slow=slow) for stage in stages}
    steps = [f"  {stage.name:14} {stage.truth}{_after(before[stage.name])}" for stage in stages]
    provider = decided(session.provider, session.state)
    title = f"lab {topology.name}: Kubernetes {topology.versions.kubernetes}, provider {provider}"
    more = [UNMEASURED] if slow is None else []
    return [title, "machines:", *machines, "stages:", *steps, *more, "nothing was done (--dry-run)"]


def _after(stages: Sequence[str]) -> str:
    return f" (after {', '.join(stages)})" if stages else ""


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
        "thwlab down --force               also while a pytest run works with it, or if others began it",
    ),
)
@click.option("--force", is_flag=True, help="Also while a pytest run works with it, or if others began it.")
@pass_session
def down(session: Session, force: bool) -> None:
    """Remove everything the lab ever created, also after a crash or a reboot of this host."""
    start = time.monotonic()
    if remove_lab(session.name, word=session.provider, force=force):
        click.echo(f"lab {session.name} is removed, after {time.monotonic() - start:.1f} s")
    else:
        click.echo(f"there is no lab {session.name}; nothing to remove{session.other_labs()}")


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab snapshot fresh",
        "thwlab snapshot --list",
        "thwlab restore fresh",
        "thwlab snapshot --delete fresh",
    ),
)
@click.argument("snapshot_name", metavar="NAME", required=False, shell_complete=words.snapshots)
@click.option("--list", "listing", is_flag=True, help="The snapshots there are, oldest first.")
@click.option("--delete", "deleting", is_flag=True, help="Delete the snapshot NAME.")
@pass_session
def snapshot(session: Session, snapshot_name: str | None, listing: bool, deleting: bool) -> None:
    """Take a snapshot of all machines at one instant, to come back to; or list or delete one."""
    if listing == bool(snapshot_name) or (listing and deleting):
        raise click.UsageError("give a NAME, --delete NAME, or --list")
    if snapshot_name is None:
        lab = session.attached()
        click.echo(
            "\n".join(listed(lab.provider.snapshots(), lab.machines)) or f"no snapshots of lab {session.name}"
        )
        return
    (_delete if deleting else _take)(session, snapshot_name)


def _take(session: Session, name: str) -> None:
    if not SNAPSHOT_NAME.fullmatch(name):
        raise click.BadParameter(f"{name!r}: at most 40 of a-z, 0-9 and '-'", param_hint="NAME")
    with session.state.locked():
        provider = session.attached().provider
        insist_none(session.state)  # else whoever comes back to it comes back to the damage
        if name in [each.name for each in provider.snapshots()]:
            ways = f"`thwlab{session.flags} snapshot --delete {name}` removes it"
            raise click.BadParameter(f"there is a snapshot {name!r} already; {ways}", param_hint="NAME")
        provider.snapshot(name)
    click.echo(f"snapshot {name} is taken; `thwlab{session.flags} restore {name}` comes back to it")


def _delete(session: Session, name: str) -> None:
    with session.state.locked():
        provider = session.attached().provider
        _known(name, provider.snapshots())
        provider.forget_snapshot(name)
    click.echo(f"snapshot {name} is deleted")


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab restore fresh",
    ),
)
@click.argument("snapshot_name", metavar="NAME", shell_complete=words.snapshots)
@force
@pass_session
def restore(session: Session, snapshot_name: str, force: bool) -> None:
    """Bring all machines back to a snapshot; what was written since is gone.

    It does not wait until the cluster serves again; `thwlab up` does.
    """
    lab = session.attached()
    insist_restorable(snapshot_name, lab.provider.snapshots(), lab.machines)
    with session.state.locked():
        if not force:
            insist_unused(session.state.path, f"thwlab{session.flags} restore {snapshot_name} --force")
        lab.provider.restore(snapshot_name)
    click.echo(
        f"lab {session.name} is back at {snapshot_name}, and what it runs is only starting; "
        f"`thwlab{session.flags} up` waits until all of it serves"
    )
    for debt in debts(session.state.path):  # it may lie beside the machines, where no snapshot reaches
        click.echo(f"first: `thwlab{session.flags} heal --all` makes sure that nothing is left of {debt}")


def listed(snapshots: Sequence[Snapshot], machines: Collection[str]) -> list[str]:
    """A line for each: name, when, and which machines it is not of.  Pure."""
    return [f"{each.name:24} {each.taken}{_not_of(each, machines)}" for each in snapshots]


def insist_restorable(name: str, snapshots: Sequence[Snapshot], machines: Collection[str]) -> None:
    """The user's mistake if there is no such snapshot, or not of every machine.  Pure."""
    if lacking := _not_of(_known(name, snapshots), machines):
        raise click.BadParameter(f"{name!r} brings back no whole lab:{lacking}", param_hint="NAME")


def _known(name: str, snapshots: Sequence[Snapshot]) -> Snapshot:
    known = {each.name: each for each in snapshots}
    if name not in known:
        raise click.BadParameter(no_such("snapshot", name, list(known)), param_hint="NAME")
    return known[name]


def _not_of(snapshot: Snapshot, machines: Collection[str]) -> str:
    lacking = [name for name in machines if name not in snapshot.machines]
    return f"  (not of {', '.join(lacking)})" if lacking else ""


COMMANDS = (up, down, snapshot, restore)
