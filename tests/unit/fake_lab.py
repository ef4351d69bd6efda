"""A lab without machines for tests of session and plugin: what happens to it is written to a file.

`install` puts it in place of the real one; a test process patches itself, a worker of xdist does it in
the conftest that `CONFTEST` is.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.bringup import Stage
from lab.errors import ClusterError, LabError
from lab.laboratory import Laboratory
from lab.machine import File, Machine, Platform, Result, Substrate
from lab.opening import state_of
from lab.providers.base import Capability, Gone, Missing, Provider, Snapshot
from lab.topology import Role, Topology
from lab.users import insist_unused
from lab.wait import NotYet, wait_until

CONFTEST = "import fake_lab\nfake_lab.install(setattr)\n"
MASTERS, MEMBERS = frozenset({Role.CONTROL_PLANE}), frozenset({Role.ETCD})


def events() -> list[str]:
    """What happened, in order."""
    path = Path(os.environ["FAKE_EVENTS"])
    return path.read_text().splitlines() if path.exists() else []


def event(text: str) -> None:
    with Path(os.environ["FAKE_EVENTS"]).open("a") as stream:
        stream.write(text + "\n")


class FakeMachine(Machine):
    """Answers every command with success."""

    answer = Result(0)

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        return self.answer

    def pull_plug(self) -> None:
        raise NotImplementedError

    boot = reboot = pause = resume = pull_plug

    def apply(self, files: Sequence[File], *, timeout: float = 60) -> frozenset[str]:
        return frozenset()


class FakeProvider(Provider):
    name = "fake"
    capabilities = frozenset[Capability]()
    platform = Platform(Substrate.CONTAINER, cgroup=2)

    def __init__(self) -> None:
        self.there: list[str] = []
        self.off: dict[str, str] | None = {}  # None: its daemon is dead

    def preflight(self, topology: Topology) -> list[Missing]:
        return []

    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        return

    def create(self, topology: Topology, names: Sequence[str]) -> None:
        event(f"create {' '.join(names)}")
        if "create" in os.environ.get("FAKE_FAIL", ""):
            raise LabError("no room for machines", remedy="make room")
        self.there += [name for name in names if name not in self.there]
        self.off = {name: state for name, state in (self.off or {}).items() if name not in names}

    def attach(self, topology: Topology) -> Mapping[str, Machine]:
        return {name: FakeMachine(topology.node(name)) for name in self.there}

    def states(self) -> Mapping[str, str]:
        if self.off is None:
            raise Gone("its daemon is dead")
        return {**dict.fromkeys(self.there, "running"), **self.off}

    def is_there(self) -> bool:
        return bool(self.there)

    def destroy(self) -> None:
        self.there.clear()

    def snapshot(self, name: str) -> None:
        raise NotImplementedError

    restore = forget_snapshot = snapshot

    def snapshots(self) -> list[Snapshot]:
        return []

    def host_argv(self, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def reach(self, machine: str, port: int) -> tuple[str, int]:
        return "127.0.0.1", port


def act(name: str) -> Callable[[Laboratory], None]:
    """A stage that writes down its name, or fails as FAKE_FAIL says: `etcd=cluster, dns=lab`."""

    def run(_: Laboratory) -> None:
        event(f"stage {name}")
        how = dict(each.split("=") for each in os.environ.get("FAKE_FAIL", "").split(",") if "=" in each)
        raise_for(how.get(name, ""))

    return run


def raise_for(how: str) -> None:
    if how == "cluster":
        raise ClusterError("no leader\nsecond line")
    if how == "lab":
        raise LabError("the daemon is gone", remedy="thwlab down")
    if how == "wait":
        wait_until("a quorum", lambda: raise_for("notyet"), timeout=0)
    if how == "notyet":
        raise NotYet("1 of 3")
    if how == "interrupt":
        raise KeyboardInterrupt
    if how == "hang":  # and meanwhile the user presses Ctrl-C
        threading.Timer(0.3, lambda: os.kill(os.getpid(), 2)).start()
        threading.Event().wait(600)


def stages_for(_: Topology) -> list[Stage]:
    return [
        Stage("hosts", "names are known", act("hosts")),
        Stage("etcd", "every member commits", act("etcd"), ("hosts",), MEMBERS),
        Stage("load-balancer", "accepts", act("load-balancer"), ("hosts",), frozenset({Role.LOAD_BALANCER})),
        Stage("control-plane", "readyz", act("control-plane"), ("etcd", "load-balancer"), MASTERS),
        Stage("dns", "answers", act("dns"), ("control-plane",), frozenset({Role.WORKER})),
    ]


def open_lab(topology: Topology, word: str, report: Callable[[str], None], **_: Any) -> Laboratory:
    event(f"open {topology.name}")
    if "open" in os.environ.get("FAKE_FAIL", ""):
        raise LabError("this host cannot run the lab", remedy="thwlab doctor --fix")
    report("programs: kubelet (1/9) built")
    state = state_of(topology.name)
    provider = FakeProvider()
    if state.intent() and "FAKE_RUNS_ON" in os.environ:
        provider.there = [node.name for node in topology.nodes]
    state.intend(word, topology.digest())
    lab = Laboratory(topology, provider, state)
    lab.machines.update(provider.attach(topology))
    return lab


def remove_lab(name: str, *, word: str = "auto", force: bool = False) -> bool:
    if not force:
        insist_unused(state_of(name).path, f"thwlab --name {name} down --force")
    event(f"remove {name}")
    if "remove" in os.environ.get("FAKE_FAIL", ""):
        raise LabError("a mount is left", remedy=f"thwlab down --name {name}")
    state = state_of(name)
    with state.locked():
        state.forget()
    return True


def collect(machines: Mapping[str, Machine], folder: Path) -> list[str]:
    event(f"collect {len(machines)}")
    return ["k8s-lb: no answer within 30s"]


def install(put: Callable[[Any, str, Any], None]) -> None:
    """Put the fake in place of what `lab.session` would use."""
    import lab.session

    for stand_in in (open_lab, remove_lab, stages_for, collect):
        put(lab.session, stand_in.__name__, stand_in)


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for another thread in a test."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        threading.Event().wait(0.005)


def never(*_: object, **__: object) -> None:
    """In place of what would touch a real lab."""
    raise AssertionError("a unit test reached for a real lab")
