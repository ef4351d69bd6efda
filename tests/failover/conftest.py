"""Scenario files as tests: one test for each file and repetition, with the file's sets as markers."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.failover.performing import Performed
from lab.failover.series import INDEX, overview, tidy
from lab.plugin import SESSION
from lab.report import repeated
from lab.scenario.between import Between, Policy
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, load_all
from lab.scenario.plan import fresh_seed
from lab.session import LabSession

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@dataclass
class Series:
    """What was run, and what this machine cannot do."""

    done: list[Performed]
    skipped: dict[str, str]
    folder: Path


SEED = pytest.StashKey[str]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every file is read before anything starts; all mistakes in all of them end the run together."""
    if "scenario" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[SESSION]
    try:
        found = load_all(SCENARIOS, Known(session.topology))
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    times = range(1, int(session.settings["repeat"].value) + 1)
    cases = [pytest.param(each, number, id=_id(each, number, len(times)), marks=_marks(each))
             for each in found for number in times]  # fmt: skip
    metafunc.parametrize(("scenario", "number"), cases)


def _id(scenario: Scenario, number: int, times: int) -> str:
    return f"{scenario.name}-{number}" if times > 1 else scenario.name


def _marks(scenario: Scenario) -> list[pytest.MarkDecorator]:
    return [getattr(pytest.mark, each) for each in ("ci", "vm") if each in scenario.sets]


def pytest_report_header(config: pytest.Config) -> str:
    """The seed of this run's choices."""
    return f"lab seed: {seed_of(config)}"


def seed_of(config: pytest.Config) -> str:
    """The seed that was given, or one that is made up once."""
    if SEED not in config.stash:
        config.stash[SEED] = config.stash[SESSION].settings["seed"].value or fresh_seed()
    return config.stash[SEED]


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> str:
    """What all choices of a scenario follow from."""
    return seed_of(request.config)


@pytest.fixture(scope="session")
def series(lab_session: LabSession) -> Iterator[Series]:
    """Every scenario of this run, for the page over all of them."""
    found = Series([], {}, lab_session.folder / "scenarios")
    try:
        yield found
    finally:
        if found.done or found.skipped:
            overview(found.done, found.skipped, found.folder)
            for line in repeated.lines([each.document for each in found.done]):
                lab_session.tell(line)
            lab_session.tell(f"lab report: {found.folder / INDEX}")


@pytest.fixture(scope="session")
def between(lab: Cluster, lab_session: LabSession) -> Iterator[Between]:
    """What keeps one scenario from the damage of the last."""
    keep = Between(lab, Policy(lab_session.settings["between"].value))
    keep.begin()
    try:
        yield keep
    finally:
        tidy(lab, keep, lab_session.tell)
