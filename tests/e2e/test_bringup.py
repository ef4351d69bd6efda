"""Bring-up itself: one test per stage, so that a cluster that does not come up fails where it broke."""

import pytest

from lab.errors import ConfigError
from lab.plugin import SESSION
from lab.session import LabSession

pytestmark = pytest.mark.e2e


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`stage` is each of the plan's."""
    try:
        stages = list(metafunc.config.stash[SESSION].stages)
    except ConfigError:  # told by the plugin once all is collected
        return
    metafunc.parametrize("stage", stages)


def test_bringup(lab_session: LabSession, stage: str) -> None:
    lab_session.require(stage)
    if error := lab_session.outcomes()[stage].error:
        raise error
