"""The provider `incus-vm`: virtual machines of an Incus or LXD daemon."""

from collections.abc import Callable
from pathlib import Path

from lab.artifacts.prepare import disk_of
from lab.artifacts.vmdisk import SIZE_GIB
from lab.machine import Platform, Substrate
from lab.providers.base import Capability, Missing
from lab.providers.incus import vmneeds
from lab.providers.incus.api import Json
from lab.providers.incus.description import vm_of
from lab.providers.incus.provider import IncusProvider
from lab.providers.incus.vm import IncusVm
from lab.topology import Node, Topology


class IncusVmProvider(IncusProvider):
    """VMs in a project of the lab's own.  What is not said here they have in common with containers."""

    word = "incus-vm"
    kind = IncusVm
    # The first VM's disk is written whole into the pool; the others wait for it and share it.
    creation_timeout = 600.0

    @property
    def platform(self) -> Platform:
        """See `Provider.platform`."""
        return Platform(Substrate.VM, cgroup=2)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Provider.capabilities`."""
        return frozenset(Capability)

    def _lacking_for_machines(self) -> list[Missing]:
        return vmneeds.lacking(vmneeds.look(None if self.private else self.api.socket))

    def _begin(self) -> None:
        super()._begin()
        vmneeds.insist(self.api.socket, private=bool(self.private))

    def _root(self, topology: Topology, report: Callable[[str], None]) -> Path:
        return disk_of(topology, report)

    def _wish(self, topology: Topology, node: Node, fingerprint: str) -> Json:
        return vm_of(topology, node, fingerprint, SIZE_GIB)
