"""Time limits: judged where that means something, told where it does not."""

import pytest

from lab.errors import ClusterError
from lab.limits import Limits


def test_a_limit_that_is_missed_breaks_and_one_that_is_met_does_not() -> None:
    limits = Limits(lambda: False)
    limits.at_most(9.9, 10, "first write")
    with pytest.raises(ClusterError, match=r"first write: 10\.1 s, the limit is 10 s"):
        limits.at_most(10.1, 10, "first write")
    with pytest.raises(ClusterError, match=r"the limit is 10 s\. 3 timed out$"):
        limits.at_most(10.1, 10, "first write", more="3 timed out")
    assert limits.summary() == []


def test_slow_machines_are_not_judged_and_every_value_is_told() -> None:
    limits = Limits(lambda: True)
    limits.at_most(101, 10, "first write")
    limits.at_most(1, 10, "second write")
    assert limits.summary() == [
        "not judged: 2 time limits, for these machines compute too slowly",
        "  first write: 101.0 s, the limit is 10 s",
        "  second write: 1.0 s, the limit is 10 s",
    ]
