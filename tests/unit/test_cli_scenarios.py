"""The commands that break and judge, as far as they need no lab: plans, mistakes, stored runs, debts."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from stored_runs import TEXT, stored

from lab.cli.app import cli
from lab.faults.undo import owe
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
