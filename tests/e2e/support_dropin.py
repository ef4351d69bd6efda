"""A unit changed by hand and changed back: bring-up repairs its own files, but does not see a drop-in."""

import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.cluster import Cluster
from lab.components.apiserver import ApiServer
from lab.components.base import await_ready
from lab.components.rendering import CFG
from lab.machine import File, Machine
from lab.wait import stretched

ROOT = Path(__file__).parents[2]
FOLDER = "/run/thwlab-defect"
API = "kube-apiserver"


@contextmanager
def drop_in(machine: Machine, unit: str, *settings: str, files: Sequence[File] = ()) -> Iterator[None]:
    """The unit runs with these lines in its [Service]; afterwards it runs as it was, and nothing is left.

    It is killed for it: an apiserver that is told to stop waits a minute for its watchers to go away.
    """
    path = f"/run/systemd/system/{unit}.d/50-thwlab-defect.conf"
    content = "\n".join(["[Service]", *settings, ""]).encode()
    try:
        machine.apply([*files, File(path, content)])
        restart(machine, unit)
        yield
    finally:
        machine.check("sh", "-c", 'rm -rf "$0" "$1"; rmdir "${0%/*}" || true', path, FOLDER)
        restart(machine, unit)


@contextmanager
def idle(machine: Machine, unit: str) -> Iterator[None]:
    """A unit that does not run and does not start either, for the body."""
    with drop_in(machine, unit, "ExecCondition=/bin/false"):
        yield


def restart(machine: Machine, unit: str) -> None:
    """By a kill, and wait until systemd calls it started."""
    machine.check("sh", "-c", _RESTART, unit, timeout=90)


@contextmanager
def bystander(machine: Machine, *argv: str, properties: Sequence[str] = ()) -> Iterator[None]:
    """A command that runs on the machine as a unit of its own."""
    unit = "thwlab-defect.service"
    wishes = [word for each in properties for word in ("-p", each)]
    try:
        machine.check("systemd-run", "--quiet", "--unit", unit, *wishes, *argv)
        yield
    finally:
        machine.run("sh", "-c", 'systemctl stop "$0"; systemctl reset-failed "$0"; rm -rf "$1"', unit, FOLDER)


@contextmanager
def mounted(machine: Machine, path: str, content: bytes) -> Iterator[None]:
    """Another content at that path, for the body."""
    other = f"{FOLDER}/{uuid.uuid4().hex}"
    try:
        machine.apply([File(other, content)])
        machine.check("mount", "--bind", other, path)
        yield
    finally:
        machine.check("sh", "-c", 'umount "$0"; rm -rf "$1"', path, FOLDER)


def apiserver_runs(cluster: Cluster, machine: Machine) -> None:
    """Wait until that master's apiserver is ready."""
    await_ready(ApiServer(cluster.topology, cluster.lab.provider.platform), machine)


def with_flags(machine: Machine, program: str, flags: dict[str, str]) -> tuple[tuple[str, str], File]:
    """Lines of a drop-in, and the file with these flags instead of the program's own."""
    lines = machine.check("cat", f"{CFG}/{program}.conf").splitlines()
    for flag, value in flags.items():
        old = next(line for line in lines if f"--{flag}=" in line)
        head, end = old.partition(f"--{flag}=")[0], '"' if old.endswith('"') else " \\"
        lines[lines.index(old)] = f"{head}--{flag}={value}{end}"
    file = File(f"{FOLDER}/{program}.conf", "\n".join([*lines, ""]).encode())
    return ("EnvironmentFile=", f"EnvironmentFile={file.path}"), file


@contextmanager
def apiserver(lab: Cluster, machine: Machine, flags: dict[str, str], files: list[File]) -> Iterator[None]:
    """The machine's apiserver runs with these flags, for the body."""
    unit, (settings, conf) = f"{API}.service", with_flags(machine, API, flags)
    try:
        # An orderly stop waits for open watches, a minute long.
        with drop_in(machine, unit, *settings, "TimeoutStopSec=3", files=[conf, *files]):
            apiserver_runs(lab, machine)
            try:
                yield
            finally:
                machine.check("systemctl", "kill", "--signal=KILL", unit)
    finally:
        apiserver_runs(lab, machine)


def insist_green(cluster: Cluster, *tests: str, timeout: float = 240) -> None:
    """Those tests pass now, in a session of their own."""
    name = f"--lab-name={cluster.topology.name}"
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", "-q", name]
    argv += [f"tests/e2e/{test}" for test in tests]
    patience = stretched(timeout)
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=patience, check=False)
    assert done.returncode == 0, f"{tests} should be green again:\n{done.stdout[-4000:]}{done.stderr[-1000:]}"


_RESTART = """\
systemctl daemon-reload
systemctl kill --signal=KILL "$0"
systemctl restart "$0"
"""
