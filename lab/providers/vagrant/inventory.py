"""What there is of a lab at its hypervisor this moment, and which of it is whole.

A VM is whole once it answered for the first time: what was killed in between lacks an address, a key or
a name, and nobody can tell which.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.providers.vagrant.hypervisor import Belonging, Hypervisor, of_prefix
from lab.providers.vagrant.plan import Project


@dataclass(frozen=True, slots=True)
class Inventory:
    """One lab's VMs.  States are read anew at each question; only the marks are kept, in the lab's folder."""

    project: Project
    hypervisor: Hypervisor

    def domains(self) -> dict[str, str]:
        """The lab's VMs by their name at the hypervisor, with their states; whole or not."""
        if not self.hypervisor.is_there():
            return {}
        return of_prefix(self.hypervisor.states(), self.project.prefix)

    def strange(self) -> dict[str, str]:
        """VMs called as the lab's that no run of its folder began, of a hypervisor that others use too."""
        if self.hypervisor.network is not None or self._is_begun():
            return {}
        return self.domains()

    def is_whole(self, machine: str, there: Mapping[str, str]) -> bool:
        """Whether a machine is among `there`, what `domains` said, and was made to its end."""
        return self.project.domain(machine) in there and self._mark(machine).exists()

    def halves(self, machines: Sequence[str], there: Mapping[str, str]) -> list[str]:
        """Those of which the hypervisor or Vagrant has something; none of these machines may be whole."""
        return [name for name in machines if self.project.domain(name) in there or self._id(name).exists()]

    def disks(self, machines: Sequence[str]) -> list[Belonging]:
        """The hypervisor's disks by these machines' names, of a VM or, if a run was killed, of none."""
        if not self.hypervisor.is_there():
            return []
        named = re.compile(
            rf"({'|'.join(re.escape(self.project.domain(name)) for name in machines)})(_\d+)?\.img"
        )
        found = self.hypervisor.belongings(self.project.prefix)
        return [each for each in found if each.is_disk and named.fullmatch(each.name)]

    def belongings(self) -> list[Belonging]:
        """All that the hypervisor keeps of disks and networks by this lab's names, of whatever plan."""
        if not self.hypervisor.is_there():
            return []
        return self.hypervisor.belongings(self.project.prefix)

    def machines(self) -> list[str]:
        """All of which the plan, Vagrant or the hypervisor knows, whatever plan made them."""
        ids = (self.project.data / "machines").glob(f"*/{self.project.provider}/id")
        named = map(self.project.machine_of, self.domains())
        return sorted({*self.project.addresses(), *named, *(each.parents[1].name for each in ids)})

    def unnamed(self, machines: Sequence[str]) -> list[str]:
        """VMs by the identity that Vagrant wrote down: one that was interrupted early has no name of ours."""
        found = [self._id(name).read_text().strip() for name in machines if self._id(name).exists()]
        return [each for each in found if self.hypervisor.state(each) is not None]

    def set_whole(self, machine: str, *, whole: bool) -> None:
        """Write down that a machine was made to its end, or that it was not."""
        if not whole:
            self._mark(machine).unlink(missing_ok=True)
            return
        self._mark(machine).parent.mkdir(exist_ok=True)
        self._mark(machine).touch()

    def _is_begun(self) -> bool:
        """Whether a run wrote down what it would make, or what it has made."""
        return self.project.plan.exists() or any((self.project.folder / "whole").glob("*"))

    def _id(self, machine: str) -> Path:
        return self.project.data / "machines" / machine / self.project.provider / "id"

    def _mark(self, machine: str) -> Path:
        return self.project.folder / "whole" / machine
