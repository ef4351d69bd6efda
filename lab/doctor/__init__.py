"""Can this host run a lab, and if not, what would make it?  Looks at everything at once, changes nothing.

Reading order: `facts` (a host as data), `gather` (the only part that looks), `finding`, the checks in
`programs`, `kernel` and `surroundings` (pure), for VMs `vmhost` (looks too) and
`hypervisors`, for those of Incus or LXD `daemonvms`, `fix` (what `--fix` would do, and doing it).
"""

from collections.abc import Sequence
from dataclasses import replace

from lab.choice import Made, decided, hypervisor_of, made_of, why_of
from lab.doctor import daemonvms, hypervisors, kernel, programs, surroundings, vmhost
from lab.doctor.facts import Facts
from lab.doctor.finding import Check, Finding, Verdict, good
from lab.doctor.gather import gather
from lab.providers.base import Missing
from lab.providers.vagrant.hypervisor import RUNNING
from lab.providers.vagrant.plan import PREFIX
from lab.state import StateFolder, state_root
from lab.topology import Topology

CHECKS: tuple[Check, ...] = (*kernel.CHECKS, *surroundings.CHECKS, *programs.CHECKS)

__all__ = ["CHECKS", "Facts", "Finding", "Verdict", "can_host", "diagnose", "examine", "gather", "missing"]


def diagnose(facts: Facts, topology: Topology) -> list[Finding]:
    """Every check's finding.  Pure."""
    return [check(facts, topology) for check in CHECKS]


def missing(findings: Sequence[Finding]) -> list[Finding]:
    """What keeps a lab from running."""
    return [finding for finding in findings if finding.verdict is Verdict.MISSING]


def examine(topology: Topology, provider: str = "auto") -> list[Finding]:
    """This host's findings for a lab of this plan on machines of this provider."""
    state = StateFolder(state_root() / topology.name)
    word, why = decided(provider, state), why_of(provider, state)
    choice = [good("provider", f"{word}, by itself: {why}")] if why else []
    return [*choice, *_examined(topology, word)]


def _examined(topology: Topology, provider: str) -> list[Finding]:
    facts = gather(topology, provider)
    if made_of(provider) is Made.DISK:
        return daemonvms.diagnose(facts, topology)
    if not facts.vms:
        return diagnose(facts, topology)
    host = vmhost.gather(hypervisor_of(provider), private=facts.private)
    if facts.running and facts.private:  # its daemon is not the one that was asked
        host = replace(host, enclosed={f"{PREFIX}{topology.name}_{n.name}": RUNNING for n in topology.nodes})
    about = [check(facts, topology) for check in (*surroundings.VM_CHECKS, *programs.VM_CHECKS)]
    return [*about, *hypervisors.diagnose(host, topology)]


def can_host(topology: Topology, provider: str = "auto") -> list[Missing]:
    """What this host lacks for a lab of this plan; empty if it can host one."""
    findings = missing(examine(topology, provider))
    return [Missing(f"{each.what}: {each.found}", each.remedy, each.packages) for each in findings]
