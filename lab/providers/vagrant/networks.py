"""Networks that Vagrant makes for a lab and never removes: only what the lab brought goes with it."""

from lab.providers.vagrant.hypervisor import Hypervisor
from lab.providers.vagrant.plan import Project


def note(project: Project, hypervisor: Hypervisor) -> None:
    """Write down which were there before the lab; harmless when that was done."""
    if not project.networks_before.exists():
        # Cut off, it would make networks the lab's own that were somebody's.
        part = project.networks_before.with_suffix(".part")
        part.write_text("\n".join(hypervisor.networks()))
        part.replace(project.networks_before)


def remove_brought(project: Project, hypervisor: Hypervisor) -> None:
    """Where nothing was written down, nothing is removed: it may be anybody's."""
    if not project.networks_before.exists():
        return
    before = project.networks_before.read_text().splitlines()
    gateway = str(project.gateway())
    for name, address in hypervisor.networks().items():
        if name not in before and address == gateway:
            hypervisor.remove_network(name)
