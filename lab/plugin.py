"""The pytest plugin: options, fixtures, live progress, and what happens to a lab at the end.

Fixtures ask for stages; the first request brings up in one parallel run all that the collected tests
want.  `--help`, `--collect-only` and `--fixtures` touch no machine.
"""

from collections.abc import Generator, Iterable, Iterator

import pytest

from lab.bringup import StageFailed
from lab.cluster import Cluster
from lab.errors import ConfigError, LabError
from lab.session import LabSession, stages_of
from lab.settings import SETTINGS, resolve
from lab.summary import proven, stage_table

SESSION = pytest.StashKey[LabSession]()
STAGES = {
    "lab_machines": ("hosts",),
    "lab_etcd": ("etcd",),
    "lab_load_balancer": ("load-balancer",),
    "lab_control_plane": ("control-plane", "access", "admin"),
    "lab_workers": ("nodes", "admin"),
    "lab_network": ("network", "proxy", "admin"),
    "lab_dns": ("dns", "admin"),
    "lab": ("dns", "admin"),
}


# -- options ---------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every setting as an option and an ini value."""
    group = parser.getgroup("lab", "a highly available Kubernetes, built the hard way (thwlab)")
    for setting in SETTINGS:
        group.addoption(
            setting.option, default=None, metavar="WORD", help=f"{setting.help} [{setting.variable}]"
        )
        parser.addini(setting.ini, setting.help, default="")


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings; a mistake ends the run before anything starts."""
    for line in (
        "e2e: needs a lab; the fixtures bring up what a test names",
        "disruptive: breaks and mends machines; runs after everything else",
        "defects: breaks a running lab by hand and expects a test to turn red",
    ):
        config.addinivalue_line("markers", line)
    try:
        settings = resolve(
            {s.name: config.getoption(s.option) for s in SETTINGS},
            {s.name: str(config.getini(s.ini)) for s in SETTINGS},
        )
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[SESSION] = LabSession(settings, config.rootpath, _teller(config))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Each effective setting that was chosen, and where."""
    chosen = [
        f"{name}={each.value} ({each.origin})"
        for name, each in config.stash[SESSION].settings.items()
        if each.origin != "default"
    ]
    return [f"lab: {', '.join(chosen) or 'all settings at their defaults'}"]


# -- collection ------------------------------------------------------------------------------------


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Disruptive tests last, whatever shuffled the others; and the union of the stages wanted."""
    items.sort(key=lambda item: item.get_closest_marker("disruptive") is not None)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the plan once it is known that it is needed."""
    if session.config.option.collectonly:
        return
    lab = session.config.stash[SESSION]
    for item in session.items:
        lab.wanted |= stages_of(getattr(item, "fixturenames", ()), STAGES)
    if lab.wanted:
        try:
            _ = lab.topology
        except ConfigError as error:
            raise pytest.UsageError(str(error)) from error


# -- fixtures --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def lab_session(request: pytest.FixtureRequest) -> LabSession:
    """The run's use of its lab; touches nothing by itself."""
    return request.config.stash[SESSION]


def _required(session: LabSession, fixture: str) -> Cluster:
    """The cluster with the fixture's stages true; else one line that says which stage failed, and why."""
    try:
        return session.require(*STAGES[fixture])
    except StageFailed as error:
        first_line = str(error).splitlines()[0][:600]
        pytest.fail(f"the lab is not up: {first_line}", pytrace=False)
    except (LabError, BaseExceptionGroup) as error:
        pytest.fail(f"the lab is not up: {_flat(error)}", pytrace=False)


def _flat(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_flat(each) for each in error.exceptions)
    return str(error)


@pytest.fixture(scope="session")
def lab_machines(lab_session: LabSession) -> Cluster:
    """Every machine that the collected tests need is up and knows the others by name."""
    return _required(lab_session, "lab_machines")


@pytest.fixture(scope="session")
def lab_etcd(lab_session: LabSession) -> Cluster:
    """Every etcd member commits; only etcd's machines are up, unless other tests need more."""
    return _required(lab_session, "lab_etcd")


@pytest.fixture(scope="session")
def lab_load_balancer(lab_session: LabSession) -> Cluster:
    """The load balancer accepts connections on the API's port."""
    return _required(lab_session, "lab_load_balancer")


@pytest.fixture(scope="session")
def lab_control_plane(lab_session: LabSession) -> Cluster:
    """Every apiserver says readyz, controllers and schedulers answer, kubectl works on the admin machine."""
    return _required(lab_session, "lab_control_plane")


@pytest.fixture(scope="session")
def lab_workers(lab_session: LabSession) -> Cluster:
    """Kubelets joined by their token and serve with certificates of the cluster's CA."""
    return _required(lab_session, "lab_workers")


@pytest.fixture(scope="session")
def lab_network(lab_session: LabSession) -> Cluster:
    """Every node is Ready, pods reach pods, Services are translated."""
    return _required(lab_session, "lab_network")


@pytest.fixture(scope="session")
def lab_dns(lab_session: LabSession) -> Cluster:
    """Every worker gets the right answer from the cluster's DNS."""
    return _required(lab_session, "lab_dns")


@pytest.fixture(scope="session")
def lab(lab_session: LabSession) -> Cluster:
    """All of it."""
    return _required(lab_session, "lab")


# -- outcomes --------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure of the laboratory in a test's body is an error, not a failure of the cluster."""
    report = yield
    if call.when == "call" and call.excinfo is not None and is_laboratory(call.excinfo.value):
        report.when = "setup"
    return report


def is_laboratory(error: BaseException) -> bool:
    """Whether nothing in it speaks about the cluster under test."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_laboratory(each) for each in error.exceptions)
    return isinstance(error, LabError)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Collect, then remove; under xdist the workers collect and their controller removes."""
    lab = session.config.stash[SESSION]
    failed = session.testsfailed > 0
    lab.finish(failed=failed)
    if lab.wanted and not hasattr(session.config, "workerinput"):
        lab.remove(failed=failed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was proven, part by part, and how long each stage took."""
    lab = config.stash[SESSION]
    if not lab.wanted:
        return
    lines = [*stage_table(lab.outcomes().values()), *proven(_reports(terminalreporter))]
    if lines:
        terminalreporter.section("lab")
    for line in lines:
        terminalreporter.write_line(line)


def _reports(terminal: pytest.TerminalReporter) -> Iterable[pytest.TestReport]:
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminal.stats.get(outcome, ()):
            if isinstance(report, pytest.TestReport):
                yield report


def _teller(config: pytest.Config) -> "Teller":
    return Teller(config)


class Teller:
    """Prints a line at once, past pytest's capture, also while a session fixture is at work."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def __call__(self, text: str) -> None:
        """Print one line; silent where there is no terminal, as in a worker of xdist."""
        plugins = self._config.pluginmanager
        terminal = plugins.get_plugin("terminalreporter")
        capture = plugins.get_plugin("capturemanager")
        if terminal is None:
            return
        for _ in _uncaptured(capture):
            terminal.ensure_newline()
            terminal.write_line(text)


def _uncaptured(capture: object) -> Iterator[None]:
    if capture is None:
        yield
        return
    with capture.global_and_fixture_disabled():  # type: ignore[attr-defined]
        yield
