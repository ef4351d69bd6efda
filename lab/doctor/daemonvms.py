"""Can this host run the plan as VMs of Incus or LXD?  By the same looks as `up` refuses by."""

import os
from pathlib import Path

from lab.doctor import hypervisors, programs, surroundings
from lab.doctor.facts import Facts
from lab.doctor.finding import Finding, Verdict, good
from lab.providers.incus.vmneeds import Look, look
from lab.providers.vagrant.needs import VmHost
from lab.topology import Topology

KIND = "incus-vm"


def diagnose(facts: Facts, topology: Topology) -> list[Finding]:
    """What surrounds a lab, programs, the daemon and KVM, memory and processors."""
    about = [check(facts, topology) for check in (*surroundings.CHECKS, *programs.DISK_CHECKS)]
    looks = look(Path(facts.daemon) if facts.daemon and not facts.wants_private else None)
    host = VmHost(KIND, memory_mib=facts.memory_mib, cpus=os.cpu_count())
    memory = good("memory", "the lab runs") if facts.running else hypervisors.check_memory(host, topology)
    return [*about, *map(finding_of, looks), memory, hypervisors.check_cpus(host, topology)]


def finding_of(look: Look) -> Finding:
    """As doctor tells it.  Pure."""
    if not look.remedy:
        return good(look.what, look.found)
    return Finding(look.what, Verdict.MISSING, look.found, "for VMs", look.remedy, look.packages)
