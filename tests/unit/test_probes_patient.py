"""What becomes of a write that a leader of etcd leaves behind: three real members, where there are any."""

import os
import signal
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import real_etcd
from fault_machines import PLAN, every_sandbox_ends  # noqa: F401

from lab.components.etcd import client_url
from lab.faults import targets
from lab.probes import prober
from lab.probes.catalogue import WORDS, probes
from lab.probes.question import DEADLINE
from lab.probes.workload import Workload
from lab.wait import NotYet, wait_until

SERVED = Workload("10.0.0.10", 30080, {})


def plan_for(etcd: Any, name: str) -> dict[str, Any]:
    """The patient probe's own plan, led to where the member listens here."""
    found = next(each for each in probes(PLAN, SERVED, WORDS) if each.name == f"etcd-patient@{name}")
    where = urlsplit(dict(etcd.renamed)[client_url(PLAN.node(name))])
    return {**found.plan, "deadline": found.deadline, "address": where.hostname, "port": where.port}


def asked(plan: dict[str, Any], number: int) -> tuple[prober.Question, float]:
    question = prober.Question(plan, number, time.monotonic())
    prober.decide(question, None)
    return question, time.monotonic() - question.sent


def _freeze(pid: int) -> None:
    """The signal is sent at once; each thread stops when it is its turn."""

    def check_stopped() -> None:
        states = {
            each.read_text().rpartition(") ")[2][0] for each in Path(f"/proc/{pid}/task").glob("*/stat")
        }
        if states != {"T"}:
            raise NotYet(f"its threads are {states}")

    os.kill(pid, signal.SIGSTOP)
    wait_until(f"process {pid} to stop", check_stopped, timeout=10, every=0.01)


@pytest.mark.skipif(real_etcd.program() is None, reason="etcd is not built on this host yet")
def test_a_write_left_behind_by_its_leader_is_answered_by_etcd_itself(tmp_path: Path) -> None:
    """After 7 s, which is later than other probes wait: they would give up and not know."""
    with real_etcd.members(tmp_path) as etcd:
        (leader,) = targets.resolve(etcd, "etcd:leader")
        plan = plan_for(etcd, targets.resolve(etcd, "etcd:follower")[0])
        before, _ = asked(plan, 1)
        assert (before.outcome, before.acked) == (prober.OK, True), before.said
        _freeze(int((etcd.machines[leader].folder / "pid").read_text()))
        left_behind, took = asked(plan, 2)
    assert DEADLINE < took < plan["deadline"], left_behind.said
    assert (left_behind.outcome, left_behind.acked) == (prober.UNKNOWN, False)
    assert "timed out" in left_behind.said
    assert "HTTP 5" in left_behind.said
