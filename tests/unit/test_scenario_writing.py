"""A scenario that a seed made up can be kept as a file and means the same."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scenario_files import known, scenarios

from lab import strictyaml
from lab.scenario.composing import composed
from lab.scenario.loading import Scenario, read
from lab.scenario.writing import text_of


def again(scenario: Scenario) -> Scenario:
    """Written and read."""
    return replace(read(strictyaml.read(text_of(scenario, known()), "x"), known()), origin=scenario.origin)


@pytest.mark.parametrize("each", scenarios(), ids=lambda each: each.name)
def test_a_scenario_means_the_same_after_it_was_written(each: Scenario) -> None:
    assert again(each) == each


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.integers(600, 7200))
def test_one_at_random_can_be_kept(seed: int, seconds: int) -> None:
    course = composed(scenarios(), known(), seed=str(seed), seconds=seconds)
    assert again(course).faults == course.faults
    assert again(course).invariants[0].limit == pytest.approx(course.invariants[0].limit, abs=1e-6)
    assert again(course).judged[1:] == course.judged[1:]
