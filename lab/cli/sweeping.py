"""sweep: remove the labs that nobody holds."""

from collections.abc import Sequence
from typing import Any

import click
import durationpy

from lab import leftovers
from lab.cli.options import LabCommand, examples
from lab.errors import LabError
from lab.leftovers import Leftover, span

MARK = len("would remove")


class Span(click.ParamType[float]):
    """A length of time with its unit, as seconds."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds; a number without a unit is a mistake, and so is a span before now."""
        if isinstance(value, float):
            return value
        try:
            seconds = float(durationpy.from_str(value).total_seconds())
        except (durationpy.DurationError, OverflowError):
            seconds = -1.0
        if seconds < 0:
            self.fail(f"{value!r} is no length of time; say 90m, 12h or 2d", param, ctx)
        return seconds


@click.command(
    cls=LabCommand,
    epilog=examples(
        "thwlab sweep                      what would be removed, and why the rest stays",
        "thwlab sweep --yes",
        "thwlab sweep --yes --older-than 90m",
    ),
)
@click.option("--yes", is_flag=True, help="Remove them; without it nothing is changed.")
@click.option(
    "--older-than",
    type=Span(),
    default="12h",
    show_default=True,
    metavar="SPAN",
    help="Only labs that no run and no command touched for so long: 90m, 12h, 2d.",
)
def sweep(yes: bool, older_than: float) -> None:
    """Remove every lab of this host that nobody holds: what killed runs left, and labs long forgotten.

    A lab that a run works with or that is being built or removed stays, however old it is. A lab that you
    brought up by hand goes too, once nothing was done with it for that long; `kubectl` does not count.
    """
    found = leftovers.find(older_than)
    if not found:
        click.echo("there is no lab on this host, and nothing is left of one")
        return
    if not yes:
        click.echo("\n".join(listed(found)))
        return
    _remove(found, older_than)


def listed(found: Sequence[Leftover]) -> list[str]:
    """A line for each, and what removes those that may go.  Pure."""
    lines = [_line("stays" if each.stays else "would remove", each, each.stays) for each in found]
    going = sum(not each.stays for each in found)
    end = "`thwlab sweep --yes` with the same --older-than removes" if going else "nothing to remove:"
    return [*lines, f"{end} {going} of {len(found)}" if going else f"{end} all {len(found)} stay"]


def _line(verdict: str, each: Leftover, why: str) -> str:
    seen = f"{each.what}, not touched for {span(each.idle)}"
    return f"{verdict:{MARK}} lab {each.name}: {why or seen}" + (f" ({seen})" if why else "")


def _remove(found: Sequence[Leftover], older_than: float) -> None:
    """Each for itself: one that cannot be removed keeps none of the others."""
    failed: list[LabError | BaseExceptionGroup[Any]] = []
    for each in found:
        try:
            why = each.stays or leftovers.remove(each.name, older_than)
        except (LabError, BaseExceptionGroup) as error:
            failed.append(error)
            why = "it could not be removed"
        click.echo(_line("stays" if why else "removed", each, why))
    if failed:
        raise BaseExceptionGroup("labs that could not be removed", failed)


COMMANDS = (sweep,)
