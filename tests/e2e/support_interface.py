"""Which of a machine's interfaces is the one in the lab's network; on a VM the first is another one."""

from lab.errors import LabError
from lab.machine import Machine

SHOWN = ("ip", "-o", "-4", "addr", "show", "to")


def of(machine: Machine) -> str:
    """The name of the interface that has the machine's planned address."""
    said = machine.check(*SHOWN, str(machine.node.address))
    if not (words := said.split())[1:]:
        raise LabError(
            f"{machine.name}: no interface has {machine.node.address}",
            remedy=f"thwlab exec {machine.name} -- ip -4 addr",
        )
    return words[1].partition("@")[0]
