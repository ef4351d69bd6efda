"""The pytest plugin: options, fixtures, live progress, and what happens to a lab at the end.

Fixtures ask for stages; the first request brings up in one parallel run all that the collected tests
want.  `--help`, `--collect-only` and `--fixtures` touch no machine.
"""

import sys
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from _pytest.junitxml import xml_key

from lab.bringup import Blocked, Outcome, StageFailed, mark
from lab.cluster import Cluster
from lab.errors import ConfigError, LabError, flat
from lab.guard import Guard
from lab.limits import Limits
from lab.ownership import adopt, make_folder
from lab.plan import effective
from lab.session import LabSession, stages_of
from lab.settings import SETTINGS, Effective, Setting, resolve
from lab.summary import heading, proven, proven_rows, stage_rows, stage_table
from lab.teller import Teller

SESSION = pytest.StashKey[LabSession]()
STAGES = {
    "lab_machines": ("hosts",),
    "lab_etcd": ("etcd",),
    "lab_load_balancer": ("load-balancer",),
    "lab_control_plane": ("control-plane", "every-master", "access", "admin"),
    "lab_workers": ("nodes", "admin", "every-master"),
    "lab_network": ("network", "proxy", "admin", "every-master"),
    "lab_dns": ("dns", "nodes", "admin", "every-master"),
    "lab": ("dns", "nodes", "admin", "every-master"),
}


# -- options ---------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Every setting as an option and an ini value."""
    group = parser.getgroup("lab", "a highly available Kubernetes, built the hard way (thwlab)")
    for setting in SETTINGS:
        group.addoption(
            setting.option,
            default=None,
            metavar="WORD",
            help=f"{setting.help}{_words(setting)} [{setting.variable}]",
        )
        parser.addini(setting.ini, setting.help, default="")


def _words(setting: Setting) -> str:
    return f"; one of {', '.join(filter(None, setting.choices))}" if setting.choices else ""


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings; a mistake ends the run before anything starts."""
    for line in (
        "e2e: needs a lab; the fixtures bring up what a test names",
        "disruptive: breaks and mends machines; runs after everything else",
        "defects: breaks a running lab by hand and expects a test to turn red",
        "failover: runs a scenario, which breaks the lab on purpose and measures what is felt",
        "ci: a scenario short enough for every change",
        "vm: a scenario of what containers cannot do, or cannot prove",
    ):
        config.addinivalue_line("markers", line)
    try:
        settings = resolve(
            {s.name: config.getoption(s.option) for s in SETTINGS},
            {s.name: str(config.getini(s.ini)) for s in SETTINGS},
        )
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error
    if told := getattr(config, "workerinput", {}).get("mainargv"):
        sys.argv = list(told)  # what remedies are made of; a worker's own says nothing of what was typed
    lab = LabSession(_of_controller(config, settings), config.rootpath, Teller(config))
    config.stash[SESSION] = lab
    config.pluginmanager.register(Guard(lab, (*STAGES, "lab_session")), "thwlab-guard")


def _of_controller(config: pytest.Config, settings: Mapping[str, Effective]) -> dict[str, Effective]:
    """In a worker of xdist the run is its controller's: one folder, one lab."""
    run = getattr(config, "workerinput", {}).get("lab_run")
    return {**settings, "run": Effective(run, "the controller")} if run else dict(settings)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Each effective setting and where it came from; with -v the plan's values too."""
    lab = config.stash[SESSION]
    try:
        lines = heading(lab.effective())
        plan = effective(lab.plan) if config.get_verbosity() > 0 else []
    except ConfigError:
        return heading((name, each.value, each.origin) for name, each in lab.settings.items())
    return [*lines, *(f"lab plan: {key} = {value} ({origin})" for key, value, origin in plan)]


# -- collection ------------------------------------------------------------------------------------


def pytest_sessionstart(session: pytest.Session) -> None:
    """Before xdist starts its workers: a mistake is told once, and here."""
    config = session.config
    if config.pluginmanager.hasplugin("dsession"):
        _check(config.stash[SESSION])
    for path in _results(config):
        try:
            make_folder(path.parent)
        except OSError as error:
            raise pytest.UsageError(f"{path} cannot be written: {error.strerror}") from error


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Disruptive tests last, and scenarios after them, whatever shuffled the others."""
    items.sort(key=lambda item: [bool(item.get_closest_marker(mark)) for mark in ("failover", "disruptive")])


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """The union of the stages that are wanted; check the plan once it is known that it is needed."""
    if session.config.option.collectonly:
        return
    lab = session.config.stash[SESSION]
    wanted = set().union(*(stages_of(getattr(item, "fixturenames", ()), STAGES) for item in session.items))
    if wanted or any("lab_session" in getattr(item, "fixturenames", ()) for item in session.items):
        _check(lab)
    lab.wanted |= wanted


def _check(lab: LabSession) -> None:
    try:
        lab.check()
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


# -- workers of xdist --------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Each worker's run is this one."""
    node.workerinput["lab_run"] = node.config.stash[SESSION].folder.name


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker brought up is this run's, and so are the time limits that it did not judge."""
    told = getattr(node, "workeroutput", None) or {}
    lab = node.config.stash[SESSION]
    lab.hear({stage: _retold(stage, *how) for stage, how in told.get("lab_stages", {}).items()})
    lab.limits.unjudged += told.get("lab_limits", [])


def _retold(stage: str, word: str, seconds: float, text: str) -> Outcome:
    if word == "mended":
        return Outcome(stage, seconds, mended=(text,))
    kinds = {"ok": None, "blocked": Blocked(text)}
    return Outcome(stage, seconds, kinds.get(word, StageFailed(text)), tolerated=word == "BROKEN")


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
        why = str(error).splitlines()[0][:600]
    except (LabError, BaseExceptionGroup) as error:
        why = flat(error)
    # not in the handlers, else pytest shows what they caught too, and all is said twice
    pytest.fail(f"the lab is not up: {why}", pytrace=False)


@pytest.fixture(scope="session")
def lab_limits(lab_session: LabSession) -> Limits:
    """Time limits as verdicts; on machines that compute too slowly they are told at the end, not judged."""
    return lab_session.limits


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
    if report.failed:
        item.config.stash[SESSION].explain()
    return report


def is_laboratory(error: BaseException) -> bool:
    """Whether nothing in it speaks about the cluster under test."""
    if isinstance(error, BaseExceptionGroup):
        return all(is_laboratory(each) for each in error.exceptions)
    return isinstance(error, LabError)


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Collect, then remove; under xdist workers collect, and the controller removes once they have ended."""
    config: Any = session.config
    lab = config.stash[SESSION]
    failed = session.testsfailed > 0
    lab.finish(failed=failed)
    if hasattr(config, "workerinput"):
        config.workeroutput["lab_stages"] = {
            name: (mark(each), each.seconds, ", ".join(each.mended) or flat(each.error))
            for name, each in lab.outcomes().items()
        }
        config.workeroutput["lab_limits"] = lab.limits.unjudged
    _write_properties(session.config, lab)
    yield
    if session.exitstatus == pytest.ExitCode.OK and any(o.tolerated for o in lab.outcomes().values()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    for path in filter(Path.exists, _results(config)):
        adopt(path)
    if not hasattr(config, "workerinput") and session.exitstatus != pytest.ExitCode.USAGE_ERROR:
        _remove(session, lab, failed=failed)


def _write_properties(config: pytest.Config, lab: LabSession) -> None:
    xml = config.stash.get(xml_key, None)
    if xml is not None and lab.outcomes():
        for name, value in lab.properties().items():
            xml.add_global_property(name, value)


def _remove(session: pytest.Session, lab: LabSession, *, failed: bool) -> None:
    try:
        lab.remove(failed=failed)
    except (LabError, BaseExceptionGroup) as error:
        lab.tell(f"the lab could not be removed: {flat(error)}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.INTERNAL_ERROR


def _results(config: pytest.Config) -> list[Path]:
    """Files that other plugins write at the end."""
    named = (getattr(config.option, name, None) for name in ("xmlpath", "htmlpath"))
    return [config.invocation_params.dir / path for path in named if path]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was proven, part by part, and how long each stage took."""
    lab = config.stash[SESSION]
    if not lab.outcomes():
        return
    stages, parts = stage_rows(lab.outcomes().values()), proven_rows(_reports(terminalreporter))
    limits = lab.limits.summary()
    lab.ended(stages, parts, limits)
    lines = [*stage_table(stages), *proven(parts), *limits]
    if lines:
        terminalreporter.section("lab")
    for line in lines:
        terminalreporter.write_line(line)


def _reports(terminal: pytest.TerminalReporter) -> Iterable[pytest.TestReport]:
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminal.stats.get(outcome, ()):
            if isinstance(report, pytest.TestReport):
                yield report
