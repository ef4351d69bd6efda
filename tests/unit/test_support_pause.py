"""What proves that a paused machine stood still: its processes' gap, or a clock that fell behind."""

import pytest
from support_deadlines import whole
from support_pause import Reading, insist_stood_still

from lab.errors import LabError
from lab.wait import stretch

STEADY = [100.0 + n * 0.05 for n in range(40)]
FIRST = Reading(0.0, 100.9, 0.1)


def test_a_container_stood_still_when_none_of_its_processes_ran() -> None:
    ticks = [*STEADY, 102.5, 102.6]
    insist_stood_still("one", ticks, FIRST, Reading(1.6, 102.5, 1.7), 0.5)


def test_a_vm_stood_still_when_its_clock_did_though_its_processes_saw_nothing() -> None:
    """Else no VM could ever pass: what is paused has no gap by its own clock."""
    insist_stood_still("one", STEADY, FIRST, Reading(6.0, 101.9, 6.1), 5.0)


def test_a_machine_that_ran_on_did_not() -> None:
    with pytest.raises(
        AssertionError, match=r"ticked on, 0\.05 s apart at most, .* but for 0\.10 s, in 1\.00 s"
    ):
        insist_stood_still("one", STEADY, FIRST, Reading(1.0, 101.9, 1.1), 1.0)


def test_a_clock_that_was_read_too_slowly_proves_nothing() -> None:
    with pytest.raises(LabError, match=r"took 3\.1 s, as long as the pause of 1\.0 s"):
        insist_stood_still("one", STEADY, FIRST, Reading(1.0, 101.9, 4.0), 1.0)


@pytest.mark.parametrize("ticks", [[100.0], STEADY[:4]], ids=["never", "not-since"])
def test_processes_must_have_gone_on(ticks: list[float]) -> None:
    with pytest.raises(AssertionError, match="the ticking process"):
        insist_stood_still("one", ticks, FIRST, Reading(6.0, 101.9, 6.1), 5.0)


def test_a_clients_deadline_is_as_long_as_machines_are_slow() -> None:
    try:
        assert [whole(3), whole(0.2)] == ["3", "1"]
        stretch(10.3)
        assert whole(3) == "31"
    finally:
        stretch(1.0)
