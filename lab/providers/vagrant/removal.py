"""Removing a lab's VMs: by Vagrant, then whatever the hypervisor still lists under the lab's prefix."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.errors import LabError
from lab.providers.vagrant.adapter import Adapter
from lab.providers.vagrant.hypervisor import Belonging
from lab.providers.vagrant.inventory import Inventory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """For one lab."""

    inventory: Inventory
    adapter: Adapter

    def of_halves(self, machines: Sequence[str], there: Mapping[str, str]) -> None:
        """Remove what an earlier run left of machines that it did not make to their end.

        One that was killed before it made the VM left a disk, which would be in the new one's way.
        """
        halves = self.inventory.halves(machines, there)
        for name in machines:
            self.inventory.set_whole(name, whole=False)
        if halves:
            log.info("%s: half-made, made anew", ", ".join(halves))
            self._remove(halves)
        if machines:
            self._remove_belongings(self.inventory.disks(machines))

    def of_all(self) -> None:
        """Remove every VM, disk and network of the lab, of whatever plan; `LabError` if a VM is left."""
        self._remove(self.inventory.machines())
        if left := self.inventory.domains():
            raise LabError(
                f"{', '.join(left)} cannot be removed",
                remedy=f"read {self.inventory.project.log}; remove by hand",
            )

        self._remove_belongings(self.inventory.belongings())

    def _remove_belongings(self, belongings: Sequence[Belonging]) -> None:
        """Of VMs that are gone: what neither Vagrant nor the end of the VM took along."""
        for each in belongings:
            log.info("%s: left without a VM, removed", each.name)
            self.inventory.hypervisor.remove_belonging(each)

    def _remove(self, machines: Sequence[str]) -> None:
        """That Vagrant fails is written down, for the hypervisor's listing decides."""
        planned = self.inventory.project.addresses()
        if self.inventory.project.data.exists():
            try:
                self.adapter.destroy([name for name in machines if name in planned])
            except LabError:
                log.warning("vagrant destroy failed; the hypervisor is asked directly", exc_info=True)
        for each in self.inventory.unnamed(machines):
            self.inventory.hypervisor.remove(each)
        for domain in self.inventory.domains():
            if self.inventory.project.machine_of(domain) in machines:
                self.inventory.hypervisor.remove(domain)
