"""heal undoes what was broken on purpose; rejoin gives a machine a member of etcd that it has lost."""

from contextlib import closing

import click

from lab.cli import words
from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.cluster import Cluster
from lab.debts import debts, examined, insist_none
from lab.errors import LabError
from lab.faults.healing import heal_all, heal_due
from lab.faults.members import rejoin_lost
from lab.wait import NotYet

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


@click.command(
    cls=LabCommand,
    epilog=examples("thwlab rejoin k8s-lb      its member was removed, or has lost its data"),
)
@click.argument("machine_name", metavar="MACHINE", shell_complete=words.machines)
@pass_session
def rejoin(session: Session, machine_name: str) -> None:
    """Give a machine a new member of etcd in the place of one that cannot come back.

    Whatever the old one has on its disk is deleted; the new one gets the others' data. A member that serves
    is left alone, and so is one without which the others are no quorum.
    """
    insist_none(session.state)
    lab, machine = session.machine(machine_name)
    with closing(lab):
        try:
            done = rejoin_lost(Cluster(lab), machine)
        except NotYet as error:
            raise LabError(f"{machine_name}: {error}", remedy="thwlab status") from error
    if done:
        click.echo(f"{machine_name}: a new member of etcd serves, with the others' data")
    else:
        click.echo(f"{machine_name}: its member serves; nothing was done")


COMMANDS = (heal, rejoin)
