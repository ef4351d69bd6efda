"""Three real members of etcd on loopback, without TLS, that a machine's small systemd starts and stops."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fault_machines import MEMBERS, PLAN, Sandbox, cluster_of

from lab.components.etcd import client_url, peer_url
from lab.faults import quorum
from lab.machine import Machine, Result
from lab.wait import NotYet, wait_until

PROGRAMS = Path.home() / ".cache/thwlab/programs/etcd"
SYSTEMCTL = r"""#!/bin/sh
echo "$@" >>"$HERE/calls"
start() {
  test -e "$HERE/run/systemd/system/etcd.service.d/thwlab-hold.conf" && return
  running && return
  set -a
  . "$HERE/etcd.conf"
  for more in etcd-quota etcd-joining; do
    test -e "$HERE/run/systemd/system/etcd.service.d/thwlab-${more#etcd-}.conf" && . "$HERE/run/thwlab/$more"
  done
  test -z "$RENAMED" || ETCD_INITIAL_CLUSTER=$(echo "$ETCD_INITIAL_CLUSTER" | sed "$RENAMED")
  set +a
  PROGRAM >>"$HERE/log" 2>&1 </dev/null & echo $! >"$HERE/pid"
}
running() { kill -0 "$(cat "$HERE/pid" 2>/dev/null || echo 99999999)" 2>/dev/null; }
stop() { running || return; kill -TERM "$(cat "$HERE/pid")"; while running; do sleep 0.05; done; }
case "$1" in
  start) start;;
  stop) stop;;
  restart) stop; start;;
  show)
    case "$2" in
      *ControlGroup) echo /none;;
      *MainPID) running && cat "$HERE/pid" || echo 0;;
      *ActiveState) running && echo active || echo inactive;;
    esac;;
esac
true
"""


def program() -> Path | None:
    """The folder of etcd's programs, if this host has them."""
    found = sorted(PROGRAMS.glob("*/linux-*/files/etcd"))
    return found[-1].parent if found else None


def _addresses() -> dict[str, tuple[str, str]]:
    """Where each member listens for clients and for peers: loopback addresses of this process alone.

    Ports chosen on 127.0.0.1 and let go are taken by whoever connects meanwhile, even by a
    member that calls another one which has not begun to listen: it then talks to itself.
    """
    own = os.getpid() % ((1 << 21) - 1) + 1
    first, second, third = 64 + (own >> 15), (own >> 7) & 255, (own & 127) << 1
    hosts = [f"127.{first + more}.{second}.{third + 1}" for more in (0, 64, 128)]
    return {name: (f"{host}:2379", f"{host}:2380") for name, host in zip(MEMBERS, hosts, strict=True)}


@contextmanager
def members(folder: Path) -> Iterator[Any]:
    """A cluster of three members of the guide's plan that have a leader; all is ended afterwards."""
    where = program()
    assert where is not None
    addresses = _addresses()
    renamed = _renaming(addresses)
    machines: dict[str, Machine] = {}
    systemctl = SYSTEMCTL.replace("PROGRAM", str(where / "etcd"))
    for name in MEMBERS:
        journalctl = f"cat {folder / name / 'log'}"
        machine = Sandbox(PLAN.node(name), folder / name, {"systemctl": systemctl, "journalctl": journalctl})
        (machine.folder / "etcd.conf").write_text(_configuration(machine, addresses, renamed))
        machine.run("systemctl", "start", "etcd")
        machines[name] = machine
    try:
        cluster = cluster_of(machines, etcdctl=_etcdctl(machines, where, renamed))
        cluster.renamed = renamed
        wait_until("three members", lambda: _check(cluster), timeout=30)
        yield cluster
    finally:
        for machine in machines.values():
            _end(machine)


def _renaming(addresses: dict[str, tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = []
    for name, (client, peer) in addresses.items():
        node = PLAN.node(name)
        pairs += [
            (client_url(node), f"http://{client}"),
            (peer_url(node), f"http://{peer}"),
        ]
    return pairs


def _configuration(machine: Sandbox, addresses: dict[str, Any], renamed: list[tuple[str, str]]) -> str:
    client, peer = (f"http://{each}" for each in addresses[machine.name])
    initial = ",".join(f"{PLAN.etcd_name(PLAN.node(n))}=http://{peer}" for n, (_, peer) in addresses.items())
    script = ";".join(f"s#{old}#{new}#g" for old, new in renamed)
    values = {
        "ETCD_NAME": PLAN.etcd_name(machine.node),
        "ETCD_DATA_DIR": f"{machine.folder}/var/lib/etcd/default.etcd",
        "ETCD_LISTEN_PEER_URLS": peer,
        "ETCD_LISTEN_CLIENT_URLS": client,
        "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer,
        "ETCD_ADVERTISE_CLIENT_URLS": client,
        "ETCD_INITIAL_CLUSTER": initial,
        "ETCD_INITIAL_CLUSTER_STATE": "new",
        "ETCD_UNSAFE_NO_FSYNC": "true",
        "RENAMED": script,
    }
    (machine.folder / "var/lib/etcd").mkdir(parents=True)
    return "".join(f"{name}='{value}'\n" for name, value in values.items())


def _etcdctl(machines: dict[str, Any], where: Path, renamed: list[tuple[str, str]]) -> Any:
    def run(*args: str, member: Machine | None = None, timeout: float = 15) -> Result:
        words = []
        for word in args:
            for real, here in renamed:
                word = word.replace(real, here)
            words.append(word)
        assert any(word.startswith("--endpoints") for word in words)
        done = subprocess.run([where / "etcdctl", *words], capture_output=True, timeout=timeout, check=False)
        out = done.stdout
        for real, here in renamed:
            out = out.replace(here.encode(), real.encode())
        return Result(done.returncode, out, done.stderr)

    return run


def _check(cluster: Any) -> None:
    there = quorum.statuses(cluster)
    if len(there) < 3:
        missing = [machine for name, machine in cluster.machines.items() if name not in there]
        raise NotYet("\n".join(f"{each.name} is silent: {_last_words(each)}" for each in missing))
    quorum.check_healthy(cluster)


def _last_words(machine: Any) -> str:
    log = machine.folder / "log"
    return "\n".join(log.read_text().splitlines()[-5:]) if log.exists() else "no word"


def _end(machine: Any) -> None:
    try:
        os.kill(int((machine.folder / "pid").read_text()), signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return
