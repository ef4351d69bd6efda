"""Two machines as network namespaces with a wire between them: rules are proven with real packets."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fixed import guide_topology

from lab.machine import Machine, Platform, Result, Substrate
from lab.topology import Node, Topology

PLAN = guide_topology()
VICTIM, PEER = "k8s-master1", "k8s-master2"


class Namespace(Machine):
    """A machine whose commands run in a network namespace of this host."""

    def __init__(self, node: Node, name: str, programs: Path) -> None:
        super().__init__(node)
        self.namespace, self._programs = name, programs

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        env = os.environ | {"PATH": f"{self._programs}:{os.environ['PATH']}"}
        inside = ("ip", "netns", "exec", self.namespace, *argv)
        try:
            done = subprocess.run(inside, input=stdin, capture_output=True, env=env, timeout=timeout)
        except subprocess.TimeoutExpired:
            return Result(None)
        return Result(done.returncode, done.stdout, done.stderr)

    def python(self, code: str, *args: str, timeout: float = 10) -> str:
        """Run Python in it; what it printed."""
        done = self.run(sys.executable, "-I", "-c", code, *args, timeout=timeout)
        assert done.ok, done.stderr
        return done.stdout.strip()

    def _never(self) -> None:
        raise NotImplementedError

    pull_plug = boot = reboot = pause = resume = _never


def cluster_of(machines: dict[str, Machine], topology: Topology = PLAN, **provider: Any) -> Any:
    """What faults ask of a cluster."""
    given = {"platform": Platform(Substrate.CONTAINER, 1), **provider}
    lab = SimpleNamespace(provider=SimpleNamespace(**given), topology=topology, machines=machines)
    return SimpleNamespace(machines=machines, topology=topology, lab=lab)


def can_make_namespaces() -> bool:
    """Whether this user may, and nft is there."""
    if os.geteuid() != 0:
        return False
    tried = subprocess.run(["unshare", "-n", "nft", "list", "tables"], capture_output=True, check=False)
    return tried.returncode == 0


@contextmanager
def wired(folder: Path) -> Iterator[dict[str, Machine]]:
    """Two machines of the guide's plan with their addresses, joined by a wire; removed at the end."""
    hosts = folder / "hosts"
    hosts.write_text("".join(f"{node.address} {node.name}\n" for node in PLAN.nodes))
    getent = folder / "getent"
    getent.write_text(f'#!/bin/sh\ngrep " $2$" {hosts}\n')
    getent.chmod(0o755)
    machines: dict[str, Machine] = {}
    try:
        for name in (VICTIM, PEER):
            namespace = f"thwfaults-{os.getpid()}-{name[-1]}"
            subprocess.run(["ip", "netns", "add", namespace], check=True)
            machines[name] = Namespace(PLAN.node(name), namespace, folder)
        _wire(machines)
        yield machines
    finally:
        for machine in machines.values():
            subprocess.run(["ip", "netns", "delete", machine.namespace], check=True)


def _wire(machines: dict[str, Any]) -> None:
    first, second = (machine.namespace for machine in machines.values())
    subprocess.run(
        ["ip", "-n", first, "link", "add", "eth0", "type", "veth", "peer", "eth0", "netns", second],
        check=True,
    )
    for machine in machines.values():
        for argv in (
            ("link", "set", "lo", "up"),
            ("addr", "add", f"{machine.node.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            machine.check("ip", *argv)
