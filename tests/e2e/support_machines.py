"""What the security tests look for on machines: one command for each question, on all at once.

Secrets to look for travel by standard input and stay in it: they are in no argument, no environment and
no message; a finding names the place and the secret's name.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lab.cluster import Cluster
from lab.components.rendering import CA_KEY, SA_KEY
from lab.machine import Machine, on_each
from lab.pki import USES, grants, paths
from lab.topology import Node, Role

Places = dict[str, dict[str, list[str]]]  # machine: secret: where it was seen
PLACES = ("/opt", "/etc", "/root", "/home", "/srv", "/usr/local", "/var/lib/kubelet")
KUBELETS = ("/opt/kubernetes/ssl/kubelet-client-", "/opt/kubernetes/ssl/kubelet-server-")
HOST_KEYS = "/etc/ssh/ssh_host_"  # a machine that is logged into by SSH has an identity of its own


@dataclass(frozen=True, slots=True)
class Found:
    """A file with a private key or a kubeconfig in it."""

    mode: int
    owner: str
    path: str

    @property
    def is_roots_alone(self) -> bool:
        return self.owner == "root" and self.mode & 0o077 == 0

    def __str__(self) -> str:
        return f"{self.path} ({self.mode:o} {self.owner})"


@dataclass(frozen=True, slots=True)
class Listener:
    """A TCP socket that listens, and by whom; pods' own are left out."""

    address: str
    port: int
    program: str

    @property
    def is_local(self) -> bool:
        return self.address.startswith("127.") or self.address in ("[::1]", "::1", "[::ffff:127.0.0.1]")

    def __str__(self) -> str:
        return f"{self.program} on {self.address}:{self.port}"


def key_files(cluster: Cluster) -> dict[str, list[Found]]:
    """Every file with a private key in it, by machine."""
    pattern = "-----BEGIN [A-Z ]*PRIVATE KEY-----|client-key-data:"
    return on_each(list(cluster.machines.values()), lambda machine: _files_with(machine, pattern))


def kubeconfigs(cluster: Cluster) -> dict[str, list[Found]]:
    """Every kubeconfig, by machine."""
    return on_each(list(cluster.machines.values()), lambda machine: _files_with(machine, "^current-context:"))


def needed_keys(cluster: Cluster, node: Node) -> set[str]:
    """Where the plan puts private keys on that machine."""
    granted = grants(cluster.topology, node)
    places = {use: path for use, path in _key_paths().items() if use in granted}
    return set(places.values())


def is_made_there(node: Node, path: str) -> bool:
    """Whether it is a key that the machine makes for itself."""
    return path.startswith(HOST_KEYS) or (Role.WORKER in node.roles and path.startswith(KUBELETS))


def listeners(cluster: Cluster) -> dict[str, list[Listener]]:
    """Every listening TCP socket outside pods, by machine."""
    said = on_each(list(cluster.machines.values()), lambda m: m.check("sh", "-c", _LISTENERS, timeout=30))
    return {name: [_listener(line) for line in text.splitlines()] for name, text in said.items()}


def ca_keys(cluster: Cluster) -> dict[str, list[str]]:
    """Of each CA's key what a copy of it would hold, as PEM or inside a kubeconfig."""
    authorities = cluster.credentials.authorities
    return {f"key of the {name} CA": _traces(pair.key) for name, pair in authorities.items()}


def secrets_of(cluster: Cluster) -> dict[str, list[str]]:
    """Everything secret of the lab, by name."""
    held = cluster.credentials
    keys = {f"key of {use}@{node}": _traces(pair.key) for (use, node), pair in held.pairs.items()}
    return {
        **ca_keys(cluster),
        **keys,
        "the service accounts' key": _traces(held.service_account.private),
        "the encryption key": [held.encryption_key],
        "the bootstrap token": [held.bootstrap_token.secret],
    }


def needed_secrets(cluster: Cluster, node: Node) -> set[str]:
    """Which of `secrets_of` the plan gives to that machine."""
    granted = grants(cluster.topology, node)
    others = {
        "kubernetes-ca-key": "key of the kubernetes CA",
        "service-account": "the service accounts' key",
        "encryption-key": "the encryption key",
        "bootstrap-token": "the bootstrap token",
    }
    own = {f"key of {use}@{owner}" for use, owner in cluster.credentials.pairs if owner == node.name}
    return own | {name for grant, name in others.items() if grant in granted}


def holders(cluster: Cluster, secrets: Mapping[str, Sequence[str]]) -> Places:
    """By machine, the files that hold each secret."""
    return _sought(cluster, secrets, _IN_FILES, *PLACES)


def in_sight(cluster: Cluster, secrets: Mapping[str, Sequence[str]], canary: str) -> Places:
    """By machine, where each secret shows: arguments and environments of processes, units, journal, logs.

    The canary is put into an argument, an environment and the journal, so that it must be found there.
    """
    return _sought(cluster, {**secrets, "canary": [canary]}, _IN_PROCESSES + _IN_LOGS, canary)


def inherited(cluster: Cluster, words: Mapping[str, Sequence[str]], canary: str) -> Places:
    """The same of processes and units only."""
    return _sought(cluster, {**words, "canary": [canary]}, _IN_PROCESSES, canary)


def _sought(cluster: Cluster, secrets: Mapping[str, Sequence[str]], program: str, *args: str) -> Places:
    names = [name for name, traces in secrets.items() for _ in traces]
    patterns = "".join(f"{trace}\n" for traces in secrets.values() for trace in traces).encode()

    def seek(machine: Machine) -> dict[str, list[str]]:
        said = machine.check("python3", "-c", program, *args, stdin=patterns, timeout=60)
        found: dict[str, list[str]] = {}
        for line in said.splitlines():
            number, _, place = line.partition(" ")
            found.setdefault(names[int(number)], []).append(place)
        return found

    return on_each(list(cluster.machines.values()), seek)


def _key_paths() -> dict[str, str]:
    uses = {use.name: paths(use.name)[1] for use in USES if use.file}
    return {**uses, "kubernetes-ca-key": CA_KEY, "service-account": SA_KEY}


def _traces(key: bytes) -> list[str]:
    """A line from the middle of the PEM, and a piece of the whole in base64."""
    line = key.decode().splitlines()[1]
    return [line, base64.b64encode(key).decode()[60:120]]


def _files_with(machine: Machine, pattern: str) -> list[Found]:
    said = machine.check("sh", "-c", _FILES, pattern, *PLACES, timeout=30)
    rows = (line.split(" ", 2) for line in said.splitlines())
    return [Found(int(mode, 8), owner, path) for mode, owner, path in rows]


def _listener(line: str) -> Listener:
    where, program = json.loads(line)
    address, _, port = where.rpartition(":")
    return Listener(address, int(port), program)


# Small files only: programs hold the words as well, and no key is that long.
_FILES = """\
pattern=$0
find "$@" -xdev -type f -size -256k -print0 2>/dev/null |
    xargs -0 -r grep -lZE -e "$pattern" 2>/dev/null |
    xargs -0 -r stat -c '%a %U %n'
"""
_LISTENERS = """\
ss -Hltnp | while read -r state recv send local peer who; do
    pid=$(printf '%s' "$who" | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p')
    [ -z "$pid" ] || ! grep -q kubepods "/proc/$pid/cgroup" 2>/dev/null || continue
    program=$(printf '%s' "$who" | sed -n 's/^users:(("\\([^"]*\\)".*/\\1/p')
    printf '["%s", "%s"]\\n' "$local" "${program:-unknown}"
done
"""
# Debian's python3-minimal; prints "NUMBER PLACE" for each pattern found, never the pattern.
_READ = """\
import os, sys
patterns = [line.encode() for line in sys.stdin.read().split("\\n") if line]
def tell(place, content):
    for number, pattern in enumerate(patterns):
        if pattern in content:
            print(number, place)
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""
"""
_IN_FILES = (
    _READ
    + """\
for place in sys.argv[1:]:
    for folder, folders, files in os.walk(place):
        for path in (os.path.join(folder, name) for name in files):
            if not os.path.islink(path) and os.path.isfile(path) and os.path.getsize(path) < 1 << 18:
                tell(path, read(path))
"""
)
_IN_PROCESSES = (
    _READ
    + """\
import subprocess
canary = sys.argv[1]
os.environ["CANARY"] = canary
# A process shows its environment only once it runs its program, hence the wait for its word.
pipe = subprocess.PIPE
bystander = subprocess.Popen(["sh", "-c", "echo; read rest"], stdin=pipe, stdout=pipe)
try:
    bystander.stdout.readline()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        words = read(f"/proc/{pid}/cmdline")
        program = words.split(b"\\0")[0].decode(errors="replace")
        tell(f"arguments of {program}", words)
        tell(f"environment of {program}", read(f"/proc/{pid}/environ"))
finally:
    bystander.kill()
    bystander.wait()
told = lambda *argv: subprocess.run(argv, stdout=subprocess.PIPE, check=True).stdout
tell("the units' settings", told("systemctl", "show", "*", "-p", "Environment", "-p", "ExecStart"))
"""
)
_IN_LOGS = """\
subprocess.run(["systemd-cat", "-t", "thwlab-e2e", "echo", canary], check=True)
subprocess.run(["journalctl", "--sync"], check=True)
tell("the journal", told("journalctl", "--no-pager", "-o", "cat", "-a"))
audit_log = "/opt/kubernetes/logs/k8s-audit.log"
tell(audit_log, read(audit_log))
"""
