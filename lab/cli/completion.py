"""completion: words for the Tab key."""

import click
from click.shell_completion import get_completion_class

from lab.cli.options import examples
from lab.cli.outside import SHELLS


@click.command(
    epilog=examples(
        'eval "$(thwlab completion bash)"                              in ~/.bashrc',
        'eval "$(thwlab completion zsh)"                               in ~/.zshrc',
        "thwlab completion fish > ~/.config/fish/completions/thwlab.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the lines that let your shell complete commands, stages and machines."""
    kind = get_completion_class(shell)
    assert kind
    click.echo(kind(ctx.find_root().command, {}, "thwlab", "_THWLAB_COMPLETE").source())


COMMANDS = (completion,)
