"""Ways to break a running lab on purpose and to mend it again, for the tests of the tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import Cluster
from lab.components.kube_proxy import CONFIG, HEALTH_PORT, METRICS_PORT
from lab.machine import Machine
from lab.wait import NotYet, stretched, wait_until

ROOT = Path(__file__).parents[2]
TABLE = "thwlab_defect"
DROP_IN = "/run/systemd/system/kube-proxy.service.d"


@contextmanager
def packet_rule(machine: Machine, hook: str, rule: str) -> Iterator[None]:
    """A rule of nftables in a table of its own on the machine, for the body."""
    table = f"add table ip {TABLE}\ndelete table ip {TABLE}\n"
    rules = f"{table}table ip {TABLE} {{\n chain seeded {{ {hook}; {rule}; }}\n}}\n"
    try:
        machine.check("nft", "-f", "-", stdin=rules.encode())
        yield
    finally:
        machine.check("nft", "-f", "-", stdin=table.encode())


@contextmanager
def proxy_named(machine: Machine, name: str) -> Iterator[None]:
    """A kube-proxy that calls itself by this name on the machine, for the body.

    By a drop-in, for bring-up mends what it has rendered itself.
    """
    change = f"""set -e; mkdir -p {DROP_IN}
    sed 's/^hostnameOverride: .*/hostnameOverride: {name}/' {CONFIG} >{DROP_IN}/config
    printf '[Service]\\nEnvironment=KUBE_PROXY_OPTS=--config={DROP_IN}/config\\nEnvironmentFile=\\n' \\
        >{DROP_IN}/90-defect.conf
    """
    restart = "systemctl daemon-reload && systemctl restart kube-proxy"
    try:
        machine.check("sh", "-c", change + restart)
        wait_until("kube-proxy", lambda: _serves(machine, "livez", name), timeout=90)
        yield
    finally:
        machine.check("sh", "-c", f"rm -rf {DROP_IN}; {restart}")
        wait_until("kube-proxy", lambda: _serves(machine, "healthz", machine.name), timeout=60)


def _serves(machine: Machine, path: str, name: str) -> None:
    urls = f"http://127.0.0.1:{HEALTH_PORT}/{path} && curl -sf http://127.0.0.1:{METRICS_PORT}/configz"
    said = machine.run("sh", "-c", f"curl -sf {urls}")
    if not said.ok or f'"hostnameOverride":"{name}"' not in said.stdout:
        raise NotYet(f"{machine.name}: kube-proxy as {name} said {said.stdout[:300]}{said.stderr[:300]}")


def green(cluster: Cluster, test: str, timeout: float = 240) -> None:
    """The test passes now that the defect is mended."""
    name = f"--lab-name={cluster.topology.name}"
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-q", name, f"tests/e2e/{test}"]
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=stretched(timeout), check=False
    )
    assert done.returncode == 0, f"{test} is still red after healing:\n{done.stdout}{done.stderr}"
