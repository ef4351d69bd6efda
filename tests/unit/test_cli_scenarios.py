"""The commands that break and judge, as far as they need no lab: plans, mistakes, stored runs, debts."""

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from fixed import guide_topology
from stored_runs import TEXT, stored

from lab.cli import scenarios
from lab.cli.app import cli
from lab.cli.session import Session
from lab.debts import owe
from lab.failover.performing import CutShort, Performed
from lab.invariants.finding import Finding, Unit, Verdict
from lab.scenario.between import Policy
from lab.scenario.judging import Judgement, Status
from lab.scenario.known import Known
from lab.scenario.loading import load
from lab.scenario.plan import Plan, from_file, plan_of
from lab.state import StateFolder

ROOT = Path(__file__).parents[2]
GOOD = TEXT.replace("faults: []", "faults:\n  - {fault: kill, unit: etcd, on: k8s-master1}")


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lab of this host's; results go to a folder of the test's."""
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("LAB_ARTIFACTS", str(tmp_path / "artifacts"))
    monkeypatch.chdir(ROOT)


def thwlab(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, ["--name", "scenarios", *map(str, args)])


def written(folder: Path, text: str, name: str = "made.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_plan_is_told_without_a_lab_and_its_seed_repeats_it(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    told = thwlab("run", file, "--dry-run", "--seed", "7")
    assert told.exit_code == 0, told.output
    assert "1. kill unit etcd on k8s-master1" in told.output
    assert "availability of api during fault: at least 99 %" in told.output
    assert thwlab("run", file, "--dry-run", "--seed", "7").output == told.output
    assert not (tmp_path / "artifacts").exists()
    assert not (tmp_path / "state").exists()


def test_the_settings_of_pytest_are_those_of_the_command_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path, GOOD)
    monkeypatch.setenv("LAB_SEED", "7")
    told = thwlab("run", file, "--dry-run")
    assert "seed 7" in told.output
    assert "seed 8" in thwlab("run", file, "--dry-run", "--seed", "8").output


def test_a_dry_run_is_of_the_plan_named_now_whatever_lab_runs(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state" / "scenarios")
    state.intend("incus", "the digest of another plan")
    file = written(tmp_path, GOOD)
    assert thwlab("run", file, "--dry-run").exit_code == 0
    assert "another plan" in thwlab("run", file).output


def test_a_folder_in_place_of_files_is_answered_with_their_pattern() -> None:
    told = thwlab("run", "scenarios", "--dry-run")
    assert told.exit_code == 2
    assert "scenarios/*.yaml" in told.output


def test_a_random_plan_is_made_of_the_files_and_repeats_by_its_seed() -> None:
    first, again, other = (
        thwlab("run", "--random", "10m", "--seed", seed, "--dry-run").output for seed in ("7", "7", "8")
    )
    assert "faults at random, one at a time" in first
    assert first == again != other


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("run",), "name scenario files"),
        (("run", "--random", "10"), "'10' has no unit; write 10s"),
        (("run", "--random", "10m", "--replay", "plan.json"), "give one"),
        (("run", "x.yaml", "--replay-targets"), "says how to --replay"),
        (("run", "nothing.yaml"), "cannot be read"),
        (("recheck", "nothing"), "cannot be read"),
        (("compare", "nothing", "nothing"), "holds no run of a scenario"),
        (("shrink", "nothing"), "cannot be read"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_input_is_two_and_says_what_to_do(args: tuple[str, ...], said: str) -> None:
    told = thwlab(*args)
    assert told.exit_code == 2, told.output
    assert said in told.output
    assert "Traceback" not in told.output


def test_the_mistakes_of_all_files_come_together(tmp_path: Path) -> None:
    one = written(tmp_path, GOOD.replace("k8s-master1", "k8s-mastr1"), "one.yaml")
    two = written(tmp_path, GOOD.replace("10s, fault", "10, fault"), "two.yaml")
    told = thwlab("run", one, two)
    assert told.exit_code == 2
    assert "did you mean 'k8s-master1'" in told.output
    assert f"{two.name}:3" in told.output


def test_without_a_lab_nothing_is_broken(tmp_path: Path) -> None:
    told = thwlab("run", written(tmp_path, GOOD))
    assert told.exit_code == 3
    assert "there is no lab scenarios" in told.output


@pytest.mark.parametrize(("failing", "status", "word"), [(0, 3, "unknown"), (50, 1, "broken")])
def test_a_stored_run_ends_as_it_did(tmp_path: Path, failing: int, status: int, word: str) -> None:
    """This one has no etcd, so what must always hold is unknown; broken beats that."""
    folder = stored(tmp_path / "run", failing)
    assert thwlab("recheck", folder).exit_code == status
    told: dict[str, Any] = json.loads(thwlab("recheck", folder, "--json").output)
    assert told["verdict"].startswith(word)
    assert "availability of api during fault" in [each["invariant"] for each in told["findings"]]


def test_two_sets_are_compared_with_what_they_were_run_on(tmp_path: Path) -> None:
    for name, failing in (("a/1", 0), ("a/2", 0), ("b/1", 50)):
        stored(tmp_path / name, failing)
    told = thwlab("compare", tmp_path / "a", tmp_path / "b")
    assert told.exit_code == 0
    assert "A on profile hardened, host.provider (none)" in told.output


def test_only_a_broken_run_is_made_smaller(tmp_path: Path) -> None:
    told = thwlab("shrink", stored(tmp_path / "run", 0))
    assert told.exit_code == 2
    assert "only a broken run" in told.output


def test_what_is_broken_on_purpose_is_told_and_nothing_else(tmp_path: Path) -> None:
    assert "nothing is broken on purpose" in thwlab("heal").output
    state = tmp_path / "state/scenarios"
    state.mkdir(parents=True)
    owe(state, {"fault": "kill", "machines": ["k8s-master1"]}, 60)
    told = thwlab("heal")
    assert told.exit_code == 3
    assert "there is no lab scenarios" in told.output


# -- on a lab that runs ------------------------------------------------------------------------------------


class Series:
    """In the place of the real one: what each plan comes to, `how` says."""

    how: Callable[[Plan], Judgement]
    cut = False
    ran: list[tuple[int, ...]]

    def __init__(self, _: Any, folder: Path, policy: Policy, tell: Any, *, go_on: bool = False) -> None:
        self.folder, self.done, self.skipped = folder, [], {}
        folder.mkdir(parents=True, exist_ok=True)

    def run(self, todo: list[tuple[Any, Plan]]) -> Status:
        for _, plan in todo:
            self.ran.append(tuple(step.number for step in plan.steps))
            self.done.append(Performed(type(self).how(plan), self.folder, {}))
            if self.cut:
                raise CutShort(self.done[-1])
        return Status.HELD

    def summary(self) -> Iterator[str]:
        yield from (f"{each.judgement.scenario}: {each.judgement.word}" for each in self.done)


@pytest.fixture
def attached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Series]]:
    """A lab that runs, on which `Series` only says that it did something."""
    before = signal.getsignal(signal.SIGTERM)
    state = StateFolder(tmp_path / "state/scenarios")
    state.path.mkdir(parents=True)
    lab = SimpleNamespace(state=state, topology=guide_topology(), close=lambda: None)
    monkeypatch.setattr(Session, "attached", lambda _: lab)
    monkeypatch.setattr(scenarios, "Series", Series)
    Series.cut, Series.ran = False, []
    yield Series
    signal.signal(signal.SIGTERM, before)


def judged(*broken: str) -> Judgement:
    found = [Finding(name, Verdict.BROKEN, 0.5, 0.99, Unit.SHARE, None, "", "at-least") for name in broken]
    verdict = Verdict.BROKEN if broken else Verdict.HELD
    return Judgement("made", tuple(found), verdict, (), ())


def test_a_run_that_is_interrupted_tells_what_it_came_to_until_then(
    tmp_path: Path, attached: type[Series]
) -> None:
    attached.how, attached.cut = lambda _: judged(), True
    told = thwlab("run", written(tmp_path, GOOD), "--repeat", "2")
    assert told.exit_code == 130, told.output
    assert told.output.count("made: held") == 1
    assert "interrupted" in told.output


def test_sigterm_is_an_interrupt_while_something_is_broken(tmp_path: Path, attached: type[Series]) -> None:
    def how(_: Plan) -> Judgement:
        assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        return judged()

    attached.how = how
    assert thwlab("run", written(tmp_path, GOOD)).exit_code == 0


def test_faults_at_random_are_chosen_for_a_lab_on_which_nothing_is_broken(
    attached: type[Series], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who leads is not known of one that is broken, and what is left out would be left out for that."""
    done: list[str] = []
    monkeypatch.setattr(scenarios, "heal_left", lambda *_: done.append("heal"))
    monkeypatch.setattr(scenarios, "hindrance", lambda *_: done.append("asked") or "")
    attached.how = lambda _: judged()
    assert thwlab("run", "--random", "10m", "--seed", "7").exit_code == 0
    assert done[:2] == ["heal", "asked"]
    assert done.count("heal") == 1


GUILTY = "availability of api during fault"
SIX = "".join(f"  - {{fault: kill, unit: etcd, on: k8s-master1, at: {number}s}}\n" for number in range(6))


@pytest.fixture
def six(tmp_path: Path) -> Path:
    """A broken run of six faults, of which the fourth is guilty."""
    file = written(tmp_path, TEXT.replace("faults: []", f"faults:\n{SIX}"))
    folder = stored(tmp_path / "run", 50)
    (folder / "plan.json").write_text(plan_of(load(file, Known(guide_topology())), "1").to_json())
    return folder


def test_six_faults_come_down_to_the_guilty_one(six: Path, tmp_path: Path, attached: type[Series]) -> None:
    """What breaks without it is another invariant, which that run did not break."""

    def how(plan: Plan) -> Judgement:
        return judged(GUILTY if any(step.number == 4 for step in plan.steps) else "lost-writes")

    attached.how = how
    told = thwlab("shrink", six)
    assert told.exit_code == 0, told.output
    assert "broken 3 of 3 times more" in told.output
    assert attached.ran[-3:] == [(4,)] * 3
    (found,) = (tmp_path / "artifacts").glob("2*/plan.json")
    assert [step.number for step in from_file(found).steps] == [4]


def test_what_does_not_break_each_time_is_not_sure(six: Path, attached: type[Series]) -> None:
    attached.how = lambda plan: judged(GUILTY) if len(attached.ran) < 6 else judged()
    told = thwlab("shrink", six)
    assert told.exit_code == 3, told.output
    assert "of 3 times more" in told.output
