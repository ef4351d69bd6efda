"""shell, exec, logs: on one machine, as root."""

import math
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import click

from lab.cli import words
from lab.cli.options import LabCommand, examples
from lab.cli.session import Session
from lab.cli.status import units_of
from lab.cli.terminal import interactive
from lab.cli.units import insist_there
from lab.errors import LabError
from lab.machine import Machine, Result
from lab.wait import NotYet, wait_until

pass_session = click.make_pass_decorator(Session, ensure=True)
CURSOR = re.compile(rb"^-- cursor: (.*)\n?", re.MULTILINE)
SHELL = ("bash", "-l")
UNRUNNABLE = {127: b"Command not found", 126: b"Command not executable"}  # LXD says so of any such status
SHELL_TIMEOUT = 24 * 3600.0


on_machine: Callable[..., Callable[..., None]] = click.argument(
    "machine_name", metavar="MACHINE", shell_complete=words.machines
)


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab shell k8s-master1",
        "echo 'systemctl --failed' | thwlab shell k8s-worker1",
    ),
)
@on_machine
@pass_session
def shell(session: Session, machine_name: str) -> None:
    """Open a shell on a machine, as root; without a terminal, run what standard input says."""
    lab, machine = session.machine(machine_name)
    if sys.stdin.isatty() and sys.stdout.isatty():
        status = interactive(lab.provider, machine.name, SHELL)
    else:
        done = machine.run(*SHELL, stdin=_input(), timeout=SHELL_TIMEOUT)
        status = show(done, machine, "bash", SHELL_TIMEOUT)
    raise click.exceptions.Exit(status)


@click.command(
    "exec",
    cls=LabCommand,
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "thwlab exec k8s-master1 -- systemctl status etcd",
        "thwlab exec k8s-lb -- sh -c 'ss -tn | wc -l'",
    ),
)
@click.option("--timeout", default=3600.0, show_default=True, help="Seconds until the command is ended.")
@on_machine
@click.argument("command", metavar="[--] CMD...", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_session
def execute(session: Session, timeout: float, machine_name: str, command: tuple[str, ...]) -> None:
    """Run a command on a machine, as root; its output and its exit code are the command's own."""
    argv = command[1:] if command[0] == "--" else command
    if not argv:
        raise click.UsageError("say which command to run after --")
    _, machine = session.machine(machine_name)
    result = machine.run(*argv, stdin=_input(), timeout=timeout)
    if why := UNRUNNABLE.get(result.status or 0):
        result = replace(result, err=result.err.removesuffix(why))
        if not _is_program(machine, argv[0]):
            click.echo(_not_run(machine.name, argv, why.decode(), session.flags), err=True)
    raise click.exceptions.Exit(show(result, machine, " ".join(argv), timeout))


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab logs k8s-master1 etcd",
        "thwlab logs k8s-worker1 kubelet -f",
        "thwlab logs k8s-lb -n 1000",
    ),
)
@on_machine
@click.argument("unit", required=False, shell_complete=words.units)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option("-n", "--lines", default=200, show_default=True, help="How many lines from the end.")
@pass_session
def logs(session: Session, machine_name: str, unit: str | None, follow: bool, lines: int) -> None:
    """Show a machine's journal, all of it or one unit's."""
    lab, machine = session.machine(machine_name)
    if unit is not None:
        insist_there(machine, unit, units_of(lab.topology).get(machine.name, []), session.flags)
    argv = ("journalctl", "--no-pager", "--show-cursor", *(("-u", unit) if unit else ()))
    cursor = _print_journal(machine.run(*argv, f"--lines={lines}", timeout=30), machine.name)
    if follow:
        read = Follower(machine, argv, cursor)
        wait_until("the journal to end", read.go_on, timeout=math.inf, every=1.0)


class Follower:
    """Reads a journal on from a cursor: what is new, once a second, never twice."""

    def __init__(self, machine: Machine, argv: tuple[str, ...], cursor: str) -> None:
        self._machine = machine
        self._argv = argv
        self._cursor = cursor

    def go_on(self) -> None:
        """Print what is new; raises `NotYet` always, for a journal has no end."""
        after = (f"--after-cursor={self._cursor}",) if self._cursor else ("--lines=100",)
        seen = self._machine.run(*self._argv, "--quiet", *after, timeout=30)
        if not seen.timed_out:
            self._cursor = _print_journal(seen, self._machine.name) or self._cursor
        raise NotYet(self._cursor)


def _print_journal(seen: Result, machine: str) -> str:
    """Print the lines and return the cursor that stands after them, empty if there is none."""
    if seen.status == 1 and not seen.err:  # nothing was written yet
        click.echo(seen.out, nl=False, err=True)
        return ""
    if not seen.ok:
        raise LabError(f"{machine}: journalctl exited {seen.status}: {seen.stderr.strip() or 'no answer'}")
    found = CURSOR.search(seen.out)
    click.echo(CURSOR.sub(b"", seen.out), nl=False)
    return found[1].decode(errors="replace") if found else ""


def show(result: Result, machine: Machine, command: str, timeout: float) -> int:
    """Print both streams byte for byte; the command's status.  `LabError` if the deadline ended it."""
    click.echo(result.out, nl=False)
    click.echo(result.err, nl=False, err=True)
    if result.cut:
        click.echo(f"({result.cut} bytes more were cut)", err=True)
    if result.status is None:
        raise machine.overdue(result, command, timeout, "see above")
    return result.status


def _is_program(machine: Machine, name: str) -> bool:
    return machine.run("sh", "-c", 'test -x "$(command -v -- "$0")"', name, timeout=30).ok


def _not_run(machine: str, argv: Sequence[str], why: str, flags: str) -> str:
    line = shlex.quote(" ".join(argv))
    hint = (
        f"; a line of shell: thwlab{flags} exec {machine} -- sh -c {line}"
        if set(argv[0]) & set(" |;&<>$")
        else ""
    )
    return f"{machine}: {argv[0]}: {why.lower()}{hint}"


def _input() -> bytes:
    """Standard input, unless a terminal or nothing is there."""
    if sys.stdin is None or sys.stdin.isatty():
        return b""
    return sys.stdin.buffer.read()


COMMANDS = (shell, execute, logs)
