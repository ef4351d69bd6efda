"""What the Tab key offers: machines, units, stages, snapshots, labs.  Where nothing can be known, nothing."""

from collections.abc import Callable, Iterable

import click

from lab.choice import WORDS
from lab.cli.session import Session
from lab.cli.status import units_of
from lab.cli.units import short
from lab.errors import LabError
from lab.stages import stages_for
from lab.state import labs
from lab.versions import rows

Complete = Callable[[click.Context, click.Parameter, str], list[str]]


def _offered(known: Callable[[click.Context], Iterable[str]]) -> Complete:
    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        try:
            return [word for word in known(ctx) if word.startswith(incomplete)]
        except (LabError, OSError):
            return []

    return complete


def _session(ctx: click.Context) -> Session:
    return ctx.ensure_object(Session)


def _machines(ctx: click.Context) -> Iterable[str]:
    return [node.name for node in _session(ctx).known_plan.nodes]


def _units(ctx: click.Context) -> Iterable[str]:
    """Those that the plan puts on the machine that was typed before, by the names people use."""
    planned = units_of(_session(ctx).known_plan)
    return [short(unit) for unit in planned.get(str(ctx.params.get("machine_name")), [])]


def _stages(ctx: click.Context) -> Iterable[str]:
    return [stage.name for stage in stages_for(_session(ctx).topology)]


def _snapshots(ctx: click.Context) -> Iterable[str]:
    return [each.name for each in _session(ctx).attached().provider.snapshots()]


machines = _offered(_machines)
units = _offered(_units)
stages = _offered(_stages)
snapshots = _offered(_snapshots)
providers = _offered(lambda _: WORDS)
lab_names = _offered(lambda _: [lab.name for lab in labs()])
versions = _offered(lambda _: rows())
