"""Bring-up itself: one test per stage, so that a cluster that does not come up fails where it broke."""

import pytest

from lab.plan import load_topology
from lab.session import LabSession
from lab.stages import stages_for

pytestmark = pytest.mark.e2e
NAMES = [stage.name for stage in stages_for(load_topology())]


@pytest.mark.parametrize("stage", NAMES)
def test_bringup(lab_session: LabSession, stage: str) -> None:
    lab_session.require(stage)
    assert lab_session.outcomes()[stage].error is None
