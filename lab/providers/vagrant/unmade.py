"""What is told of machines that did not come up: which, how each was found, where its console is."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from lab.errors import LabError
from lab.machine import on_each
from lab.providers.vagrant.hypervisor import RUNNING
from lab.providers.vagrant.machine import VagrantMachine, check_booted
from lab.wait import NotYet

SAID = 3  # lines of a console


class NotMade(LabError):
    """Some of the machines that were to be made did not come up, and all of these were removed again."""


def findings(
    machines: Sequence[VagrantMachine], there: Mapping[str, str], learn: Callable[[str], None]
) -> dict[str, str]:
    """How each machine is that does not answer as it should; by their states, and by asking those that run.

    ``learn`` finds out how a machine is reached, and may fail.
    """
    found = on_each(machines, partial(_found, there, learn))
    return {name: said for name, said in found.items() if said}


def told(findings: Mapping[str, str], consoles: Mapping[str, Path | None], cause: Exception) -> NotMade:
    """The error: who, how it was found, its console, and what went wrong, with its remedy."""
    causes = [*_members(cause)]
    remedies = [each.remedy for each in causes if each.remedy]
    lines = [f"{name} did not come up: {how}{_console(consoles.get(name))}" for name, how in findings.items()]
    why = [str(each).removesuffix(f"\n  remedy: {each.remedy}") for each in causes]
    head = lines or ["not all machines came up, though all answer by now"]
    return NotMade("\n".join([*head, *why]), remedy=remedies[0] if remedies else "thwlab up")


def is_of_the_laboratory(error: Exception) -> bool:
    """Whether nothing but the laboratory's own errors is in it; all else is a defect of its programs."""
    rest = error.split(LabError)[1] if isinstance(error, ExceptionGroup) else error
    return rest is None or isinstance(rest, LabError)


def _members(error: Exception) -> Iterator[LabError]:
    if isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _members(each)
    elif isinstance(error, LabError):
        yield error


def _found(there: Mapping[str, str], learn: Callable[[str], None], machine: VagrantMachine) -> str:
    state = there.get(machine.domain)
    if state != RUNNING:
        return "it was not made" if state is None else f"it is {state}"
    try:
        learn(machine.name)
        check_booted(machine)
    except NotYet as seen:
        return f"it is on: {str(seen).splitlines()[0]}"
    except LabError as error:
        return f"it is on and cannot be asked: {str(error).splitlines()[0]}"
    return ""


def _console(path: Path | None) -> str:
    """Where it is, and how it ends."""
    if path is None or not path.exists():
        return ""
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()][-SAID:]
    return "\n  ".join([f"; its console is in {path} and ends with:", *(lines or ["(nothing)"])])
