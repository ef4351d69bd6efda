"""A lab that is not steady is not broken: its phase begins anew, or the run says why."""

from collections.abc import Callable

import pytest
from support_made import scenario

from lab.cluster import Cluster
from lab.failover.performing import Performed, perform
from lab.history import History, history, read
from lab.scenario.answered import TRIES
from lab.scenario.between import Between
from lab.scenario.judging import Status
from lab.scenario.plan import plan_of
from lab.session import LabSession
from lab.topology import Role

pytestmark = pytest.mark.failover

TEXT = """\
name: {name}
about: The balancer is away before anything is broken.
phases: {{steady: 5s, fault: 5s, recovery: 10s}}
faults: [{{fault: kill, unit: kube-scheduler, on: k8s-master2}}]
probes: [api]
invariants: [{{invariant: availability, of: api, at-least: 90%}}]
"""


@pytest.fixture
def run(
    lab: Cluster, lab_session: LabSession, between: Between, seed: str
) -> Callable[[str, bool], tuple[Performed, History]]:
    """Run it on a lab whose balancer is stopped as the phase begins, and started once that was seen."""
    balancer, unit = lab.of(Role.LOAD_BALANCER)[0], lab.topology.load_balancer.value

    def done(name: str, stays_away: bool) -> tuple[Performed, History]:
        def tell(text: str) -> None:
            lab_session.tell(text)
            if text.strip().startswith("steady:"):
                balancer.check("systemctl", "stop", unit)
            seen = "nothing was broken" if stays_away else "not steady:"
            if seen in text:
                balancer.check("systemctl", "start", unit)

        made, folder = scenario(lab, TEXT.format(name=name)), lab_session.folder / "scenarios" / name
        try:
            performed = perform(lab, made, plan_of(made, seed), folder, tell, proven=between.taken())
        finally:
            balancer.check("systemctl", "start", unit)
        between.after(destroyed=False)
        return performed, history(read(folder / "records.jsonl"))

    return done


def test_the_steady_phase_begins_anew_where_it_was_not(
    run: Callable[[str, bool], tuple[Performed, History]],
) -> None:
    performed, told = run("steady-later", False)
    assert performed.judgement.status is Status.HELD, performed.judgement.invalid
    (injection,) = told.injections
    assert injection.begun > told.phases["steady"].end
    assert performed.document["notes"], "the report does not say that it was not steady at first"


def test_nothing_is_broken_in_a_lab_that_does_not_come_to_be_steady(
    run: Callable[[str, bool], tuple[Performed, History]],
) -> None:
    performed, told = run("steady-never", True)
    assert performed.judgement.status is Status.UNKNOWN
    assert told.injections == ()
    (why,) = [each for each in performed.judgement.invalid if "not steady" in each]
    assert f"{TRIES} times of {TRIES}: api: " in why
