"""A machine of a plain box, stood in for by a folder: what is unpacked there and the script are real."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from stand_in import StandIn, on_path

from lab.artifacts.cache import Entry, Key, Stored, sha256_of
from lab.artifacts.fetch import Programs
from lab.artifacts.packages import INDEX, Archive
from lab.artifacts.supplies import Supplies
from lab.furnishing.guest import MARK
from lab.machine import Machine, Result
from lab.topology import Node

TOOLS = ("apt-get", "dpkg", "systemctl", "modprobe", "sync")
BOOKWORM = """\
mark {mark}
kernel 6.1.0-41-cloud-amd64
machine x86_64
systemd systemd 252 (252.39-1~deb12u1)
cgroup cgroup2fs
free {free}
os PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
os VERSION_CODENAME=bookworm
os ID=debian
{packages}
"""
NAMES = (
    "etcd etcdctl etcdutl kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl "
    "bridge containerd ctr pause coredns agnhost"
).split()
# It listens until it is ended, as containerd does, and says so in a file.
CONTAINERD = """\
#!{python} -IS
import pathlib, socket, sys, time
config = pathlib.Path(sys.argv[2]).read_text()
pathlib.Path({said!r}).write_text(config)
server = socket.socket(socket.AF_UNIX)
server.bind({address!r})
server.listen()
time.sleep(60)
"""


def programs(folder: Path) -> Programs:
    """One entry of tiny programs."""
    files = {}
    (folder / "files").mkdir(parents=True)
    for name in NAMES:
        path = folder / "files" / name
        path.write_text(f"#!/bin/sh\n# {name}\n")
        files[name] = Stored(sha256_of(path), path.stat().st_size, path.stat().st_mtime_ns)
    return Programs([Entry(Key("all", "1", "amd64"), folder, "tests", "now", files)])


def archive(folder: Path, packages: Mapping[str, str]) -> Archive:
    """An archive of these packages, by name with their versions; each needs the one before it."""
    folder.mkdir(parents=True)
    stanzas, before = [], ""
    for name, version in packages.items():
        (folder / f"{name}.deb").write_text(f"{name} {version}")
        needs = f"Depends: {before} (>= 1) | other\n" if before else ""
        stanzas.append(f"Package: {name}\nVersion: {version}\n{needs}Filename: ./{name}.deb\n")
        before = name
    (folder / INDEX).write_text("\n".join(stanzas))
    return Archive(folder)


def supplies(folder: Path, *, why: str = "") -> Supplies:
    """Three programs' worth of everything; without an archive where there is a reason."""
    images = folder / "images" / "0123"
    images.mkdir(parents=True)
    (images / "pause.tar").write_text("an image")
    found = None if why else archive(folder / "packages", {"runc": "1.1", "socat": "1.7", "nginx": "1.22"})
    return Supplies(programs(folder / "programs"), (images / "pause.tar",), found, why)


class PlainGuest(Machine):
    """Commands run here, in the guest's folder instead of /; its tools are stand-ins."""

    def __init__(self, node: Node, folder: Path) -> None:
        super().__init__(node)
        self.root = folder / "root"
        self.root.mkdir(parents=True)
        self.bin = folder / "bin"
        self.tools = {name: StandIn(self.bin / name).answer("") for name in TOOLS}
        self.installed: dict[str, str] = {}
        self.free_mib = 4096
        self.questions = BOOKWORM
        self.sent: list[bytes] = []
        self.ran: list[list[str]] = []
        self.instead: Result | None = None  # of the script, or of unpacking

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        if "os-release" in argv[2]:
            return Result(0, self._answers().encode())
        if stdin:
            self.sent.append(stdin)
        if self.instead:
            return self.instead
        self.ran.append(list(argv))
        staged = f"{self.root}/var/cache/thwlab"
        words = [str(self.root) if word == "" else word.replace("/var/cache/thwlab", staged) for word in argv]
        if stdin:
            words = [*words[:4], str(self.root), *words[5:]]
        words = [f"{self.root}{word}" if word == "/usr/local/bin/ctr" else word for word in words]
        env = {**os.environ, "PATH": on_path(self.bin)}
        done = subprocess.run(words, input=stdin, capture_output=True, timeout=30, env=env, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def _answers(self) -> str:
        packages = "\n".join(f"package ii  {name} {version}" for name, version in self.installed.items())
        return self.questions.format(mark=self.mark, free=self.free_mib * 1024, packages=packages)

    @property
    def mark(self) -> str:
        """What the mark says; empty where there is none."""
        path = self.root / MARK.lstrip("/")
        return path.read_text().strip() if path.exists() else ""

    def take_programs_for_stand_ins(self, programs: Programs) -> None:
        """Let containerd and ctr among the programs do what the script waits for."""
        said, address = self.root.parent / "containerd-config", self.root / "run/thwlab-import/s"
        text = CONTAINERD.format(python=sys.executable, said=str(said), address=str(address))
        programs["containerd"].write_text(text)
        log = self.root.parent / "imported"
        programs["ctr"].write_text(f'#!/bin/sh\necho "$CONTAINERD_ADDRESS $*" >>"{log}"\n')

    def pull_plug(self) -> None:
        raise NotImplementedError

    boot = reboot = pause = resume = pull_plug


def listening(path: Path) -> socket.socket:
    """A socket that something else listens on already; its path may be longer than a socket's address."""
    path.parent.mkdir(parents=True)
    server = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    server.listen()
    return server
