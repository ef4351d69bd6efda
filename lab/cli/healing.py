"""heal: what was broken on purpose is made whole again."""

from contextlib import closing

import click

from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.cluster import Cluster
from lab.debts import debts, examined
from lab.faults.healing import heal_all, heal_due

pass_session = click.make_pass_decorator(Session, ensure=True)


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
    if not any(examined(session.state.path)):
        click.echo(f"lab {session.name}: nothing is broken on purpose")
        return
    with closing(session.attached()) as lab:
        cluster = Cluster(lab)
        done = (heal_all if everything else heal_due)(cluster, session.state.path)
    for line in done:
        click.echo(f"healed: {line}")
    for debt in debts(session.state.path):
        click.echo(f"not due yet: {debt}; thwlab{session.flags} heal --all undoes it now")


COMMANDS = (heal,)
