"""status and config: what is, and what is asked for."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from lab.artifacts.cache import default_root
from lab.cli.failures import CLUSTER_FAILED
from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.cli.status import examine, render
from lab.plan import effective
from lab.settings import Effective, shown
from lab.state import state_root

WIDEST = 60  # of a value; paths may be longer
pass_session = click.make_pass_decorator(Session, ensure=True)


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab status",
        "thwlab status --json | jq .machines",
        "thwlab --name two status",
    ),
)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@pass_session
def status(session: Session, as_json: bool) -> None:
    """Show machines, units, the API, certificates that end soon, and other labs.

    Exit code 0 if all that was started serves, 1 if some of it does not or nothing was started, 3 if there is
    no such lab or its daemon is dead.
    """
    seen = examine(session.attached())
    click.echo(json.dumps(asdict(seen), indent=2) if as_json else "\n".join(render(seen, session.flags)))
    if not seen.healthy:
        raise click.exceptions.Exit(CLUSTER_FAILED)


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab config",
        "thwlab --config my.yaml config | grep memory",
    ),
)
@pass_session
def config(session: Session) -> None:
    """Show every effective value and where it came from: option, variable, FILE:LINE or default."""
    chosen = shown(session.settings, session.plan, Effective("(date and time)", "default"))
    rows = [
        *((name, each.value, each.origin) for name, each in chosen.items()),
        *(row for row in effective(session.plan) if row[0] not in chosen),
        ("(state folder)", str(state_root()), "THWLAB_STATE, else by user"),
        ("(cache folder)", str(default_root()), "THWLAB_CACHE, else by user"),
    ]
    click.echo("\n".join(aligned(rows)))


def aligned(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """A line for each key, value and origin; a very long value moves its own origin only.  Pure."""
    first = max(len(key) for key, _, _ in rows)
    second = max((len(value) for _, value, _ in rows if len(value) <= WIDEST), default=0)
    return [f"{key:{first}} {value:{second}} {origin.replace('--lab-', '--')}" for key, value, origin in rows]


COMMANDS = (status, config)
