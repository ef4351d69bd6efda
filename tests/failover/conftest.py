"""Scenario files as tests: one test for each file and repetition, with the file's sets as markers."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.failover.performing import Performed
from lab.failover.series import INDEX, overview, tidy
from lab.faults.healing import heal_lab
from lab.plugin import SESSION
from lab.report import repeated
from lab.scenario.between import Between, Policy
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, load_all
from lab.scenario.plan import fresh_seed
from lab.scenario.spent import Spent
from lab.session import LabSession

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@dataclass
class Series:
    """What was run, what this machine cannot do, and what the time went into."""

    done: list[Performed]
    skipped: dict[str, str]
    folder: Path
    spent: Spent = field(default_factory=Spent)

    def add(self, performed: Performed) -> None:
        """Count it, and its time."""
        self.done.append(performed)
        self.spent.add(performed.spent.seconds)


SEED, MISTAKES = pytest.StashKey[str](), pytest.StashKey[str]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every file is read before anything starts; all mistakes in all of them end the run together."""
    if "scenario" not in metafunc.fixturenames:
        return
    session = metafunc.config.stash[SESSION]
    try:
        found = load_all(SCENARIOS, Known(session.topology))
    except ConfigError as error:
        metafunc.config.stash[MISTAKES], found = str(error), ()
    times = range(1, int(session.settings["repeat"].value) + 1)
    cases = [pytest.param(each, number, id=_id(each, number, len(times)), marks=_marks(each))
             for each in found for number in times]  # fmt: skip
    metafunc.parametrize(("scenario", "number"), cases)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config) -> None:
    """Bad input ends a run with 4; raised while a file is collected it would be one more error of many."""
    if mistakes := config.stash.get(MISTAKES, ""):
        raise pytest.UsageError(mistakes)


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
            overview(found.done, found.skipped, found.folder, found.spent)
            lab_session.tell(f"lab {found.spent.overhead}")
            for line in repeated.lines([each.document for each in found.done]):
                lab_session.tell(line)
            lab_session.tell(f"lab report: {found.folder / INDEX}")


@pytest.fixture(scope="session", autouse=True)
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does: what is broken is healed on the way out, and the report written."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def healed_first(lab_session: LabSession) -> None:
    """What an earlier run left broken is healed before the lab is brought up, which would be refused."""
    for done in heal_lab(lab_session.topology.name):
        lab_session.tell(f"  healed what an earlier run left: {done}")


@pytest.fixture(scope="session")
def lab(healed_first: None, lab: Cluster) -> Cluster:
    """All of the lab, and nothing in it is broken on purpose."""
    return lab


@pytest.fixture(scope="session")
def between(lab: Cluster, lab_session: LabSession, series: Series) -> Iterator[Between]:
    """What keeps one scenario from the damage of the last; its time is theirs."""
    keep = Between(lab, Policy(lab_session.settings["between"].value), lab_session.tell)
    keep.begin()
    try:
        yield keep
    finally:
        with keep.spent.on("tidying"):
            tidy(lab, keep, lab_session.tell)
        series.spent.add(keep.spent.seconds)
