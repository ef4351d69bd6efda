"""summary: what a run proved, once more."""

from pathlib import Path

import click

from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.results import as_markdown, as_text, results_of
from lab.settings import LATEST

pass_session = click.make_pass_decorator(Session, ensure=True)


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab summary                       the newest run",
        "thwlab summary artifacts/20261126-130501-14316",
        "thwlab summary --markdown            for the page of a CI job",
    ),
)
@click.argument("run", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
@click.option("--markdown", is_flag=True, help="As Markdown.")
@pass_session
def summary(session: Session, run: Path | None, markdown: bool) -> None:
    """Show the tables that a run ended with, its totals, and what is red; RUN is its folder.

    Without RUN it is the run that LAB_RUN names, else the newest. Reads only; needs no lab.
    """
    folder = run or _meant(session)
    if not folder.is_dir():
        hint = "" if run else "; runs are looked for below the current folder (LAB_ARTIFACTS), or name one"
        raise click.BadParameter(f"there is no folder {folder}{hint}", param_hint="RUN")
    seen = results_of(folder)
    click.echo("\n".join(as_markdown(seen) if markdown else as_text(seen)))


def _meant(session: Session) -> Path:
    return Path(session.settings["artifacts"].value) / (session.settings["run"].value or LATEST)


COMMANDS = (summary,)
