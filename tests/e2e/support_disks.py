"""How disks' writes reach this host: what a power cut of VMs can lose depends on it."""

from collections.abc import Mapping, Sequence

from lab.machine import Machine

UNKNOWN = "not told by its hypervisor"


def cache_modes(machines: Sequence[Machine]) -> Mapping[str, str]:
    """The cache mode of each machine's disk, in its hypervisor's word."""
    return {machine.name: machine.disk_cache() or UNKNOWN for machine in machines}


def told(modes: Mapping[str, str]) -> str:
    """For a report; machines of one mode together."""
    alike: dict[str, list[str]] = {}
    for name, mode in modes.items():
        alike.setdefault(mode, []).append(name)
    return "; ".join(f"{mode}: {', '.join(names)}" for mode, names in alike.items())
