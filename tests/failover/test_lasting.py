"""A fault that another one ends early: the run proves nothing, and says who, what and since when."""

import pytest
from support_made import scenario

from lab.cluster import Cluster
from lab.failover.performing import perform
from lab.history import history, read
from lab.invariants.finding import Verdict
from lab.scenario.between import Between
from lab.scenario.plan import plan_of
from lab.session import LabSession

pytestmark = pytest.mark.failover

HELD = "{fault: kill-and-hold, unit: kube-scheduler, on: k8s-master2, for: 80s}"
BOOTS = "{fault: reboot, on: k8s-master2, at: 5s}"  # and with it goes what keeps the other one in force


@pytest.mark.parametrize("ends", [True, False], ids=["booted", "alone"])
def test_a_fault_that_a_reboot_ended_makes_its_run_invalid(
    ends: bool, lab: Cluster, lab_session: LabSession, between: Between, seed: str
) -> None:
    name = "ended-early" if ends else "lasted"
    text = f"""\
name: {name}
about: A program is held down on a machine that somebody boots meanwhile.
phases: {{steady: 10s, fault: 80s, recovery: 20s}}
faults: [{", ".join([HELD, BOOTS] if ends else [HELD])}]
probes: [api]
invariants: []
"""
    made, folder = scenario(lab, text), lab_session.folder / "scenarios" / name
    performed = perform(lab, made, plan_of(made, seed), folder, lab_session.tell, proven=between.taken())
    told = history(read(folder / "records.jsonl")).injections[0]
    early = [why for why in performed.judgement.invalid if "no longer in force" in why]
    between.after(destroyed=False, steady=performed.steady)
    if not ends:
        assert (told.still, early) == ("yes", []), told.seen
        return
    assert told.still == "no", told.seen
    assert early
    assert early[0].startswith("kill-and-hold of k8s-master2: no longer in force")
    assert "k8s-master2 was booted" in early[0]
    assert performed.judgement.verdict is not Verdict.BROKEN, performed.judgement.why
