"""An interface that is down, in a network namespace."""

from pathlib import Path

import pytest
from fault_network import PEER, VICTIM, can_make_namespaces, cluster_of, wired

from lab.faults.link import InterfaceDown
from lab.machine import Result
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
        lab, peer, victim = cluster_of(machines), machines[PEER], machines[VICTIM]
        networkd = f"#!/bin/sh\nip addr replace {victim.node.address}/24 dev eth0\n"
        for name, body in (("networkctl", networkd), ("systemctl", "#!/bin/sh\nfalse\n")):
            (tmp_path / name).write_text(body)
            (tmp_path / name).chmod(0o755)

        def from_host(*argv: str, **_: float) -> Result:
            return Result(0, peer.python(CONNECT, argv[-2]).encode())

        lab.from_host = from_host
        fault = InterfaceDown((VICTIM,))
        fault.heal(lab)
        fault.check_healed(lab)
        for _ in range(2):
            for look in (fault.in_force, fault.still_in_force):
                with pytest.raises(NotYet, match="eth0"):
                    look(lab)
            fault.inject(lab)
            victim.check("ip", "addr", "flush", "dev", "eth0")  # as networkd does
            assert fault.in_force(lab) == f"{VICTIM}: eth0@if2 is down, nobody answers at its address"
            assert fault.still_in_force(lab) == f"{VICTIM}: eth0@if2 is down"
            with pytest.raises(NotYet):
                fault.check_healed(lab)
            fault.heal(lab)
            fault.check_healed(lab)
