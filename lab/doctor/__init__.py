"""Can this host run a lab, and if not, what would make it?  Looks at everything at once, changes nothing.

Reading order: `facts` (a host as data), `gather` (the only part that looks), `finding`, the checks in
`programs`, `kernel` and `surroundings` (pure), `fix` (what `--fix` would do, and doing it).
"""

from collections.abc import Sequence

from lab.doctor import kernel, programs, surroundings
from lab.doctor.facts import Facts
from lab.doctor.finding import Check, Finding, Verdict
from lab.doctor.gather import gather
from lab.providers.base import Missing
from lab.topology import Topology

CHECKS: tuple[Check, ...] = (*kernel.CHECKS, *surroundings.CHECKS, *programs.CHECKS)

__all__ = ["CHECKS", "Facts", "Finding", "Verdict", "can_host", "diagnose", "gather", "missing"]


def diagnose(facts: Facts, topology: Topology) -> list[Finding]:
    """Every check's finding.  Pure."""
    return [check(facts, topology) for check in CHECKS]


def missing(findings: Sequence[Finding]) -> list[Finding]:
    """What keeps a lab from running."""
    return [finding for finding in findings if finding.verdict is Verdict.MISSING]


def can_host(topology: Topology, provider: str = "auto") -> list[Missing]:
    """What this host lacks for a lab of this plan; empty if it can host one."""
    findings = missing(diagnose(gather(topology, provider), topology))
    return [Missing(f"{each.what}: {each.found}", each.remedy, each.packages) for each in findings]
