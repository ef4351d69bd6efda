"""Every scenario of `scenarios/`: the lab is broken on purpose, healed, and judged by what was felt."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lab.cluster import Cluster
from lab.errors import ClusterError, LabError, flat
from lab.failover.performing import CutShort, Performed, perform
from lab.scenario.between import Between
from lab.scenario.breaking import Unavailable
from lab.scenario.judging import Judgement, Status
from lab.scenario.loading import Scenario
from lab.scenario.plan import plan_of
from lab.session import LabSession

pytestmark = pytest.mark.failover


def test_scenario(
    scenario: Scenario,
    number: int,
    lab: Cluster,
    lab_session: LabSession,
    between: Between,
    series: Any,
    seed: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Held is a pass; broken is a failure; unknown, or a run that proves nothing, is an error."""
    folder = series.folder / f"{scenario.name}-{number}"
    record_property("seed", seed)
    proven = between.taken()
    try:
        plan = plan_of(scenario, seed)
        performed = perform(lab, scenario, plan, folder, lab_session.tell, proven=proven)
    except CutShort as cut:
        series.add(cut.performed)
        raise
    except Unavailable as why:
        if proven:
            between.unused()
        series.skipped[scenario.name] = str(why)
        pytest.skip(f"this machine cannot do it: {why}")
    series.add(performed)
    for finding in performed.judgement.findings:
        record_property(finding.invariant, finding.value)
    try:
        insist(performed.judgement, folder)
    except (ClusterError, LabError) as verdict:
        try:
            whole_again(between, scenario, lab_session, performed)
        except (ClusterError, LabError, BaseExceptionGroup) as error:
            verdict.add_note(f"and the lab is not whole afterwards: {flat(error)}")
        raise
    whole_again(between, scenario, lab_session, performed)


def whole_again(between: Between, scenario: Scenario, lab_session: LabSession, done: Performed) -> None:
    """A steady state for whoever comes next."""
    if back := between.after(destroyed=scenario.destroys_data, steady=done.steady):
        lab_session.tell(f"  the lab went back to where it was: {back}")


def insist(judgement: Judgement, folder: Path) -> None:
    """Raise what the judgement comes to, with every reason."""
    told = "\n  ".join([judgement.word, *judgement.why, *judgement.invalid, f"records: {folder}"])
    if judgement.status is Status.BROKEN:
        raise ClusterError(f"{judgement.scenario}: {told}")
    if judgement.status is Status.UNKNOWN:
        raise LabError(f"{judgement.scenario}: {told}")
