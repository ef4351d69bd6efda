"""The harness is killed in the middle of a fault: whatever kind it is, the lab is whole again soon after."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support_killed import LASTING, ONCE, allowance, text_of
from support_left import left_behind
from support_made import scenario

from lab.cluster import Cluster
from lab.debts import debts
from lab.scenario.between import Between
from lab.scenario.breaking import hindrance
from lab.scenario.steadiness import insist_steady
from lab.session import LabSession
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.failover

BEGINS, STEADY, HEALS = 240.0, 180.0, 120.0  # seconds: until it begins, to serve afterwards, for a command
Said = dict[str, Any]


@pytest.mark.parametrize("kind", LASTING)
def test_a_fault_does_not_outlive_whoever_began_it(
    kind: str, lab: Cluster, lab_session: LabSession, between: Between, tmp_path: Path
) -> None:
    """Healed at most ten seconds after its hold plus a boot, and a second healing finds nothing."""
    killed(kind, lab, lab_session, tmp_path, lambda told: "in_force" in told)
    insist_nothing_left(lab, lab_session)


@pytest.mark.parametrize("kind", ONCE)
def test_a_fault_without_duration_leaves_nothing(
    kind: str, lab: Cluster, lab_session: LabSession, between: Between, tmp_path: Path
) -> None:
    """Killed while it is being done."""
    killed(kind, lab, lab_session, tmp_path, lambda told: "begun" in told)
    insist_nothing_left(lab, lab_session)


def killed(
    kind: str, lab: Cluster, session: LabSession, folder: Path, far_enough: Callable[[Said], bool]
) -> None:
    """Kill a run as soon as its fault is so far, and wait until nothing is owed any more."""
    made = scenario(lab, text_of(kind))
    if reason := hindrance(lab, made.faults):
        pytest.skip(f"this machine cannot do it: {reason}")
    file = folder / f"killed-{kind}.yaml"
    file.write_text(text_of(kind))
    environment = {**os.environ, "LAB_ARTIFACTS": str(folder / "artifacts")}
    state = lab.lab.state.path
    with (folder / "said").open("wb") as said:
        argv = [*thwlab(session), "run", str(file), "--between", "verify"]
        process = subprocess.Popen(argv, stdout=said, stderr=said, env=environment)
    try:
        begun = partial(_check, folder, process, far_enough)
        wait_until(f"{kind} to be so far", begun, timeout=BEGINS, every=0.02)
        began = time.monotonic()
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    wait_until(
        f"{kind} to be healed by nobody", partial(_check_paid, state), timeout=allowance(kind), every=0.1
    )
    session.tell(f"  {kind}: healed {time.monotonic() - began:.1f} s after the harness was killed")


def insist_nothing_left(lab: Cluster, session: LabSession) -> None:
    """The command finds nothing, the machines hold nothing, and all of it serves."""
    told = subprocess.run(
        [*thwlab(session), "heal", "--all"], capture_output=True, text=True, timeout=HEALS, check=False
    )
    assert (told.returncode, "nothing is broken on purpose" in told.stdout) == (0, True), told
    insist_steady(lab, STEADY)
    assert not left_behind(lab), "a fault left something on a machine"


def thwlab(session: LabSession) -> list[str]:
    """The command, for this very lab."""
    flags = [word.replace("--lab-", "--") for word in session.arguments()]
    return [sys.executable, "-m", "lab.cli", *flags]


def _check(folder: Path, process: subprocess.Popen[bytes], far_enough: Callable[[Said], bool]) -> None:
    found = [json.loads(line) for path in folder.glob("artifacts/*/*/records.jsonl") for line in _lines(path)]
    if any(far_enough(each) for each in found if each["kind"] == "injection"):
        return
    said = (folder / "said").read_text(errors="replace")[-500:]
    assert process.poll() is None, f"the run ended before: {said}"
    raise NotYet(said or "nothing was said yet")


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().split("\n")[:-1] if '"injection"' in line]


def _check_paid(state: Path) -> None:
    if owed := debts(state):
        raise NotYet(f"still owed: {', '.join(map(str, owed))}")
