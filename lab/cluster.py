"""A running cluster as tests see it: plan, machines, clients.  It has no behaviour of its own."""

import json
import subprocess
from collections.abc import Mapping
from typing import Any

from testinfra.host import Host

from lab.components.admin import KUBECONFIG, KUBECTL
from lab.components.etcd import client_url
from lab.errors import ClusterError
from lab.kubeapi import KubeApi
from lab.laboratory import Laboratory
from lab.machine import Machine, Result, patience
from lab.pki import CA_FILES, Credentials, paths
from lab.topology import Role, Topology
from lab.verify import host_of
from lab.wait import stretched

DIAL, ANSWER = 2, 5  # seconds; etcdctl's own deadlines, longer where machines are slow


class Cluster:
    """Handed to tests by the fixtures; which of its parts are up, the fixture's docstring says."""

    def __init__(self, lab: Laboratory) -> None:
        self._lab = lab

    @property
    def topology(self) -> Topology:
        """The plan."""
        return self._lab.topology

    @property
    def credentials(self) -> Credentials:
        """The lab's certificates and secrets, on this host."""
        return self._lab.credentials

    @property
    def machines(self) -> Mapping[str, Machine]:
        """The machines that run, by name."""
        return self._lab.machines

    @property
    def lab(self) -> Laboratory:
        """What the harness itself works on."""
        return self._lab

    def of(self, role: Role) -> list[Machine]:
        """The machines of a role, in the order of the plan."""
        return self._lab.of(role)

    def host(self, name: str) -> Host:
        """A fresh testinfra host of the machine."""
        return host_of(self._lab.machine(name))

    def api(self, name: str | None = None) -> KubeApi:
        """The API as administrator: of one master, or as users reach it."""
        return self._lab.api(name)

    @property
    def admin(self) -> Machine:
        """The machine where the administrator's kubectl is."""
        return self._lab.of(Role.ADMIN)[0]

    def try_kubectl(self, *args: str, stdin: bytes = b"", timeout: float = 30) -> Result:
        """`kubectl ARGS` on the admin machine; how it ended."""
        request = max(1, int(patience(timeout)) - 2)
        argv = (KUBECTL, "--kubeconfig", KUBECONFIG, f"--request-timeout={request}s", *args)
        return self.admin.run(*argv, stdin=stdin, timeout=timeout)

    def kubectl(self, *args: str, stdin: bytes = b"", timeout: float = 30) -> str:
        """`kubectl ARGS` on the admin machine, which must succeed; what it printed."""
        done = self.try_kubectl(*args, stdin=stdin, timeout=timeout)
        if not done.ok:
            how = (
                f"did not end within {patience(timeout):.0f}s" if done.timed_out else f"exited {done.status}"
            )
            said = (done.stderr or done.stdout).strip()[-2000:]
            raise ClusterError(f"{self.admin.name}: `kubectl {' '.join(args)}` {how}: {said}")
        return done.stdout

    def kubectl_json(self, *args: str, timeout: float = 30) -> Any:
        """`kubectl ARGS -o json`, parsed."""
        return json.loads(self.kubectl(*args, "-o", "json", timeout=timeout))

    def etcdctl(self, *args: str, member: Machine | None = None, timeout: float = 15) -> Result:
        """`etcdctl ARGS` on a member, against all members unless the arguments name endpoints."""
        cert, key = paths("etcd-client")
        urls = ",".join(client_url(node) for node in self.topology.of(Role.ETCD))
        given = () if any(a.startswith("--endpoints") for a in args) else (f"--endpoints={urls}",)
        limits = (f"--dial-timeout={stretched(DIAL):.0f}s", f"--command-timeout={stretched(ANSWER):.0f}s")
        trust = (f"--cacert={CA_FILES['etcd']}", f"--cert={cert}", f"--key={key}")
        where = member or self.of(Role.ETCD)[0]
        return where.run("/opt/etcd/bin/etcdctl", *trust, *limits, *given, *args, timeout=timeout)

    def from_host(self, *argv: str, stdin: bytes = b"", timeout: float = 15) -> Result:
        """Run a command of this host inside the lab's network; status None at the deadline."""
        try:
            done = subprocess.run(
                self._lab.provider.host_argv(argv),
                input=stdin,
                capture_output=True,
                timeout=patience(timeout),
                check=False,
            )
        except subprocess.TimeoutExpired as cut:
            return Result(None, cut.stdout or b"", cut.stderr or b"", patience(timeout))
        return Result(done.returncode, done.stdout, done.stderr)
