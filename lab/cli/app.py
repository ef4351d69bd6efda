"""The command group, and how a call ends: never with a traceback for what was foreseen."""

import contextlib
import logging
import os
import signal
import sys
from importlib import import_module
from typing import Any, NoReturn

import click

from lab import background
from lab.cli import INTERRUPTED
from lab.cli.failures import EXIT_CODES, PIPE_CLOSED, exit_code, is_told, told
from lab.cli.options import lab_options
from lab.cli.session import Session

# Where each command is, by module of this package; only what is called is imported, for all take a second.
FAMILIES = {
    "health": ("doctor",),
    "lifecycle": ("up", "down", "snapshot", "restore"),
    "sweeping": ("sweep",),
    "look": ("status", "config"),
    "results": ("summary",),
    "inside": ("shell", "exec", "logs"),
    "outside": ("kubectl", "kubeconfig", "env"),
    "scenarios": ("run", "recheck", "shrink", "compare"),
    "healing": ("heal", "rejoin"),
    "check": ("check",),
    "artifacts": ("artifacts",),
    "completion": ("completion",),
}
HOME = {command: family for family, commands in FAMILIES.items() for command in commands}

EPILOG = """\b
From nothing to a cluster and back:
  thwlab doctor                what this host lacks; --fix installs it
  thwlab up                    machines, etcd, control plane, workers, DNS
  eval "$(thwlab env)"         your own kubectl now talks to it
  kubectl get nodes
  thwlab down                  nothing is left
\b
A second lab beside the first:
  thwlab --name two up
\b
The options above may stand after a command's name too, except for kubectl.

"""


class Thwlab(click.Group):
    """Turns every foreseen error into a message and an exit code."""

    def main(self, args: Any = None, prog_name: str | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run a command line and exit."""
        extra.pop("standalone_mode", None)
        try:
            status = super().main(args, prog_name or "thwlab", standalone_mode=False, **extra)
        except click.Abort:
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except (Exception, BaseExceptionGroup) as error:
            if not is_told(error):
                raise
            click.echo(told(error), err=True)
            sys.exit(exit_code(error))
        sys.exit(status if isinstance(status, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: D102
        return sorted(HOME)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: D102
        if cmd_name not in HOME:
            return None
        family = import_module(f"lab.cli.{HOME[cmd_name]}")
        commands: tuple[click.Command, ...] = family.COMMANDS
        return next(command for command in commands if command.name == cmd_name)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:  # noqa: D102
        with _pipe_may_close():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: D102
        with _pipe_may_close():
            return super().invoke(ctx)


class _PipeClosed(click.exceptions.Exit):
    """Whoever read our output has enough."""


@contextlib.contextmanager
def _pipe_may_close() -> Any:
    try:
        yield
    except BrokenPipeError:
        _discard_output()
        raise _PipeClosed(PIPE_CLOSED) from None


def _discard_output() -> None:
    """Else the interpreter complains when it flushes at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(
    cls=Thwlab,
    epilog=EPILOG + EXIT_CODES,
    params=lab_options(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option("-v", "--verbose", is_flag=True, help="Log to standard error what is done.")
@click.version_option(package_name="thwlab")
@click.pass_context
def cli(ctx: click.Context, verbose: bool) -> None:
    """A highly available Kubernetes cluster built the hard way, on machines of its own.

    Five machines by default: two masters, two workers, one load balancer, as in the guide.
    """
    ctx.ensure_object(Session)
    logging.basicConfig(level=logging.DEBUG if verbose else logging.ERROR, format="%(name)s: %(message)s")
    for noisy in ("httpx2", "httpcore2", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def run() -> None:
    """The command line of this process, to its end."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, background.terminate)
    try:
        cli()
    except KeyboardInterrupt:  # before click was listening, or after
        _flush()
        background.leave(INTERRUPTED)  # whatever stages in other threads do, `down` undoes
    except SystemExit as end:
        status = end.code
        if not _flush() or not isinstance(status, int):
            raise  # the interpreter has its own words for that
        (background.leave if status == INTERRUPTED else background.end)(status)


def _flush() -> bool:
    """Whether all that was said has arrived."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError:
        return False
    return True
