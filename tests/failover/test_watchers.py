"""The probers of this run themselves: not late, and cheap, while the control plane failed over."""

import json

import pytest

from lab.errors import LabError
from lab.report.stored import JSON
from lab.session import LabSession

pytestmark = pytest.mark.failover


def test_the_probers_kept_to_their_budget(lab_session: LabSession) -> None:
    """At most 5 ms late, a tenth of a core each, four tenths in all; in every scenario before this."""
    reports = sorted((lab_session.folder / "scenarios").glob(f"*/{JSON}"))
    if not reports:
        pytest.skip("no scenario was run before this in this session")
    told = {path.parent.name: json.loads(path.read_text())["probers"] for path in reports}
    for name, each in told.items():
        lab_session.tell(f"  {name}: {each['told']}")
    if over := [f"{name}: {line}" for name, each in told.items() for line in each["over"]]:
        raise LabError("\n  ".join(["the probers were over their budget:", *over]))
