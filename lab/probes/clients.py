"""The clients of registers of one run: begun, ended, and what they did."""

from pathlib import Path
from typing import Any

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT
from lab.probes import registers
from lab.probes.hosted import GRACE, Hosted
from lab.probes.question import SLOW
from lab.probes.questions.etcd import ETCD_ROOT
from lab.probes.vantage import secrets_here
from lab.topology import Role

NAME = "registers"
EACH = 2  # clients pinned to each member
INTERVAL, DEADLINE = 0.2, 8.0  # seconds; etcd itself gives up a proposal after 7
PER_KEY = 100  # operations; an exact check of much longer histories takes too long


class Clients:
    """Programs of this host that read and write every member of etcd."""

    def __init__(self, cluster: Cluster, folder: Path, seed: str, mark: str) -> None:
        members = cluster.topology.of(Role.ETCD)
        plan = {
            "targets": [[str(node.address), CLIENT_PORT] for node in members],
            "clients": EACH * len(members),
            "tls": secrets_here(cluster, "etcd", folder),
            "interval": SLOW if cluster.lab.provider.is_slow else INTERVAL,
            "deadline": DEADLINE,
            "prefix": f"{ETCD_ROOT}/{mark}-register-",
            "per-key": PER_KEY,
            "seed": seed,
        }
        self._program = Hosted(cluster, [registers], folder, {NAME: plan})

    def trouble(self) -> str:
        """Why it is not at work; empty if it is."""
        trouble = self._program.trouble()
        return trouble and f"the clients of registers {trouble}"

    def told(self, began: float) -> list[dict[str, Any]]:
        """End them; every operation, its times in nanoseconds since ``began``, seconds of the same clock."""
        self._program.finish(DEADLINE + GRACE)
        zero = int(began * 1e9)
        return [
            {**line, **{name: line[name] - zero for name in ("invoked", "returned")}}
            for line in self._program.lines(NAME)
        ]
