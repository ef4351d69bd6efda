"""Machines as folders, with a systemd of a few lines: the real scripts run, and this host is not met."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fixed import fixed_credentials, guide_topology

from lab.errors import LabError
from lab.machine import File, Machine, Platform, Result, Substrate
from lab.topology import Node, Role, Topology

PLAN = guide_topology()
# What scripts name by its whole path lies in the machine's folder instead.
PLACES = re.compile(r"(?<![\w/.])/(run/thwlab|run/systemd|var/lib|etc/systemd|opt|sys/fs/cgroup)")
SYSTEMCTL = r"""#!/bin/sh
echo "$@" >>"$HERE/calls"
verb=$1; shift
case "$verb" in is-enabled) test -e "$HERE/enabled/${2%.service}"; exit;; esac
for last; do :; done
unit=${last%.service}
state="$HERE/units/$unit"
procs="$HERE/sys/fs/cgroup/system.slice/$unit.service/cgroup.procs"
test "$verb" = daemon-reload && exit 0
test "$verb" = cat && { test -d "$state"; exit; }
mkdir -p "$state" "${procs%/*}"
child() { sleep 600 >/dev/null 2>&1 & echo $! >"$state/$1"; echo $! >>"$HERE/began"; }
start() {
  test -e "$HERE/run/systemd/system/$unit.service.d/thwlab-hold.conf" && return
  test "$(cat "$state/active" 2>/dev/null)" = active && return
  child pid; child worker
  cat "$state/pid" "$state/worker" >"$procs"; echo active >"$state/active"
}
stop() {
  test "$unit" != containerd || { echo 0 >"$state/pid"; echo inactive >"$state/active"; return; }
  xargs -r kill -KILL <"$procs" 2>/dev/null
  : >"$procs"; echo 0 >"$state/pid"; echo inactive >"$state/active"
}
case "$verb" in
  show)
    case "$1" in
      *ControlGroup) echo "/system.slice/$unit.service";;
      *MainPID) cat "$state/pid" 2>/dev/null || echo 0;;
      *ActiveState) cat "$state/active" 2>/dev/null || echo inactive;;
      *KillMode) test "$unit" = containerd && echo process || echo control-group;;
      *CanReload) test "$unit" = nginx && echo yes || echo no;;
    esac;;
  start) start;;
  stop) stop;;
  restart) stop; start;;
  reload) kill -KILL "$(cat "$state/worker")"; child worker
    cat "$state/pid" "$state/worker" >"$procs";;
  kill)
    signal=KILL
    for word; do case "$word" in
      --signal=*) signal=${word#--signal=};;
      --kill-who=main) if test "$unit" = containerd; then cat "$state/worker" >"$procs.kept"; fi;;
    esac; done
    if test -e "$procs.kept"; then
      mv "$procs.kept" "$procs"; kill -KILL "$(cat "$state/pid")"; echo 0 >"$state/pid"
      echo inactive >"$state/active"; exit
    fi
    xargs -r kill -"$signal" <"$procs" 2>/dev/null
    if test "$signal" = KILL; then stop; start; fi;;
  is-active) test "$(cat "$state/active" 2>/dev/null)" = active;;
esac
"""


_made: list["Sandbox"] = []


@pytest.fixture(autouse=True)
def every_sandbox_ends() -> Iterator[None]:
    """For test modules that import it: no process of a machine outlives its test."""
    yield
    while _made:
        _made.pop().end()


class Sandbox(Machine):
    """Runs commands on this host, with `PLACES` below its own folder and some programs of its own."""

    def __init__(self, node: Node, folder: Path, programs: Mapping[str, str] | None = None) -> None:
        super().__init__(node)
        _made.append(self)
        self.folder = folder
        self.power = "running"
        self.took: list[str] = []
        for place in ("bin", "enabled", "units", "run/thwlab"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        for name, body in {"systemctl": SYSTEMCTL, **(programs or {})}.items():
            path = folder / "bin" / name
            path.write_text(body if body.startswith("#!") else f"#!/bin/sh\n{body}\n")
            path.chmod(0o755)

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        if self.power == "paused":
            return Result(None)
        if self.power != "running":
            raise LabError(f"{self.name} is {self.power}")
        moved = [PLACES.sub(rf"{self.folder}/\1", word) for word in argv]
        env = os.environ | {"PATH": f"{self.folder}/bin:{os.environ['PATH']}", "HERE": str(self.folder)}
        done = subprocess.run(moved, input=stdin, capture_output=True, env=env, timeout=30)
        return Result(done.returncode, done.stdout, done.stderr)

    def apply(self, files: list[File], *, timeout: float = 60) -> frozenset[str]:
        for file in files:
            path = self.folder / file.path[1:]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.content)
            path.chmod(file.mode)
        return frozenset(file.path for file in files)

    def calls(self) -> list[str]:
        """What systemctl was told since it was last asked for, less the questions."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return [line for line in lines if line.split()[0] not in ("show", "is-enabled", "is-active", "cat")]

    def end(self) -> None:
        """End every process that its systemd began."""
        began = self.folder / "began"
        for pid in began.read_text().split() if began.exists() else ():
            if "sleep" in _command(pid):
                os.kill(int(pid), signal.SIGKILL)
        began.unlink(missing_ok=True)

    def left(self) -> list[str]:
        """Files of faults that are still there."""
        places = (self.folder / "run").rglob("*")
        return sorted(str(path.relative_to(self.folder)) for path in places if path.is_file())

    def pull_plug(self) -> None:
        self.took.append("pull_plug")
        self.power = "stopped"

    def boot(self) -> None:
        self.took.append("boot")
        self.power = "running"

    def reboot(self) -> None:
        self.took.append("reboot")

    def pause(self) -> None:
        self.took.append("pause")
        self.power = "paused"

    def resume(self) -> None:
        self.took.append("resume")
        self.power = "running"


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return ""


def sandboxes(folder: Path, *names: str, programs: Mapping[str, str] | None = None) -> dict[str, Sandbox]:
    """Machines of the guide's plan."""
    return {name: Sandbox(PLAN.node(name), folder / name, programs) for name in names}


def cluster_of(
    machines: Mapping[str, Machine],
    topology: Topology = PLAN,
    *,
    etcdctl: Callable[..., Result] | None = None,
    api: Any = None,
    connects: str = "nobody",
    **provider: Any,
) -> Any:
    """What faults ask of a cluster; `connects` is how connections from this host end."""

    def states() -> dict[str, str]:
        return {name: getattr(machine, "power", "running") for name, machine in machines.items()}

    given = {
        "name": "fake",
        "platform": Platform(Substrate.CONTAINER, 1),
        "capabilities": frozenset(),
        "states": states,
        "is_slow": False,
        **provider,
    }
    lab = SimpleNamespace(provider=SimpleNamespace(**given), topology=topology, machines=machines)
    return SimpleNamespace(
        machines=machines,
        topology=topology,
        lab=lab,
        credentials=fixed_credentials(),
        of=lambda role: [machines[node.name] for node in topology.of(role) if node.name in machines],
        api=api,
        etcdctl=etcdctl,
        from_host=lambda *argv, **_: Result(0, f"{connects}\n".encode()),
    )


MEMBERS = [node.name for node in PLAN.of(Role.ETCD)]
