"""An interface that is down, in a network namespace."""

from pathlib import Path

import pytest
from fault_network import PEER, VICTIM, can_make_namespaces, cluster_of, wired

from lab.faults.link import InterfaceDown
from lab.machine import Machine, Result
from lab.wait import NotYet

CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], 22), 0.5).close()
    print("takes")
except ConnectionRefusedError:
    print("refuses")
except OSError:
    print("nobody")
"""


@pytest.mark.skipif(not can_make_namespaces(), reason="needs root, ip and nft")
def test_it_bites_and_is_healed_twice(tmp_path: Path) -> None:
    with wired(tmp_path) as machines:
        lab, peer = cluster_of(machines), machines[PEER]

        def from_host(*argv: str, **_: float) -> Result:
            return Result(0, peer.python(CONNECT, argv[-2]).encode())

        lab.from_host = from_host
        fault = InterfaceDown((VICTIM,))
        heal(fault, machines[VICTIM])
        fault.check_healed(lab)
        for _ in range(2):
            with pytest.raises(NotYet, match="eth0"):
                fault.in_force(lab)
            fault.inject(lab)
            assert fault.in_force(lab) == f"{VICTIM}: eth0@if2 is down, nobody answers at its address"
            with pytest.raises(NotYet):
                fault.check_healed(lab)
            heal(fault, machines[VICTIM])
            fault.check_healed(lab)


def heal(fault: InterfaceDown, machine: Machine) -> None:
    """As the victim's own timer does; less what would look for units of this host."""
    (script,) = fault.undo()
    text = "\n".join(
        line for line in script.text.splitlines() if "systemctl" not in line and "networkctl" not in line
    )
    machine.check("sh", "-c", text)
