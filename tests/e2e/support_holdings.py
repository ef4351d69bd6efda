"""What lies on machines and how programs were started there: certificates as their users find them."""

import base64
import os.path
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.machine import Machine, on_each
from lab.pki import Pair

FOLDERS = ("/opt/etcd/ssl", "/opt/kubernetes/ssl", "/opt/kubernetes/cfg", "/root/.kube")
PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
)
_CERTIFICATE = rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n"
_KEY = rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----\n"


@dataclass(frozen=True, slots=True)
class Holdings:
    """The files of one machine by their paths, and the flags of the programs that run there."""

    machine: Machine
    files: Mapping[str, bytes] = field(repr=False)
    flags: Mapping[str, Mapping[str, str]]

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.machine.name

    def file(self, path: str) -> bytes:
        """A file's content; a `ClusterError` names what is missing."""
        if path not in self.files:
            raise ClusterError(f"{self.name}: {path} is not there; there are {', '.join(sorted(self.files))}")
        return self.files[path]

    def flag(self, program: str, flag: str) -> str:
        """A flag as the running program got it."""
        found = self.flags.get(program, {}).get(flag)
        if found is None:
            running = ", ".join(self.flags) or "nothing"
            raise ClusterError(f"{self.name}: {program} does not run with --{flag}; running: {running}")
        return found

    def pair(self, cert: str, key: str) -> Pair:
        """The pair in two files, or one and the same."""
        return pair_of(self.file(cert) + self.file(key))

    def flagged(self, program: str, cert: str, key: str) -> Pair:
        """The pair that two flags of a running program point to."""
        return self.pair(self.flag(program, cert), self.flag(program, key))

    def of_kubeconfig(self, path: str) -> Pair:
        """The pair of the only user of a kubeconfig, embedded or pointed to."""
        user = yaml.safe_load(self.file(path))["users"][0]["user"]
        parts = (self._embedded(user, path, f"client-{what}") for what in ("certificate", "key"))
        return pair_of(b"".join(parts))

    def of_program(self, program: str) -> Pair:
        """The pair in the kubeconfig that a running program was started with."""
        return self.of_kubeconfig(self.flag(program, "kubeconfig"))

    def of_kube_proxy(self) -> Pair:
        """kube-proxy's; it finds its kubeconfig by way of its configuration."""
        config = yaml.safe_load(self.file(self.flag("kube-proxy", "config")))
        return self.of_kubeconfig(config["clientConnection"]["kubeconfig"])

    def _embedded(self, user: Mapping[str, Any], path: str, what: str) -> bytes:
        if f"{what}-data" in user:
            return base64.b64decode(user[f"{what}-data"])
        if what not in user:
            raise ClusterError(f"{self.name}: the user in {path} has no {what}, only {', '.join(user)}")
        return self.file(os.path.join(os.path.dirname(path), user[what]))  # noqa: PTH118, PTH120 - a machine's


def pair_of(pem: bytes) -> Pair:
    """The first certificate and the first key in PEM text; ValueError if one is lacking."""
    cert, key = (re.search(form, pem, re.DOTALL) for form in (_CERTIFICATE, _KEY))
    if not cert or not key:
        raise ValueError(f"there is no {'key' if cert else 'certificate'} in it")
    return Pair(cert[0], key[0])


def holdings(cluster: Cluster, machines: list[Machine] | None = None) -> dict[str, Holdings]:
    """What lies on these machines, all unless told; one command for each."""
    return on_each(machines or list(cluster.machines.values()), _read)


def _read(machine: Machine) -> Holdings:
    argv = ("python3", "-c", _SENDER, ",".join(PROGRAMS), *FOLDERS)
    sent = machine.run(*argv, timeout=20)
    if not sent.ok:
        raise ClusterError(f"{machine.name}: its files could not be read: {sent.stderr.strip()[-500:]}")
    frames = _frames(sent.out)
    flags = {name[1:]: _flags(frames.pop(name)) for name in list(frames) if name.startswith("@")}
    return Holdings(machine, frames, flags)


def _frames(sent: bytes) -> dict[str, bytes]:
    found = {}
    while sent:
        head, _, rest = sent.partition(b"\n")
        size, _, name = head.partition(b" ")
        found[name.decode()], sent = rest[: int(size)], rest[int(size) :]
    return found


def _flags(command_line: bytes) -> dict[str, str]:
    words = (word.decode() for word in command_line.split(b"\0") if word.startswith(b"--"))
    pairs = (word.removeprefix("--").partition("=") for word in words)
    return {name: value for name, _, value in pairs}


_SENDER = """\
import os, sys
sent = set()
def send(path):
    if path not in sent and os.path.isfile(path) and os.path.getsize(path) < 1 << 16:
        sent.add(path)
        with open(path, "rb") as file:
            frame(path, file.read())
def frame(name, content):
    sys.stdout.buffer.write(("%d %s\\n" % (len(content), name)).encode() + content)
for folder in sys.argv[2:]:
    for root, _, names in os.walk(folder):
        for path in (os.path.join(root, name) for name in names):
            send(path)
wanted = sys.argv[1].split(",")
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        program = os.path.basename(os.readlink("/proc/%s/exe" % pid))
        if program in wanted:
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                words = file.read()
            frame("@" + program, words)
            for word in words.decode().split("\\0"):
                path = word.partition("=")[2]
                if path.startswith("/"):
                    send(path)
    except OSError:
        pass
"""
