"""Who uses a lab: known while they live, and not a moment longer."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import users as module
from lab.locks import locked
from lab.users import InUse, Sign, User, insist_unused, lineage, others, users

HOLD = """
import sys
from pathlib import Path
from lab.users import Sign
sign = Sign(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    (tmp_path / "thw").mkdir()
    return tmp_path / "thw"


@contextmanager
def used(lab: Path, run: str = "") -> Iterator[subprocess.Popen[bytes]]:
    """Another process uses the lab for the body; it is killed at the end."""
    argv = [sys.executable, "-c", HOLD, str(lab), run]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


def test_nobody_uses_what_nobody_has_signed(lab: Path) -> None:
    assert users(lab) == []
    insist_unused(lab, "down")


def test_another_is_named_with_all_ways_out(lab: Path) -> None:
    with used(lab, "artifacts/r1") as process, pytest.raises(InUse) as caught:
        insist_unused(lab, "thwlab down --force")
    said = str(caught.value)
    for word in (
        "lab thw is in use:", f"pid {process.pid} (", "results in artifacts/r1) since ", "s ago",
        f"`kill -INT {process.pid}`", "`thwlab down --force` goes ahead", "let it finish",
    ):  # fmt: skip
        assert word in said


def test_one_that_was_killed_uses_nothing_and_its_file_is_swept(lab: Path) -> None:
    with used(lab) as process:
        assert [user.pid for user in users(lab)] == [process.pid]
        process.kill()
        process.wait()
        assert users(lab) == []
        assert len(list((lab / "users").iterdir())) == 1
    mine = Sign(lab)
    assert [path.name.split("-")[0] for path in (lab / "users").iterdir()] == [str(os.getpid())]
    mine.lift()


def test_those_who_look_at_once_do_not_take_each_other_for_users(lab: Path) -> None:
    with used(lab):
        pass
    (file,) = (lab / "users").iterdir()
    for descriptor in module._opened(file):
        assert locked(descriptor, shared=True)
        assert users(lab) == []


def test_one_does_not_stand_in_its_own_way(lab: Path) -> None:
    mine = Sign(lab, "r1")
    insist_unused(lab, "down")
    assert [user.pid for user in users(lab)] == [os.getpid()]
    mine.lift()
    assert users(lab) == []
    assert list((lab / "users").iterdir()) == []


def test_what_a_run_starts_works_for_it_and_for_its_workers(lab: Path) -> None:
    """A test that calls `thwlab restore` in a worker of xdist: its run's other worker is no stranger."""
    ask = (
        "import sys; from pathlib import Path; from lab.users import others; print(others(Path(sys.argv[1])))"
    )
    mine = Sign(lab, "r1")
    with used(lab, "r1"):
        done = subprocess.run(
            [sys.executable, "-c", ask, str(lab)], capture_output=True, text=True, timeout=30, check=True
        )
        assert done.stdout == "[]\n"
        assert others(lab) == []
    with used(lab, "r2") as stranger:
        assert [user.pid for user in others(lab)] == [stranger.pid]
    mine.lift()


def test_a_sign_knows_that_its_lab_was_removed_also_if_another_came(lab: Path) -> None:
    mine = Sign(lab)
    assert mine.is_there()
    (path,) = (lab / "users").iterdir()
    path.unlink()
    assert not mine.is_there()
    path.write_text("another's")
    assert not mine.is_there()
    mine.lift()
    assert path.exists()


def test_a_sign_whose_folder_is_away_can_be_lifted(lab: Path) -> None:
    mine = Sign(lab)
    lab.rename(lab.with_name("away"))
    assert not mine.is_there()
    mine.lift()


def test_the_lineage_goes_up_to_the_first_process() -> None:
    assert {os.getpid(), os.getppid(), 1} <= lineage()


def test_a_system_without_proc_knows_two_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "Path", lambda _: Path("/nowhere"))
    assert lineage() == {os.getpid(), os.getppid()}


@pytest.mark.parametrize(
    ("argv", "worker", "told"),
    [
        (["/usr/bin/pytest", "-k", "a b"], "", "pytest -k 'a b'"),
        (["/x/site-packages/pytest/__main__.py", "tests"], "", "pytest tests"),
        (["-c"], "gw1", "worker gw1 of pytest"),
        ([], "", "python"),
    ],
)
def test_a_command_is_told_as_it_was_typed(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], worker: str, told: str
) -> None:
    monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
    assert module._command(argv) == told


def test_the_time_of_a_long_use_is_told_in_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 10_000.0)
    assert str(User(7, "pytest", 9_990.0)).endswith(", 10 s ago")
    assert str(User(7, "pytest", 9_400.0, "r1")).endswith(", 10 min ago")
