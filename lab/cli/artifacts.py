"""artifacts list, fetch, verify, gc: the verified programs in the cache."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from lab.artifacts.cache import Cache
from lab.artifacts.catalogue import optional_entries
from lab.artifacts.fetch import Listed, Progress, fetch, gc, list_, verify
from lab.artifacts.prepare import box_of, disk_of, root_of, supplies_of, unneeded_images
from lab.choice import Made, decided, made_of, provider_of
from lab.cli.options import LabCommand, examples
from lab.cli.progress import progress_for
from lab.cli.session import Session
from lab.errors import LabError
from lab.providers.vagrant.libvirt.boxes import boxes_in_use
from lab.state import labs
from lab.topology import Cni, Topology

BUILDERS = {Made.ROOT: root_of, Made.BOX: box_of, Made.DISK: disk_of}

pass_session = click.make_pass_decorator(Session, ensure=True)


@click.group(
    epilog=examples(
        "thwlab artifacts list",
        "thwlab artifacts fetch --image       all that `up` needs; then it works without a network",
        "thwlab artifacts fetch --versions 1.36.3",
        "thwlab artifacts verify",
        "thwlab artifacts gc",
    )
)
def artifacts() -> None:
    """The programs a cluster is made of: verified once, kept for all labs of this user."""


@artifacts.command("list", cls=LabCommand)
@pass_session
def show(session: Session) -> None:
    """Show what the plan needs, whether it is there and from where, and what else is in the cache."""
    cache = Cache()
    click.echo(f"cache {cache.root}")
    for row in list_(session.topology.versions, cache, also=also(session.topology)):
        click.echo(line(row))


@artifacts.command("fetch", cls=LabCommand)
@click.option("--offline", is_flag=True, help="Only look whether all is in the cache.")
@click.option("--image", is_flag=True, help="Build the machines' image too; needs root.")
@pass_session
def get(session: Session, offline: bool, image: bool) -> None:
    """Have every program the plan needs: from the cache, a release, or built from Go modules."""
    topology, cache = session.topology, Cache()
    with progress_for({}) as progress:
        programs = fetch(
            topology.versions,
            cache,
            report=lambda seen: progress.note(told(seen)),
            offline=offline,
            also=also(topology),
        )
        if not provider_of(session.provider, session.name).is_furnished:
            supplies_of(topology, progress.note, offline=offline)
        elif image:
            BUILDERS[made_of(decided(session.provider, session.state))](topology, progress.note)
    click.echo(f"{len(programs)} programs are verified in {cache.root}")


@artifacts.command("verify", cls=LabCommand)
@pass_session
def check(session: Session) -> None:
    """Read everything in the cache again; exit code 3 if something changed, or nothing is there."""
    assert session.settings  # read, so that a wrong variable is refused here too
    cache = Cache()
    problems = verify(cache)
    if not problems:
        raise LabError(
            f"nothing was verified, for the cache {cache.root} is empty", remedy="thwlab artifacts fetch"
        )
    for key, problem in problems.items():
        click.echo(f"{'CHANGED' if problem else 'ok':8} {key}")
    if wrong := [problem for problem in problems.values() if problem]:
        raise LabError("\n".join(wrong))


@artifacts.command("gc", cls=LabCommand)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_session
def clean(session: Session, yes: bool) -> None:
    """Remove what the plan does not need; other plans would have to fetch it again.

    What labs that are there have their disks over stays.
    """
    topology, cache = session.topology, Cache()
    rows = list_(topology.versions, cache, also=optional_entries())
    extra = [row for row in rows if not row.wanted]
    images = unneeded_images(topology)
    if not extra and not images:
        click.echo("everything in the cache is needed")
        return
    click.echo("\n".join(f"  {each}" for each in [*(row.key for row in extra), *images]))
    if not yes:
        click.confirm("Remove these?", abort=True)
    gone = gc(cache, [topology.versions])
    removed = len(gone) + _removed(images)
    everything = len(extra) + len(images)
    click.echo(f"{removed} removed" + (", others are in use" if removed < everything else ""))


def _removed(images: Sequence[Path]) -> int:
    """How many of these went: those over which VMs of a lab have their disks are passed over."""
    used = boxes_in_use(each.path for each in labs())  # now, for a lab may have come up since the question
    going = [path for path in images if path.parent.name != "boxes" or path.name not in used]
    for path in going:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return len(going)


def also(topology: Topology) -> tuple[str, ...]:
    """The optional entries that this plan needs."""
    return ("flannel",) if topology.cni is Cni.FLANNEL else ()


def line(row: Listed) -> str:
    """One line of the list.  Pure."""
    state = "extra" if not row.wanted else "MISSING" if row.problem else "ok"
    return f"{state:8} {row.key!s:34} {row.problem or row.source}  ({', '.join(row.programs)})"


def told(seen: Progress) -> str:
    """Where a fetch stands, in a line.  Pure."""
    part = f" {seen.done:.0%}" if seen.done is not None and seen.done < 1 else ""
    left = f", about {seen.seconds_left:.0f} s left" if seen.seconds_left else ""
    return f"{seen.item} ({seen.number}/{seen.total}) {seen.phase}{left}{part}"


COMMANDS = (artifacts,)
