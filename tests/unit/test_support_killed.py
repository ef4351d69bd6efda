"""The kinds of faults whose harness is killed, and how long each may last then."""

import pytest
from fixed import guide_topology
from support_killed import BOOT, HOLD, LASTING, LATER, ONCE, allowance, text_of

from lab import strictyaml
from lab.faults.catalogue import FAULTS
from lab.scenario.known import Known
from lab.scenario.loading import read

# What a machine's boot ends; of nothing else's healing a boot is a part.
BOOTS = {"power-cut", "crash", "cold-start", "reboot"}


def test_every_kind_is_tried() -> None:
    assert set(LASTING) == {word for word, kind in FAULTS.items() if kind.lasts}
    assert set(ONCE) == {word for word, kind in FAULTS.items() if not kind.lasts}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_is_a_scenario_with_that_one_fault(kind: str) -> None:
    made = read(strictyaml.read(text_of(kind), "a test's own"), Known(guide_topology()))
    (doing,) = made.faults
    assert (doing.fault, doing.hold) == (kind, HOLD if FAULTS[kind].lasts else 0.0)


def test_a_boot_is_allowed_for_where_something_boots_and_nowhere_else() -> None:
    given = {**LASTING, **ONCE}
    assert {kind for kind, (_, more) in given.items() if more >= BOOT} == BOOTS


@pytest.mark.parametrize("kind", ["interface-down", "freeze", "silent", "disk-full"])
def test_what_lasts_is_healed_ten_seconds_after_its_hold(kind: str) -> None:
    assert allowance(kind) == HOLD + LATER == 25.0
