"""The clients of registers of one run: begun, ended, and what they did."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT
from lab.probes import registers
from lab.probes.catalogue import ETCD_ROOT
from lab.probes.vantage import parsed, secrets_here
from lab.topology import Role

EACH = 2  # clients pinned to each member
INTERVAL, DEADLINE = 0.2, 8.0  # seconds; etcd itself gives up a proposal after 7
PER_KEY = 100  # operations; an exact check of much longer histories takes too long
GRACE = 5.0


class Clients:
    """A process of this host, in the lab's network; ends when its input closes, so with us."""

    def __init__(self, cluster: Cluster, folder: Path, seed: str, mark: str) -> None:
        self._output, self._errors = folder / "registers.jsonl", folder / "registers.err"
        members = cluster.topology.of(Role.ETCD)
        plan = {
            "targets": [[str(node.address), CLIENT_PORT] for node in members],
            "clients": EACH * len(members),
            "tls": secrets_here(cluster, "etcd", folder),
            "interval": INTERVAL,
            "deadline": DEADLINE,
            "prefix": f"{ETCD_ROOT}/{mark}-register-",
            "per-key": PER_KEY,
            "seed": seed,
            "output": str(self._output),
        }
        path = folder / "registers.plan"
        path.write_text(json.dumps(plan))
        argv = cluster.lab.provider.host_argv([sys.executable, "-I", registers.__file__, str(path)])
        with self._errors.open("wb") as err:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=err, stderr=err)

    def trouble(self) -> str:
        """Why it is not at work; empty if it is."""
        if self._process.poll() is None:
            return ""
        said = self._errors.read_text(errors="replace").strip()[-1000:]
        return f"the clients of registers ended with {self._process.returncode}: {said}"

    def told(self, began: float) -> list[dict[str, Any]]:
        """End them; every operation, its times in nanoseconds since ``began``, seconds of the same clock."""
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(DEADLINE + GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(GRACE)
        zero = int(began * 1e9)
        lines = parsed(self._output.read_text()) if self._output.exists() else []
        return [{**line, **{name: line[name] - zero for name in ("invoked", "returned")}} for line in lines]
