"""kubeconfig, env, kubectl: the lab from this host's side."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from lab.artifacts.cache import Cache
from lab.artifacts.catalogue import items
from lab.artifacts.fetch import key_of
from lab.cli.options import LabCommand, Verbatim, examples
from lab.cli.session import Session
from lab.errors import LabError
from lab.kubeconfig import kubeconfig as render
from lab.laboratory import Laboratory
from lab.topology import Versions

pass_session = click.make_pass_decorator(Session, ensure=True)
API_STAGE = "control-plane"
SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=LabCommand,
    epilog=examples(
        "export KUBECONFIG=$(thwlab kubeconfig)",
        'kubectl --kubeconfig "$(thwlab kubeconfig)" get nodes',
    ),
)
@pass_session
def kubeconfig(session: Session) -> None:
    """Print the path of a kubeconfig that works on this host; the file is yours alone (0600)."""
    lab = session.attached()
    tell_if_nobody_answers(session, lab)
    click.echo(write_kubeconfig(lab))


@click.command(
    cls=LabCommand,
    epilog=examples(
        'eval "$(thwlab env)"',
        "thwlab env --shell fish | source",
    ),
)
@click.option(
    "--shell", type=click.Choice(SHELLS), help="Whose words; by default your login shell's ($SHELL)."
)
@pass_session
def env(session: Session, shell: str | None) -> None:
    """Print the lines that make your shell's kubectl talk to the lab."""
    lab = session.attached()
    tell_if_nobody_answers(session, lab)
    programs = link_programs(lab)
    lines = env_lines(shell or login_shell(os.environ), str(write_kubeconfig(lab)), str(programs))
    click.echo("\n".join(lines))


@click.command(
    cls=Verbatim,
    add_help_option=False,
    short_help="Run the lab's kubectl on this host.",
    epilog=examples(
        "thwlab kubectl get pods -A",
        "thwlab --name two kubectl logs -f deploy/coredns -n kube-system",
    ),
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def kubectl(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the lab's own kubectl on this host; every argument is kubectl's, --help too.

    Where there is no lab, --help shows this.
    """
    session = ctx.ensure_object(Session)
    if arguments[:1] == ("--",):  # as after `thwlab exec`; kubectl would print its help, and exit 0
        arguments = arguments[1:]
    if {"-h", "--help"} & set(arguments[:1]) and session.state.intent() is None:
        click.echo(ctx.get_help())
        return
    lab = session.attached()
    tell_if_nobody_answers(session, lab)
    program = kubectl_program(session.topology.versions)
    run_instead(str(program), ("kubectl", *arguments), kubectl_environment(os.environ, write_kubeconfig(lab)))


def tell_if_nobody_answers(session: Session, lab: Laboratory) -> None:
    """Say so where no bring-up has reached the API yet; a client would only wait for an answer."""
    if API_STAGE not in lab.state.proven(lab.topology.digest()):
        remedy = f"`thwlab{session.flags} up` brings it up"
        click.echo(f"the API of lab {session.name} was not seen to serve yet; {remedy}", err=True)


def write_kubeconfig(lab: Laboratory) -> Path:
    """The administrator's kubeconfig through the forwarder, in the lab's folder, 0600."""
    path = lab.state.path / "kubeconfig"
    content = render(
        f"k8s-{lab.topology.name}",
        lab.api().url,
        lab.credentials.ca("kubernetes"),
        user="user",
        pair=lab.credentials.pair("user"),
    )
    part = path.with_name("kubeconfig.part")
    part.unlink(missing_ok=True)
    part.touch(mode=0o600)
    part.write_bytes(content)
    part.replace(path)
    return path


def kubectl_program(versions: Versions) -> Path:
    """The verified kubectl of these versions, from the cache."""
    item = next(item for item in items(versions) if "kubectl" in item.programs)
    entry = Cache().get(key_of(item))
    if entry is None:
        raise LabError(f"kubectl {item.version} is not in the cache", remedy="thwlab artifacts fetch")
    return entry.path("kubectl")


def kubectl_environment(environ: Mapping[str, str], config: Path) -> dict[str, str]:
    """This environment with the lab's kubeconfig and without proxies: lab traffic knows none."""
    kept = {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")}
    return {**kept, "KUBECONFIG": str(config)}


def link_programs(lab: Laboratory) -> Path:
    """A folder for PATH that holds the lab's kubectl and nothing else."""
    folder = lab.state.path / "bin"
    folder.mkdir(exist_ok=True)
    link = folder / "kubectl"
    link.unlink(missing_ok=True)
    link.symlink_to(kubectl_program(lab.topology.versions))
    return folder


def env_lines(shell: str, config: str, programs: str) -> list[str]:
    """The lines in that shell's words.  Pure."""
    if shell == "fish":
        return [f"set -gx KUBECONFIG {_fish(config)}", f"set -gx PATH {_fish(programs)} $PATH"]
    return [f"export KUBECONFIG={shlex.quote(config)}", f'export PATH={shlex.quote(programs)}:"$PATH"']


def login_shell(environ: Mapping[str, str]) -> str:
    """The user's shell, or bash if it is none of those we know."""
    name = Path(environ.get("SHELL", "")).name
    return name if name in SHELLS else "bash"


def run_instead(program: str, argv: Sequence[str], environ: Mapping[str, str]) -> None:
    """Become the program: its terminal, its signals and its exit code are then its own."""
    os.execve(program, list(argv), dict(environ))


def _fish(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


COMMANDS = (kubectl, kubeconfig, env)
