"""Which interface a machine has in the lab's network, by its own listing."""

from ipaddress import IPv4Address

import pytest
import support_interface
from fake_lab import FakeMachine

from lab.errors import LabError
from lab.machine import Result
from lab.topology import Node

NODE = Node("k8s-lb", IPv4Address("192.168.100.100"), frozenset())


class Told(FakeMachine):
    """It says this, and remembers what it was asked."""

    def __init__(self, said: str) -> None:
        super().__init__(NODE)
        self.said, self.asked = said, ""

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.asked = " ".join(argv)
        return Result(0, self.said.encode())


@pytest.mark.parametrize("name", ["eth0", "eth1", "enp0s8"])
def test_it_is_the_one_that_has_the_planned_address(name: str) -> None:
    """On a VM eth0 is the way in of whoever made it: what is captured there is not the lab's."""
    machine = Told(
        f"3: {name}    inet 192.168.100.100/24 brd 192.168.100.255 scope global {name}\\ valid_lft forever\n"
    )
    assert support_interface.of(machine) == name
    assert machine.asked == "ip -o -4 addr show to 192.168.100.100"


def test_a_machine_without_its_address_is_the_laboratorys_failure() -> None:
    with pytest.raises(LabError, match=r"k8s-lb: no interface has 192\.168\.100\.100"):
        support_interface.of(Told(""))
