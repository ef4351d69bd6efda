"""Case A9: an alarm that nobody disarmed is not healed, however often that is tried."""

from pathlib import Path

import pytest
from support_made import scenario

from lab.cluster import Cluster
from lab.debts import debts
from lab.failover.performing import perform
from lab.faults import quorum
from lab.faults.healing import heal_all
from lab.scenario.between import Between
from lab.scenario.plan import plan_of
from lab.scenario.steadiness import insist_steady
from lab.session import LabSession

pytestmark = pytest.mark.failover

FILE = Path(__file__).parent / "etcd-space-alarm-kept.yaml"
STEADY = 180.0  # seconds: three members are started anew


def test_an_alarm_that_stays_makes_the_run_invalid_and_its_command_is_named(
    lab: Cluster, lab_session: LabSession, between: Between, seed: str
) -> None:
    made, folder = scenario(lab, FILE.read_text()), lab_session.folder / "scenarios" / FILE.stem
    state = lab.lab.state.path
    try:
        performed = perform(lab, made, plan_of(made, seed), folder, lab_session.tell, proven=between.taken())
        why = "\n".join(performed.judgement.invalid)
        assert "space-alarm" in why
        assert "alarm disarm" in why, "the remedy has no command"
        assert [str(debt) for debt in debts(state)], "the lab counts as whole with its alarm raised"
        found = {each.invariant: each for each in performed.judgement.findings}
        for title in ("away of etcd during in-force", "availability of etcd-read during in-force"):
            assert found[title].verdict == "held", found[title].line()
        assert found["lost-writes"].value == 0, found["lost-writes"].line()
    finally:
        quorum.disarm(lab)
        heal_all(lab, state)
    assert debts(state) == []
    insist_steady(lab, STEADY)
    between.after(destroyed=False)
