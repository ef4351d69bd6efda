"""The options that name a lab; they may stand before or after a command's name."""

from typing import Any

import click

from lab.cli import words
from lab.cli.session import Session
from lab.settings import SETTINGS, Setting

COMPLETE = {"provider": words.providers, "name": words.lab_names, "versions": words.versions}
LAB_OPTIONS = ("provider", "config", "name", "versions", "profile")


def examples(*lines: str) -> str:
    """A command's examples, as they stand below its help."""
    return "\n".join(["\b", "Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


class LabCommand(click.Command):
    """A command that takes the lab's options too, unlisted: `thwlab --help` explains them once."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.params += lab_options(hidden=True)


class Verbatim(click.Command):
    """A command whose arguments are another program's: none is looked at, not even --help."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:  # noqa: D102
        ctx.params["arguments"] = tuple(args)
        ctx.args = []
        return []


def lab_options(*, hidden: bool = False) -> list[click.Parameter]:
    """One option for each of the settings that name a lab."""
    return [_option(setting, hidden) for setting in SETTINGS if setting.name in LAB_OPTIONS]


def _option(setting: Setting, hidden: bool) -> click.Option:
    words = [choice for choice in setting.choices if choice]
    return click.Option(
        [f"--{setting.name}"],
        help=f"{setting.help}  [{setting.variable}]",
        type=click.Choice(words) if words else str,
        metavar=None if words else setting.name.upper(),
        expose_value=False,
        hidden=hidden,
        callback=_keep,
        shell_complete=COMPLETE.get(setting.name),
    )


def _keep(ctx: click.Context, option: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(Session).options[str(option.name)] = value
