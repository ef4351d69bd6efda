"""The plugin in pytest runs of its own, over a lab without machines."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

import fake_lab
import pytest

from lab.errors import LabError
from lab.results import results_of
from lab.state import StateFolder
from lab.summary import proven, stage_table
from lab.turns import INHERITED, Turns
from lab.users import users

LEAN = ("-p", "no:hypothesispytest", "-p", "no:cov")  # they cost seconds and have no part in this
UNJUDGED = """
def test_it(lab_etcd, lab_limits):
    lab_limits.is_slow = lambda: True
    lab_limits.at_most(101, 10, "first write")
"""
ETCD = "def test_etcd(lab_etcd):\n    pass\n"
ALL = "def test_dns(lab_dns):\n    pass\n"
NO_ROOM = """
from lab.errors import LabError
from lab.rights import typed
def test_it():
    raise LabError('no room', remedy='thwlab down; ' + typed())
"""
BRINGUP = """
import pytest
@pytest.mark.parametrize("stage", ["hosts", "etcd", "load-balancer", "control-plane", "dns"])
def test_bringup(lab_session, stage):
    lab_session.require(stage)
"""


@pytest.fixture(autouse=True)
def fake(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the outer run, no state of this host's."""
    of_the_outer_run = ("CI", "PYTEST_XDIST_WORKER")
    for name in [name for name in os.environ if name.startswith("LAB_") or name in of_the_outer_run]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("THWLAB_STATE", str(pytester.path / "state"))
    monkeypatch.setenv("FAKE_EVENTS", str(pytester.path / "events"))
    monkeypatch.setenv("PYTHONPATH", str(Path(fake_lab.__file__).parent))
    fake_lab.install(monkeypatch.setattr)


def run(pytester: pytest.Pytester, *args: str, test: str = "") -> pytest.RunResult:
    if test:
        pytester.makepyfile(test_it=test)
    return pytester.runpytest_inprocess("-p", "no:randomly", *LEAN, *args)


def count(word: str) -> int:
    return sum(line.split()[0] == word for line in fake_lab.events())


def junit(pytester: pytest.Pytester) -> ElementTree.Element:
    return ElementTree.parse(pytester.path / "junit.xml").getroot()


# -- what an outcome is called --------------------------------------------------------------------


GROUPS = {
    "LabError('x')": "errors",
    "CommandTimedOut('k8s-lb', 'true', 5, '')": "errors",
    "ExceptionGroup('2', [LabError('x'), CommandFailed('a', 'b', 1, 'c')])": "errors",
    "ExceptionGroup('2', [ExceptionGroup('1', [LabError('x')])])": "errors",
    "ClusterError('x')": "failed",
    "StageFailed('x')": "failed",
    "ExceptionGroup('2', [LabError('x'), ClusterError('y')])": "failed",
    "ValueError('x')": "failed",
}


@pytest.mark.parametrize(("raised", "called"), GROUPS.items())
def test_whose_fault_it_is_shows_in_the_terminal_and_in_junit(
    pytester: pytest.Pytester, raised: str, called: str
) -> None:
    test = f"from lab.bringup import *\nfrom lab.errors import *\ndef test_it():\n    raise {raised}\n"
    result = run(pytester, "--junitxml=junit.xml", test=test)
    result.assert_outcomes(**{called: 1})
    suite = junit(pytester)[0]
    assert (suite.get("errors"), suite.get("failures")) == (("1", "0") if called == "errors" else ("0", "1"))
    assert {child.tag for child in suite.iter("testcase") for child in child} == {
        "error" if called == "errors" else "failure"
    }


def test_an_error_of_the_laboratory_keeps_its_text(pytester: pytest.Pytester) -> None:
    test = "from lab.errors import *\ndef test_it():\n    raise LabError('no room', remedy='make room')\n"
    run(pytester, test=test).stdout.fnmatch_lines(["*no room*", "*remedy: make room*"])


# -- stages -----------------------------------------------------------------------------------------


def test_a_failed_stage_fails_its_own_test_and_the_rest_are_errors_of_one_line(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "etcd=cluster")
    pytester.makepyfile(test_bringup=BRINGUP, test_parts=ETCD + ALL)
    result = run(pytester, "-rA")
    result.assert_outcomes(passed=2, failed=1, errors=4)
    lines = [line for line in result.outlines if line.startswith("the lab is not up")]
    assert lines == [
        "the lab is not up: stage etcd: no leader",
        "the lab is not up: dns was not tried, it needs etcd",
    ]
    result.stdout.fnmatch_lines(["FAILED test_bringup.py::test_bringup[[]etcd] - *"])


def test_a_wait_that_expired_in_a_stage_is_the_clusters_failure(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "etcd=wait")
    result = run(pytester, "-k", "etcd", test=BRINGUP)
    result.assert_outcomes(failed=1, deselected=4)
    result.stdout.fnmatch_lines(["*stage etcd: gave up on a quorum*1 of 3*"])


def test_a_stage_that_the_laboratory_failed_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "etcd=lab")
    run(pytester, "-k", "etcd", test=BRINGUP).assert_outcomes(errors=1, deselected=4)


@pytest.mark.parametrize(("fails", "said"), [("open", "cannot run the lab"), ("create", "no room")])
def test_the_first_failure_is_the_answer_to_every_later_question(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fails: str, said: str
) -> None:
    monkeypatch.setenv("FAKE_FAIL", fails)
    result = run(pytester, test=BRINGUP + ETCD + ALL)
    result.assert_outcomes(errors=7)
    result.stdout.fnmatch_lines([f"*the lab is not up: *{said}*"])
    assert count(fails) == 1


def test_only_what_tests_name_comes_up(pytester: pytest.Pytester) -> None:
    run(pytester, test=ETCD).assert_outcomes(passed=1)
    assert fake_lab.events() == [
        "open thw", "create k8s-master1 k8s-master2 k8s-lb", "stage hosts", "stage etcd", "remove thw",
    ]  # fmt: skip


def test_the_union_of_all_tests_comes_up_at_the_first_request(pytester: pytest.Pytester) -> None:
    events = "import fake_lab\n"
    first = "def test_etcd(lab_etcd):\n    assert 'stage dns' in fake_lab.events()\n"
    run(pytester, test=events + first + ALL).assert_outcomes(passed=2)
    assert count("create") == 1
    assert count("stage") == 5


def test_tests_that_were_deselected_bring_up_nothing(pytester: pytest.Pytester) -> None:
    run(pytester, "-k", "etcd", test=ETCD + ALL).assert_outcomes(passed=1, deselected=1)
    assert "stage dns" not in fake_lab.events()


def test_a_later_dynamic_request_extends_the_lab(pytester: pytest.Pytester) -> None:
    more = "def test_more(request):\n    request.getfixturevalue('lab_dns')\n"
    run(pytester, test=ETCD + more).assert_outcomes(passed=2)
    assert [line for line in fake_lab.events() if line.startswith("create")] == [
        "create k8s-master1 k8s-master2 k8s-lb",
        "create k8s-worker1 k8s-worker2",
    ]
    assert fake_lab.events()[-2:] == ["stage dns", "remove thw"]


def test_a_lab_that_only_a_dynamic_request_made_is_removed_too(pytester: pytest.Pytester) -> None:
    run(pytester, test="def test_it(request):\n    request.getfixturevalue('lab_etcd')\n")
    assert fake_lab.events()[-1] == "remove thw"


# -- touching nothing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [["--help"], ["--collect-only"], ["--fixtures"], ["--markers"], ["--co", "-q"]]
)
def test_asking_opens_no_lab(pytester: pytest.Pytester, args: list[str]) -> None:
    assert run(pytester, *args, test=BRINGUP + ETCD).ret == 0
    assert fake_lab.events() == []
    assert not list(pytester.path.glob("artifacts*"))
    assert not (pytester.path / "state").exists()


def test_help_and_fixtures_say_what_there_is(pytester: pytest.Pytester) -> None:
    run(pytester, "--help").stdout.fnmatch_lines(["*--lab-provider=WORD*", "*LAB_PROVIDER*"])
    said = " ".join(run(pytester, "--help").stdout.str().split())
    for words in ("one of never, on-failure, always [LAB_KEEP]", "one of yes, no [LAB_REUSE]"):
        assert words in said
    assert "one of hardened, guide [LAB_PROFILE]" in said
    assert "vagrant:libvirt:running [LAB_PROVIDER]" in said
    run(pytester, "--fixtures").stdout.fnmatch_lines(["lab_etcd*", "*Every etcd member commits*"])


def test_tests_without_a_lab_open_none(pytester: pytest.Pytester) -> None:
    result = run(pytester, test="def test_it():\n    pass\n")
    assert fake_lab.events() == []
    assert "stage" not in result.stdout.str()


def refused(result: pytest.RunResult) -> str:
    text = result.stderr.str() + result.stdout.str()
    assert result.ret == pytest.ExitCode.USAGE_ERROR, text
    assert "Traceback" not in text
    assert "INTERNALERROR" not in text
    assert fake_lab.events() == []
    return text


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        ((), {"LAB_PROVIDER": "vbox"}, "LAB_PROVIDER: 'vbox' is no provider here"),
        (("--lab-run=../../x",), {}, "--lab-run: '../../x' cannot be the name of a run's folder"),
        (("--lab-versions=1.38",), {}, "--lab-versions: Kubernetes '1.38' is not pinned here"),
        ((), {"THWLAB_STATEE": "/x"}, "did you mean THWLAB_STATE?"),
    ],
)
def test_a_wrong_setting_ends_a_run_that_only_collects(
    pytester: pytest.Pytester,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    env: dict[str, str],
    said: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert said in refused(run(pytester, "--collect-only", *args, test=ETCD))
    assert not (pytester.path.parent / "x").exists()


@pytest.mark.parametrize("folder", ["/proc/x", "/dev/null/x"])
def test_an_artifacts_folder_that_cannot_be_ends_the_run_before_anything_starts(
    pytester: pytest.Pytester, folder: str
) -> None:
    text = refused(run(pytester, f"--lab-artifacts={folder}", test=ETCD))
    assert f"--lab-artifacts: '{folder}' cannot hold a run's results: /" in text
    assert "Traceback" not in text
    assert fake_lab.events() == []


def test_a_report_that_cannot_be_written_ends_the_run_before_anything_starts(
    pytester: pytest.Pytester,
) -> None:
    assert "/dev/null/x/j.xml cannot be written" in refused(
        run(pytester, "--junitxml=/dev/null/x/j.xml", test=ETCD)
    )


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_mistakes_in_the_plan_and_the_provider_end_the_run_at_once(
    pytester: pytest.Pytester, workers: list[str]
) -> None:
    (pytester.path / "plan.yaml").write_text("name: Bad_Name\nprofile: soft\n")
    args = ("--lab-config=plan.yaml", "--lab-provider=cloud", *workers)
    text = refused(run(pytester, *args, test=ETCD))
    for word in ("Bad_Name", "soft", "'cloud' is no provider", "plan.yaml:1", "plan.yaml:2"):
        assert word in text


def test_a_plan_that_is_not_there_ends_the_run(pytester: pytest.Pytester) -> None:
    assert "nowhere.yaml" in refused(run(pytester, "--lab-config=nowhere.yaml", test=BRINGUP))


def test_every_wrong_option_and_unknown_variable_is_named(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_KEPP", "always")
    monkeypatch.setenv("LAB_REUSE", "maybe")
    text = refused(run(pytester, "--lab-keep=sometimes", test=ETCD))
    for word in ("LAB_KEPP is no setting", "LAB_REUSE: 'maybe'", "--lab-keep: 'sometimes'"):
        assert word in text


def test_a_wrong_plan_does_not_keep_other_tests_from_running(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--lab-config=nowhere.yaml", test="def test_it():\n    pass\n")
    result.assert_outcomes(passed=1)


# -- the end ----------------------------------------------------------------------------------------


FAILING = ETCD + "def test_bad(lab_etcd):\n    assert False\n"


@pytest.mark.parametrize(
    ("keep", "test", "removed"),
    [
        ("never", ETCD, True),
        ("never", FAILING, True),
        ("on-failure", ETCD, True),
        ("on-failure", FAILING, False),
        ("always", ETCD, False),
        ("always", FAILING, False),
    ],
)
def test_a_lab_is_kept_as_configured(pytester: pytest.Pytester, keep: str, test: str, removed: bool) -> None:
    result = run(pytester, f"--lab-keep={keep}", test=test)
    assert (fake_lab.events()[-1] == "remove thw") is removed
    assert (pytester.path / "state" / "thw").exists() is not removed
    if not removed:
        result.stdout.fnmatch_lines(["lab thw: kept; `thwlab status`*"])


def test_in_ci_nothing_is_kept(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    run(pytester, test=FAILING)
    assert fake_lab.events()[-1] == "remove thw"


def test_a_lab_that_was_there_before_is_used_and_stays(pytester: pytest.Pytester) -> None:
    run(pytester, "--lab-keep=always", test=ETCD)
    result = run(pytester, "--lab-keep=never", "--lab-run=second")
    result.stdout.fnmatch_lines(["*it was there before this run and stays*"])
    assert count("remove") == 0


def test_what_broke_in_a_lab_that_was_whole_is_left_to_the_tests_but_is_no_success(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pytester, "--lab-keep=always", test=ETCD + ALL)
    monkeypatch.setenv("FAKE_RUNS_ON", "yes")
    assert run(pytester, "--lab-run=second").ret == pytest.ExitCode.OK
    monkeypatch.setenv("FAKE_FAIL", "etcd=cluster")
    result = run(pytester, "--lab-run=third")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["BROKEN   stage etcd * stage etcd: no leader"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED


def test_without_reuse_a_lab_that_was_there_is_removed_first(pytester: pytest.Pytester) -> None:
    run(pytester, "--lab-keep=always", test=ETCD)
    run(pytester, "--lab-reuse=no", "--lab-run=second").assert_outcomes(passed=1)
    assert [line for line in fake_lab.events() if line.split()[0] in ("open", "remove")] == [
        "open thw", "remove thw", "open thw", "remove thw",
    ]  # fmt: skip


def test_logs_are_collected_before_the_lab_is_removed(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--lab-keep=never", test=FAILING)
    assert fake_lab.events()[-2:] == ["collect 3", "remove thw"]
    result.stdout.fnmatch_lines(["*logs and units of 2 of 3 machines: *", "*nothing from k8s-lb: no answer*"])


def test_a_lab_that_cannot_be_removed_is_told_and_no_success(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "remove")
    result = run(pytester, test=ETCD)
    result.stdout.fnmatch_lines(["the lab could not be removed: a mount is left", "*thwlab down*"])
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(("keep", "removed"), [("never", True), ("on-failure", True), ("always", False)])
@pytest.mark.parametrize("where", ["stage", "hang", "test"])
def test_ctrl_c_ends_at_once_and_keeps_or_removes_as_configured(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, keep: str, removed: bool, where: str
) -> None:
    monkeypatch.setenv("FAKE_FAIL", {"stage": "etcd=interrupt", "hang": "etcd=hang", "test": ""}[where])
    pytester.makeconftest(fake_lab.CONFTEST)
    pytester.makepyfile("def test_it(lab_etcd):\n    raise KeyboardInterrupt")
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", *LEAN, f"--lab-keep={keep}"]
    done = subprocess.run(argv, capture_output=True, timeout=120, text=True, check=False)
    assert done.returncode == pytest.ExitCode.INTERRUPTED, done.stdout + done.stderr
    assert (fake_lab.events()[-1] == "remove thw") is removed


# -- other users of the lab -------------------------------------------------------------------------


USE = """
import sys
from pathlib import Path
from lab.users import Sign
sign = Sign(Path(sys.argv[1]), "artifacts/theirs")
print("used", flush=True)
sys.stdin.read()
"""


@contextmanager
def in_use(pytester: pytest.Pytester) -> Iterator[int]:
    """Another process, of this pid, uses the lab for the body."""
    argv = [sys.executable, "-c", USE, str(pytester.path / "state" / "thw")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"used\n"
        yield process.pid
        process.kill()


def test_a_lab_that_another_run_uses_is_not_removed_by_who_made_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USE", USE)
    another = """
import os, subprocess, sys
def test_it(lab_etcd):
    argv = [sys.executable, "-c", os.environ["USE"], str(lab_etcd.lab.state.path)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline()
    sys.another = process
"""
    result = run(pytester, "--lab-keep=never", test=another)
    process = vars(sys).pop("another")
    process.kill()
    process.communicate()
    assert result.ret == pytest.ExitCode.OK
    assert count("remove") == 0
    result.stdout.fnmatch_lines(
        ["lab thw: stays, for others use it:", f"*pid {process.pid} (*artifacts/theirs*", "*down --force*"]
    )


def test_without_reuse_a_lab_in_use_is_not_removed_either(pytester: pytest.Pytester) -> None:
    run(pytester, "--lab-keep=always", test=ETCD)
    with in_use(pytester) as pid:
        result = run(pytester, "--lab-reuse=no", "--lab-run=second")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["the lab is not up: lab thw is in use:*", f"*pid {pid} (*", "*down --force*"]
    )
    assert count("remove") == 0


def test_a_run_uses_its_lab_from_opening_to_the_end(pytester: pytest.Pytester) -> None:
    test = """
from lab.users import users
def test_it(lab_etcd):
    (user,) = users(lab_etcd.lab.state.path)
    assert "artifacts/mine" in str(user)
"""
    run(pytester, "--lab-keep=always", "--lab-run=mine", test=test).assert_outcomes(passed=1)
    assert users(pytester.path / "state" / "thw") == []


GONE = """
import pytest
from lab.opening import state_of
def test_before(lab_etcd):
    pass
def test_first(lab_etcd):
    LOSE
    assert False, "refused"
def test_later(lab_etcd):
    raise AssertionError("it began")
def test_more(lab_dns):
    raise AssertionError("it began")
def test_other():
    pass
def test_other_bad():
    assert False, "another matter"
"""
LOSSES = {
    "lab_etcd.lab.state.forget()": "it was removed while this run used it",
    "lab_etcd.lab.state.forget(); lab_etcd.lab.state.intend('auto', 'x')": "it was removed while this run *",
    "lab_etcd.lab.provider.there.clear()": "fake lists none of its machines",
    "lab_etcd.lab.provider.off = None": "its daemon is dead",
}


@pytest.mark.parametrize(("lose", "how"), LOSSES.items())
def test_a_lab_that_vanishes_is_the_laboratorys_error_and_told_once(
    pytester: pytest.Pytester, lose: str, how: str
) -> None:
    test = GONE.replace("LOSE", lose)
    result = run(pytester, "--junitxml=junit.xml", "--lab-keep=never", test=test)
    result.assert_outcomes(passed=2, errors=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAILED test_it.py::test_other_bad - *another matter*"])
    # The summary's lines are cut at the terminal's width.
    result.stdout.fnmatch_lines([f"ERROR test_it.py::test_first - lab thw is gone: {how[:20]}*"])
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_later - *lab thw is gone: *"])
    result.stdout.fnmatch_lines([f"lab thw is gone: {how}"])
    result.stdout.fnmatch_lines(["*what failed without the lab*", "*refused*"])
    assert "it began" not in result.stdout.str()
    assert count("collect") == 0
    assert (junit(pytester)[0].get("errors"), junit(pytester)[0].get("failures")) == ("3", "1")
    before_errors = result.stdout.str().split("= ERRORS =")[0]
    assert before_errors.count("lab thw is gone") == 1


def test_a_test_that_fails_while_the_lab_is_there_is_a_failure(pytester: pytest.Pytester) -> None:
    run(
        pytester, test=GONE.replace("LOSE", "pass").replace('raise AssertionError("it began")', "pass")
    ).assert_outcomes(passed=4, failed=2)


def test_a_lab_that_vanishes_in_a_set_up_or_a_tear_down_is_told_as_well(pytester: pytest.Pytester) -> None:
    test = """
import pytest
@pytest.fixture
def part(lab_etcd):
    yield
    lab_etcd.lab.state.forget()
    assert False
def test_first(part):
    pass
def test_later(part):
    pass
"""
    result = run(pytester, test=test)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["ERROR test_it.py::test_first - lab thw is gone: *"])


# -- alone or beside each other ---------------------------------------------------------------------


SPANS = """
import os, time
import pytest

@pytest.fixture
def part(lab_etcd, request):
    yield from span(request.node.name)

def span(name):
    note("begin", name)
    yield
    time.sleep(SECONDS)
    note("end", name)

def note(what, name):
    with open(os.environ["FAKE_EVENTS"], "a") as stream:
        stream.write(f"{what} {name}\\n")
"""


def spans(lines: list[str]) -> list[set[str]]:
    """Which tests were at work at once, after each beginning."""
    at_work: set[str] = set()
    found = []
    for what, name in (line.split() for line in lines if line.split()[0] in ("begin", "end")):
        if what == "begin":
            at_work.add(name)
            found.append(set(at_work))
        else:
            at_work.discard(name)
    return found


def test_the_tables_of_the_end_are_recorded_as_they_were_printed(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--lab-run=r1", "--junitxml=artifacts/r1/junit.xml", test=ETCD)
    seen = results_of(pytester.path / "artifacts/r1")
    assert seen.ended
    printed = [line for line in result.outlines if line.startswith(("ok ", "proven "))]
    assert printed == [*stage_table(seen.stages), *proven(seen.parts)]
    assert [each.totals[0] for each in seen.suites] == ["1 tests"]


def test_with_workers_the_controllers_tables_are_recorded(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(fake_lab.CONFTEST)
    pytester.makepyfile(test_it=ETCD)
    pytester.runpytest_subprocess("-n", "1", "-p", "no:randomly", *LEAN, "--lab-run=r1", timeout=240)
    seen = results_of(pytester.path / "artifacts/r1")
    assert seen.ended
    assert [row.what for row in seen.parts] == ["test_it.py"]
    assert "etcd" in [row.what for row in seen.stages]


def test_time_limits_that_workers_did_not_judge_are_counted_and_recorded(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(fake_lab.CONFTEST)
    pytester.makepyfile(test_one=UNJUDGED, test_two=UNJUDGED.replace("first", "second"))
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:randomly", *LEAN, "--lab-run=r1", timeout=240)
    result.stdout.fnmatch_lines(["not judged: 2 time limits*", "  * write: 101.0 s, the limit is 10 s"])
    recorded = results_of(pytester.path / "artifacts/r1").limits[1:]
    assert {line.split()[0] for line in recorded} == {"first", "second"}


def test_a_run_that_a_test_starts_ends_nothing(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INHERITED, json.dumps({str(pytester.path / "state/thw"): "alone"}))
    run(pytester, "--lab-run=r1", test=ETCD)
    seen = results_of(pytester.path / "artifacts/r1")
    assert not seen.ended
    assert [row.mark for row in seen.stages if row.what == "etcd"] == ["ok"]


def spanning(names: str, seconds: float) -> str:
    text = SPANS.replace("SECONDS", str(seconds))
    for name in names.split():
        mark = "" if name.startswith("s") else "@pytest.mark.disruptive\n"
        text += f"{mark}def test_{name}(part):\n    pass\n"
    return text


def test_in_workers_a_disruptive_test_is_alone_and_others_are_not(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(fake_lab.CONFTEST)
    pytester.makepyfile(test_it=spanning("s1 s2 s3 s4 s5 s6 d1 d2 d3", 0.3))
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:randomly", *LEAN, timeout=240)
    result.assert_outcomes(passed=9)
    seen = spans(fake_lab.events())
    assert len(seen) == 9
    assert any(len(each) == 2 for each in seen), "two workers, and never two tests at once"
    assert not [each for each in seen if len(each) > 1 and any(name[5] == "d" for name in each)]


def test_two_runs_on_one_lab_leave_a_disruptive_test_alone(pytester: pytest.Pytester) -> None:
    run(pytester, "--lab-keep=always", "--lab-run=first", test=ETCD)
    (pytester.path / "test_it.py").unlink()
    pytester.makeconftest(fake_lab.CONFTEST)
    # Long enough that the one still runs when the other has started, on a loaded host too.
    pytester.makepyfile(test_one=spanning("s1 s2 s3 d1 d2", 1.0), test_two=spanning("s4 s5 s6 d3 d4", 1.0))
    argv = [sys.executable, "-m", "pytest", "-p", "no:randomly", *LEAN, "--lab-keep=always"]
    both = [
        subprocess.Popen([*argv, f"--lab-run={name}", f"test_{name}.py"], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    said = [each.communicate(timeout=120)[0] for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    seen = spans(fake_lab.events())
    assert any(len(each) == 2 for each in seen), "two runs, and never two tests at once"
    assert not [each for each in seen if len(each) > 1 and any(name[5] == "d" for name in each)]
    assert any("s for " in line and "lab thw: test_" in line for line in "".join(said).splitlines()), said


def test_a_fixture_of_somebody_else_by_the_name_of_ours_takes_no_turn(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not the lab; unit tests would wait for the tests of a lab that happens to run."""
    taken: list[str] = []
    monkeypatch.setattr(Turns, "take", lambda _, test, *, alone: taken.append(test))
    monkeypatch.setattr(Turns, "end", lambda _: None)
    pytester.makeconftest("import pytest\n@pytest.fixture\ndef lab_dns():\n    return 1\n")
    run(pytester, test=ALL + "def test_ours(lab_etcd):\n    pass\n").assert_outcomes(passed=2)
    assert [test.rpartition("::")[2] for test in taken] == ["test_ours"]


def test_a_test_whose_turn_does_not_come_is_an_error_that_says_for_whom_it_waited(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.turns.TIMEOUT", 0.3)
    monkeypatch.setenv(INHERITED, "{}")  # so that what is taken ends with this test
    theirs = Turns(StateFolder(pytester.path / "state" / "thw"), print)
    theirs.take("test_theirs", alone=True)
    monkeypatch.delenv(INHERITED)
    result = run(pytester, test=ETCD + "def test_other():\n    pass\n")
    monkeypatch.setenv(INHERITED, "{}")
    theirs.end()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["lab thw: *test_etcd waits at most 0 s for a disruptive test: test_theirs of pid *"]
    )
    result.stdout.fnmatch_lines(["*waited 0 s for its turn on lab thw*test_theirs of pid*", "*remedy: *"])


def test_a_run_that_a_disruptive_test_starts_does_not_wait_for_it(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(fake_lab.CONFTEST)
    pytester.makepyfile(inner=ETCD)
    test = f"""
import pytest, subprocess, sys
@pytest.mark.disruptive
def test_outer(lab_etcd):
    argv = [sys.executable, "-m", "pytest", *{LEAN}, "--lab-run=inner", "inner.py"]
    subprocess.run(argv, check=True, timeout=60)
"""
    path = pytester.makepyfile(test)
    result = pytester.runpytest_subprocess("-p", "no:randomly", *LEAN, str(path), timeout=120)
    result.assert_outcomes(passed=1)


# -- beside other plugins ---------------------------------------------------------------------------


def test_disruptive_tests_run_last_also_when_shuffled(pytester: pytest.Pytester) -> None:
    test = "import pytest\n@pytest.mark.disruptive\ndef test_break():\n    pass\n"
    test += "".join(f"def test_{n}():\n    pass\n" for n in range(5))
    pytester.makepyfile(test_it=test)
    orders = set()
    for seed in range(4):
        result = pytester.runpytest_inprocess("-v", *LEAN, f"--randomly-seed={seed}")
        lines = [line for line in result.outlines if "PASSED" in line]
        assert "test_break" in lines[-1]
        orders.add(tuple(lines))
    assert len(orders) > 1


@pytest.mark.parametrize("also", [["-p", "no:randomly"], ["--html=report.html", "--self-contained-html"]])
def test_workers_share_one_lab_that_their_controller_removes(
    pytester: pytest.Pytester, also: list[str]
) -> None:
    pytester.makeconftest(fake_lab.CONFTEST)
    tests = "".join(f"def test_{n}(lab_etcd):\n    pass\n" for n in range(6))
    pytester.makepyfile(test_it=tests)
    result = pytester.runpytest_subprocess("-n", "2", "--junitxml=junit.xml", *LEAN, *also, timeout=240)
    result.assert_outcomes(passed=6)
    removed = [at for at, line in enumerate(fake_lab.events()) if line == "remove thw"]
    assert removed == [len(fake_lab.events()) - 1]
    assert [p.name for p in (pytester.path / "artifacts").iterdir() if not p.is_symlink()] == [
        (pytester.path / "artifacts" / "latest").readlink().name
    ]
    result.stdout.fnmatch_lines(["ok       stage etcd *"])
    assert properties(pytester)["lab.kubernetes"] == "1.37.2"


def test_a_failure_in_a_worker_is_collected_and_the_controller_keeps_the_lab(
    pytester: pytest.Pytester,
) -> None:
    pytester.makeconftest(fake_lab.CONFTEST)
    pytester.makepyfile(test_it=FAILING)
    result = pytester.runpytest_subprocess("-n", "2", "-p", "no:randomly", *LEAN, timeout=240)
    result.assert_outcomes(passed=1, failed=1)
    assert count("collect") == 1
    assert count("remove") == 0
    result.stdout.fnmatch_lines(["lab thw: kept*"])


def test_why_the_lab_is_not_up_is_said_once(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise LabError("runs with another plan")

    monkeypatch.setattr("lab.session.open_lab", refuse)
    said = run(pytester, test=ETCD).stdout.str()
    assert "the lab is not up: runs with another plan" in said
    assert "another exception" not in said


@pytest.mark.parametrize("workers", [(), ("-n", "1", "-p", "xdist")])
def test_a_remedy_is_for_the_lab_of_this_run(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    pytester.makepyfile(test_it=NO_ROOM)
    result = pytester.runpytest_subprocess(*LEAN, "--lab-name=brk", *workers, timeout=60)
    result.stdout.fnmatch_lines(["*remedy: thwlab --name brk down; * pytest *--lab-name=brk*"])


# -- what one reads ---------------------------------------------------------------------------------


def properties(pytester: pytest.Pytester) -> dict[str, str]:
    found = junit(pytester).iter("property")
    return {str(each.get("name")): str(each.get("value")) for each in found}


def test_junit_says_which_lab_it_was(pytester: pytest.Pytester) -> None:
    run(pytester, "--junitxml=junit.xml", "--lab-run=today", "--lab-provider=incus", test=ETCD)
    found = properties(pytester)
    assert (found["lab.run"], found["lab.provider"], found["lab.etcd"]) == ("today", "incus", "3.7.3")
    assert len(found["lab.plan"]) == 64


def test_the_header_has_every_value_and_its_origin(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makeini("[pytest]\nlab_reuse = no\n")
    monkeypatch.setenv("LAB_PROFILE", "guide")
    result = run(pytester, "--lab-keep=always", test="def test_it():\n    pass\n")
    header = " ".join(line.strip() for line in result.outlines)
    for value in (
        "keep=always (--lab-keep)", "profile=guide (LAB_PROFILE)", "reuse=no (ini lab_reuse)",
        "provider=auto (default)", "name=thw (", "versions=1.37.2 (", "config=",
    ):  # fmt: skip
        assert value in header


def test_with_v_the_header_has_the_plan(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-v", test="def test_it():\n    pass\n")
    result.stdout.fnmatch_lines(["lab plan: network.cidr = 192.168.100.0/24 (*default.yaml:*"])


def test_stages_are_told_as_they_end_and_once_more_at_the_end(pytester: pytest.Pytester) -> None:
    result = run(pytester, test=ETCD)
    result.stdout.fnmatch_lines(
        [
            "programs: kubelet (1/9) built",
            "*ok *etcd * s  every member commits",
            "lab thw: removed in *",
            "*= lab =*",
            "ok       stage etcd *",
            "proven   test_it.py *1 passed",
        ]
    )
