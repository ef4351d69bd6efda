"""Removing a lab's VMs: by Vagrant, then whatever the hypervisor still lists under the lab's prefix."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.errors import LabError
from lab.providers.vagrant.adapter import Adapter
from lab.providers.vagrant.inventory import Inventory

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removal:
    """For one lab."""

    inventory: Inventory
    adapter: Adapter

    def of_halves(self, machines: Sequence[str], there: Mapping[str, str]) -> None:
        """Remove what an earlier run left of machines that it did not make to their end."""
        halves = self.inventory.halves(machines, there)
        for name in machines:
            self.inventory.set_whole(name, whole=False)
        if not halves:
            return
        log.info("%s: half-made, made anew", ", ".join(halves))
        self._by_vagrant(halves)
        for domain in self.inventory.domains():
            if self.inventory.project.machine_of(domain) in halves:
                self.inventory.hypervisor.remove(domain)

    def of_all(self) -> None:
        """Remove every VM of the lab; `LabError` if one is left."""
        self._by_vagrant()
        for domain in self.inventory.domains():
            self.inventory.hypervisor.remove(domain)
        if left := self.inventory.domains():
            raise LabError(
                f"{', '.join(left)} cannot be removed",
                remedy=f"read {self.inventory.project.log}; remove by hand",
            )

    def _by_vagrant(self, machines: Sequence[str] = ()) -> None:
        """What it knows of; that it fails is written down, for the hypervisor's listing decides."""
        if not self.inventory.project.data.exists():
            return
        try:
            self.adapter.destroy(machines)
        except LabError:
            log.warning("vagrant destroy failed; the hypervisor is asked directly", exc_info=True)
