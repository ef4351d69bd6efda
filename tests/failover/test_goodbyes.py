"""What a dying machine says to those it talks with: a packet capture and the report must agree."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support_power import captured, capturing, clock, goodbyes

from lab.cluster import Cluster
from lab.failover.performing import perform
from lab.history import History, read
from lab.invariants.failures import Kind, kind_of
from lab.machine import Machine, on_each
from lab.scenario.between import Between
from lab.scenario.judging import told
from lab.scenario.known import Known
from lab.scenario.loading import load
from lab.scenario.plan import plan_of
from lab.session import LabSession
from lab.topology import Role

pytestmark = pytest.mark.failover

SCENARIOS = Path(__file__).parents[2] / "scenarios"
VICTIM = "k8s-master1"
# The scenario, its fault, what must hold, and whether anything is said.
CASES = {
    "master-crash": ("crash", "reset-within of api-kept among victims", True),
    "master-power-cut": ("power-cut", "timeouts-only of api-kept among victims during in-force", False),
}
BOOTS = 5.0  # seconds before the end of the hold: a machine that boots resets what it does not know any more


@pytest.mark.parametrize("name", CASES)
def test_a_packet_capture_and_the_report_agree(
    name: str, lab: Cluster, lab_session: LabSession, between: Between, seed: str
) -> None:
    word, title, speaks = CASES[name]
    made = load(SCENARIOS / f"{name}.yaml", Known(lab.topology))
    watchers = [each for each in lab.of(Role.ETCD) if each.name != VICTIM]
    lasting = on_each(watchers, lambda each: capturing(each, lab.machines[VICTIM]))
    since: dict[str, float] = {}
    tell = _noting(f"  {word} ", lambda: since.update(on_each(watchers, clock)), lab_session.tell)
    folder = lab_session.folder / "scenarios" / f"{name}-captured"
    hold = made.faults[0].hold - BOOTS

    def heard(each: Machine) -> list[str]:
        begun = since.get(each.name, 0.0)
        return goodbyes(captured(each), lasting[each.name], begun, begun + hold)

    try:
        performed = perform(lab, made, plan_of(made, seed), folder, tell, proven=between.taken())
    finally:
        said = on_each(watchers, heard)
    between.after(destroyed=False)
    assert not performed.judgement.invalid, performed.judgement.invalid
    goodbye = [line for lines in said.values() for line in lines]
    kinds = kinds_of(told(read(folder / "records.jsonl")))
    assert bool(goodbye) is speaks, f"captured: {goodbye[:3]}; the report: {kinds}"
    assert (Kind.RESET in kinds) is speaks, f"the report: {kinds}; captured: {goodbye[:3]}"
    finding = next(each for each in performed.judgement.findings if each.invariant.startswith(title))
    assert finding.verdict == "held", finding.line()


def kinds_of(seen: History) -> set[Kind]:
    """How questions on kept connections failed, from the fault's beginning until its healing began."""
    (injection,) = seen.injections
    assert injection.heal_begun is not None
    return {
        kind_of(sample.said)
        for probe in seen.asking("api-kept")
        if probe.target == VICTIM
        for sample in seen.samples[probe.name]
        if not sample.ok and injection.begun <= sample.answered < injection.heal_begun
    }


def _noting(sign: str, note: Callable[[], None], tell: Callable[[str], None]) -> Callable[[str], None]:
    """Tell, and note the moment at which the fault is about to be done."""

    def both(text: str) -> None:
        if text.startswith(sign):
            note()
        tell(text)

    return both
