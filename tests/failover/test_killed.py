"""The harness is killed in the middle of a fault: whatever kind it is, the lab is whole again soon after."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.faults.undo import FOLDER, debts
from lab.scenario.between import Between
from lab.scenario.steadiness import insist_steady
from lab.session import LabSession
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.failover

HOLD, LATER, BOOT = 15.0, 10.0, 60.0  # seconds: of the fault, after it, and for what must boot
KINDS = {
    "kill-and-hold": "{fault: kill-and-hold, unit: kube-scheduler, on: k8s-master1, for: 15s}",
    "terminate": "{fault: terminate, unit: kube-proxy, on: k8s-worker1, for: 15s}",
    "stop": "{fault: stop, unit: kube-controller-manager, on: k8s-master2, for: 15s}",
    "freeze": "{fault: freeze, on: k8s-worker2, for: 15s}",
    "power-cut": "{fault: power-cut, on: k8s-worker2, for: 15s}",
    "silent": "{fault: silent, on: k8s-master2, for: 15s}",
    "reject": "{fault: reject, on: k8s-master1, ports: [6443], for: 15s}",
    "one-way": "{fault: one-way, on: k8s-worker1, direction: out, for: 15s}",
    "partition": "{fault: partition, shape: one, on: 'etcd:follower', ports: [2380], for: 15s}",
    "starve": "{fault: starve, unit: etcd, on: 'etcd:follower', percent: 5%, for: 15s}",
    "interface-down": "{fault: interface-down, on: k8s-worker1, for: 15s}",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_does_not_outlive_whoever_began_it(
    kind: str, lab: Cluster, lab_session: LabSession, between: Between, tmp_path: Path
) -> None:
    """Healed at most ten seconds after its hold plus a boot, and a second healing finds nothing."""
    file = tmp_path / f"killed-{kind}.yaml"
    file.write_text(
        f"name: killed-{kind}\nabout: The harness dies in the middle of it.\n"
        f"phases: {{steady: 10s, fault: 20s, recovery: 10s}}\nfaults:\n  - {KINDS[kind]}\nprobes: [api]\n"
    )
    flags = [word.replace("--lab-", "--") for word in lab_session.arguments()]
    argv = [sys.executable, "-m", "lab.cli", *flags, "run", str(file), "--between", "verify"]
    environment = {**os.environ, "LAB_ARTIFACTS": str(tmp_path / "artifacts")}
    state = lab.lab.state.path
    with (tmp_path / "said").open("wb") as said:
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=environment)
    try:
        wait_until(
            f"{kind} to be in force", partial(_check_in_force, tmp_path, process), timeout=120, every=0.1
        )
        began = time.monotonic()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    allowance = HOLD + LATER + (BOOT if kind in ("power-cut", "interface-down") else 0.0)
    wait_until(f"{kind} to be healed by nobody", partial(_check_paid, state), timeout=allowance, every=0.1)
    lab_session.tell(f"  {kind}: healed {time.monotonic() - began:.1f} s after it was seen in force")
    insist_steady(lab)
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
