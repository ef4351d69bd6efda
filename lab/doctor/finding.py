"""A judgement about one thing a lab needs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from lab.doctor.facts import Facts
from lab.topology import Topology


class Verdict(StrEnum):
    """Only `MISSING` keeps a lab from running."""

    GOOD = "ok"
    MISSING = "missing"
    WARNING = "warning"
    UNTRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked for, what was found, what is needed, and the command that makes up the difference.

    `packages` are Debian's names of what would bring it; `sysctls` are lines for the reader to apply.
    """

    what: str
    verdict: Verdict
    found: str
    needed: str = ""
    remedy: str = ""
    packages: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()


Check = Callable[[Facts, Topology], Finding]


def good(what: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(what, Verdict.GOOD, found)
