"""doctor: what this host lacks, and installing it."""

import os
import sys
from collections.abc import Mapping, Sequence

import click

from lab.choice import LIBVIRT_PRIVATE, decided
from lab.cli.failures import LAB_FAILED
from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.doctor import Finding, Verdict, gather, missing
from lab.doctor import examine as examine_host
from lab.doctor.fix import Command, carry_out, repair_for
from lab.errors import LabError
from lab.rights import same_lab
from lab.state import state_root

pass_session = click.make_pass_decorator(Session, ensure=True)
MARK = max(len(verdict) for verdict in Verdict)
COLOURS = {Verdict.GOOD: "green", Verdict.MISSING: "red", Verdict.WARNING: "yellow", Verdict.UNTRIED: "blue"}


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab doctor",
        "thwlab doctor --config big.yaml     memory and limits for another plan",
        'sudo -E env "PATH=$PATH" thwlab doctor --fix',
    ),
)
@click.option("--fix", is_flag=True, help="Install what is missing: shows the plan, then asks.")
@click.option("--yes", is_flag=True, help="Do not ask; so it is as root with CI=true.")
@pass_session
def doctor(session: Session, fix: bool, yes: bool) -> None:
    """Look at everything a lab needs of this host.  Changes nothing without --fix.

    Exit code 0 if a lab can run here, 3 if not.  Kernel settings are shown, never changed.
    """
    findings = examine(session)
    if fix:
        findings = _repaired(session, findings, yes)
    click.echo("\n".join(report(findings, session.flags)))
    if fix and not any(finding.packages for finding in findings):
        click.echo("there is nothing to install")
    if lacking := missing(findings):
        click.echo(f"{len(lacking)} of {len(findings)} keep a lab from running here", err=True)
        raise click.exceptions.Exit(LAB_FAILED)
    click.echo(f"a lab can run here: thwlab{session.flags} up")


def examine(session: Session) -> list[Finding]:
    """This host's findings for the session's plan."""
    return examine_host(session.topology, session.provider)


def _repaired(session: Session, findings: list[Finding], yes: bool) -> list[Finding]:
    repair = repair_for(findings, gather(session.topology, session.provider))
    if repair.by_hand:
        lines = (f"  {_typed(line, session.flags)}" for line in repair.by_hand)
        click.echo("\n".join(["for you to do:", *lines]))
    if not repair.commands:
        return findings
    click.echo(
        "to install:\n"
        + "\n".join(f"  {' '.join(command)}" for command in (*repair.commands, *repair.wished))
    )
    _insist_on_consent(yes, (*repair.commands, *repair.wished))
    log = state_root() / "doctor.log"
    click.echo(f"installing; the output is in {log}")
    before = decided(session.provider, session.state)
    carry_out(repair.commands, log)
    if (after := decided(session.provider, session.state)) != before:
        click.echo(f"{session.provider} would have been {before}; with what was installed it is {after} now,")
        click.echo(f"for a libvirtd runs here now: --provider {LIBVIRT_PRIVATE} is one of the lab's own")
    for command in repair.wished:
        try:
            carry_out([command], log)
        except LabError as error:
            click.echo(f"left out, for no lab needs it: {str(error).splitlines()[0]}")
    return examine(session)


def _insist_on_consent(yes: bool, commands: Sequence[Command]) -> None:
    lines = " && ".join(f"sudo {' '.join(command)}" for command in commands)
    if os.geteuid() != 0:
        raise LabError("packages are installed by root only", remedy=lines)
    if goes_ahead(yes, os.environ):
        return
    if not sys.stdin.isatty():
        raise LabError("nothing was installed: there is no terminal to ask on", remedy="--yes, or CI=true")
    if not click.confirm("Install them?"):
        raise LabError("nothing was installed", remedy=lines)


def goes_ahead(yes: bool, environ: Mapping[str, str]) -> bool:
    """Whether nobody need be asked.  Pure."""
    return yes or environ.get("CI") == "true"


def report(findings: Sequence[Finding], flags: str = "") -> list[str]:
    """A line for each finding, and below it what is needed and what to do; `flags` name the lab.  Pure."""
    width = max((len(finding.what) for finding in findings), default=0)
    return [line for finding in findings for line in _lines(finding, width, flags)]


def _lines(finding: Finding, width: int, flags: str) -> list[str]:
    mark = click.style(f"{finding.verdict:{MARK}}", fg=COLOURS[finding.verdict])
    lines = [f"{mark} {finding.what:{width}} {finding.found}"]
    if finding.needed:
        lines.append(f"{'':{MARK}} needed: {finding.needed}")
    if finding.remedy:
        lines.append(f"{'':{MARK}} remedy: {_typed(finding.remedy, flags)}")
    return lines


def _typed(remedy: str, flags: str) -> str:
    """As a reader of `thwlab` would type it; pytest has the same options by longer names."""
    return same_lab(remedy, flags).replace("--lab-", "--")


COMMANDS = (doctor,)
