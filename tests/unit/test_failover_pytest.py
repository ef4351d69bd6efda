"""Scenario files as tests, in pytest runs of their own: what a verdict is called, and what ends a run."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import fake_lab
import pytest
from stored_runs import TEXT

from lab.debts import debts, owe
from lab.failover.performing import CutShort, Performed
from lab.faults import healing
from lab.history import History
from lab.invariants.finding import Verdict
from lab.opening import state_of
from lab.probes import workload  # here, for what a run in this process imports itself is another module
from lab.report import as_json
from lab.scenario import between
from lab.scenario.judging import Judgement

REAL = Path(__file__).parents[1] / "failover"
LEAN = ("-p", "no:hypothesispytest", "-p", "no:cov", "-p", "no:randomly", "--import-mode=importlib")
VERDICTS = {
    "breaks": (Verdict.BROKEN, ()),
    "breaks-besides": (Verdict.BROKEN, ("it was not healed",)),
    "holds": (Verdict.HELD, ()),
    "not-known": (Verdict.UNKNOWN, ()),
    "proves-nothing": (Verdict.HELD, ("nothing proves that it bit",)),
}


def performed(name: str, folder: Path) -> Performed:
    verdict, invalid = VERDICTS[name]
    document = as_json(History({}, {}, {}), (), {"scenario": name})
    return Performed(Judgement(name, (), verdict, (), invalid), folder, document)


@pytest.fixture
def performs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Files with these names beside the real tests of scenarios; each is performed as the function says."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("THWLAB_STATE", str(pytester.path / "state"))
    monkeypatch.setenv("FAKE_EVENTS", str(pytester.path / "events"))
    fake_lab.install(monkeypatch.setattr)
    monkeypatch.setattr(between, "insist_whole", lambda _: None)
    monkeypatch.setattr(workload, "remove", lambda _: None)
    here = pytester.mkdir("tests") / "failover"
    here.mkdir()
    for name in ("conftest.py", "test_scenarios.py"):
        shutil.copy(REAL / name, here)

    def made(names: list[str], how: Callable[[str, Path], Performed] = performed) -> None:
        folder = pytester.path / "scenarios"
        folder.mkdir(exist_ok=True)
        for name in names:
            (folder / f"{name}.yaml").write_text(TEXT.replace("name: made", f"name: {name}"))

        def perform(_: Any, scenario: Any, __: Any, place: Path, *___: Any, **____: Any) -> Performed:
            fake_lab.event(f"perform {scenario.name}")
            return how(scenario.name, place)

        monkeypatch.setattr("lab.failover.performing.perform", perform)

    return made


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*LEAN, *args, "tests", no_reraise_ctrlc=True)


def test_broken_is_a_failure_and_what_proves_nothing_an_error(
    pytester: pytest.Pytester, performs: Callable[..., None]
) -> None:
    performs(list(VERDICTS))
    result = run(pytester, "--junitxml=junit.xml")
    result.assert_outcomes(passed=1, failed=2, errors=2)
    (suite,) = ElementTree.parse(pytester.path / "junit.xml").getroot()
    found = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    ends = {str(name).partition("[")[2].rstrip("]"): [t for t in tags if t != "properties"]
            for name, tags in found.items()}  # fmt: skip
    assert ends == {
        "breaks": ["failure"],
        "breaks-besides": ["failure"],
        "holds": [],
        "not-known": ["error"],
        "proves-nothing": ["error"],
    }


def test_mistakes_in_scenario_files_end_pytest_with_four_before_any_lab(
    pytester: pytest.Pytester, performs: Callable[..., None]
) -> None:
    performs(["holds", "one", "two"])
    for name, good, bad in (("one", "of: api", "of: apy"), ("two", "at-least: 99%", "at-least: 99")):
        path = pytester.path / f"scenarios/{name}.yaml"
        path.write_text(path.read_text().replace(good, bad))
    result = run(pytester)
    assert result.ret == pytest.ExitCode.USAGE_ERROR == 4
    said = result.stdout.str() + result.stderr.str()
    assert "one.yaml:6" in said
    assert "two.yaml:6" in said
    assert fake_lab.events() == []


def test_sigterm_ends_a_run_as_an_interrupt_does_and_what_was_come_to_is_told(
    pytester: pytest.Pytester, performs: Callable[..., None]
) -> None:
    def terminated(name: str, place: Path) -> Performed:
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler, "it would end at once"
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt as end:
            raise CutShort(performed(name, place)) from end
        raise AssertionError("it goes on")

    before = signal.getsignal(signal.SIGTERM)
    performs(["holds", "not-known"], terminated)
    assert run(pytester).ret == pytest.ExitCode.INTERRUPTED
    assert [each for each in fake_lab.events() if each.startswith("perform")] == ["perform holds"]
    assert "holds" in (pytester.path / "artifacts/latest/scenarios/index.html").read_text()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_lab_that_is_left_broken_is_healed_before_it_is_brought_up(
    pytester: pytest.Pytester, performs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of("thw")
    state.path.mkdir(parents=True)
    owe(state.path, {"fault": "stop", "machines": ["k8s-master1"]}, 60)

    def heal_all(_: Any, place: Path) -> list[str]:
        fake_lab.event("heal")
        for debt in debts(place):
            debt.pay()
        return ["stop on k8s-master1"]

    monkeypatch.setattr(healing, "heal_all", heal_all)
    monkeypatch.setattr(healing, "reopened", lambda _: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr(healing, "Cluster", lambda lab: lab)
    performs(["holds"])
    run(pytester).assert_outcomes(passed=1)
    assert fake_lab.events()[:2] == ["heal", "open thw"]
