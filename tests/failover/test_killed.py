"""The harness is killed in the middle of a fault: whatever kind it is, the lab is whole again soon after."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from support_made import scenario

from lab.cluster import Cluster
from lab.faults.catalogue import FAULTS
from lab.faults.undo import FOLDER, debts
from lab.scenario.between import Between
from lab.scenario.breaking import hindrance
from lab.scenario.steadiness import insist_steady
from lab.session import LabSession
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.failover

HOLD, LATER = 15.0, 10.0  # seconds: of the fault, and after it
BOOT, BOOTS = 60.0, 120.0  # seconds more for a machine that must boot, and for all of them at once
STARTS = 30.0  # seconds more where members are started, and waited for, one after the other
BEGINS, STEADY = 240.0, 180.0  # seconds: until it is in force, and for the lab to serve afterwards
# Every kind of fault that lasts: its words, and what its healing may take besides.
KINDS: Mapping[str, tuple[str, float]] = {
    "kill-and-hold": ("unit: kube-scheduler, on: k8s-master1", 0.0),
    "terminate": ("unit: kube-proxy, on: k8s-worker1", 0.0),
    "stop": ("unit: kube-controller-manager, on: k8s-master2", 0.0),
    "freeze": ("on: k8s-worker2", 0.0),
    "power-cut": ("on: k8s-worker2", BOOT),
    "crash": ("on: k8s-worker1", BOOT),
    "cold-start": ("on: all", BOOTS),
    "silent": ("on: k8s-master2", 0.0),
    "reject": ("on: k8s-master1, ports: [6443]", 0.0),
    "one-way": ("on: k8s-worker1, direction: out", 0.0),
    "partition": ("shape: one, on: 'etcd:follower', ports: [2380]", 0.0),
    "interface-down": ("on: k8s-worker1", BOOT),
    "delay": ("on: 'etcd:follower', latency: 50ms", 0.0),
    "loss": ("on: 'etcd:follower', percent: 20%", 0.0),
    "bandwidth": ("on: 'etcd:leader', rate: 4000B/s", 0.0),
    "disk-full": ("on: 'etcd:follower'", 0.0),
    "disk-slow": ("on: 'etcd:follower', writes: 10/s", 0.0),
    "starve": ("unit: etcd, on: 'etcd:follower', percent: 5%", 0.0),
    "clock-step": ("on: k8s-master1, step: 5m", 0.0),
    "certificate-expired": ("unit: etcd, on: 'etcd:follower'", 0.0),
    "foreign-ca": ("unit: kubelet, on: k8s-worker1", 0.0),
    "token-revoked": ("on: control-plane", 0.0),
    "deaf": ("on: control-plane", 0.0),
    "quorum-lost": ("on: 'etcd:majority'", 0.0),
    "member-wiped": ("on: 'etcd:follower'", STARTS),
    "space-alarm": ("on: 'etcd:all'", STARTS),
}


def text_of(kind: str) -> str:
    """A scenario with this one fault."""
    destroys = "destroys-data: true\n" if FAULTS[kind].destroys_data else ""
    return (
        f"name: killed-{kind}\nabout: The harness dies in the middle of it.\n"
        "phases: {steady: 10s, fault: 20s, recovery: 10s}\n"
        f"faults:\n  - {{fault: {kind}, {KINDS[kind][0]}, for: {HOLD:.0f}s}}\n"
        f"probes: [api]\ninvariants: []\n{destroys}"
    )


def test_every_kind_that_lasts_is_tried() -> None:
    assert set(KINDS) == {word for word, kind in FAULTS.items() if kind.lasts}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_does_not_outlive_whoever_began_it(
    kind: str, lab: Cluster, lab_session: LabSession, between: Between, tmp_path: Path
) -> None:
    """Healed at most ten seconds after its hold plus a boot, and a second healing finds nothing."""
    made = scenario(lab, text_of(kind))
    if reason := hindrance(lab, made.faults):
        pytest.skip(f"this machine cannot do it: {reason}")
    file = tmp_path / f"killed-{kind}.yaml"
    file.write_text(text_of(kind))
    flags = [word.replace("--lab-", "--") for word in lab_session.arguments()]
    argv = [sys.executable, "-m", "lab.cli", *flags, "run", str(file), "--between", "verify"]
    environment = {**os.environ, "LAB_ARTIFACTS": str(tmp_path / "artifacts")}
    state = lab.lab.state.path
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=environment)
    try:
        in_force = partial(_check_in_force, tmp_path, process)
        wait_until(f"{kind} to be in force", in_force, timeout=BEGINS, every=0.1)
        began = time.monotonic()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    allowance = FAULTS[kind].takes + HOLD + LATER + KINDS[kind][1]
    wait_until(f"{kind} to be healed by nobody", partial(_check_paid, state), timeout=allowance, every=0.1)
    lab_session.tell(f"  {kind}: healed {time.monotonic() - began:.1f} s after it was seen in force")
    insist_steady(lab, STEADY)
    assert not list((state / FOLDER).glob("*.json"))


def _check_in_force(folder: Path, process: subprocess.Popen[bytes]) -> None:
    found = [json.loads(line) for path in folder.glob("artifacts/*/*/records.jsonl") for line in _lines(path)]
    if any(each.get("in_force") for each in found if each["kind"] == "injection"):
        return
    said = (folder / "said").read_text(errors="replace")[-500:]
    assert process.poll() is None, f"the run ended before: {said}"
    raise NotYet(said or "nothing was said yet")


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().split("\n")[:-1] if '"injection"' in line]


def _check_paid(state: Path) -> None:
    if owed := debts(state):
        raise NotYet(f"still owed: {', '.join(map(str, owed))}")
