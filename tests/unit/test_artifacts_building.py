"""Steps of a build: their words when they fail, and nothing left of one that was killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.artifacts import building
from lab.errors import LabError


def test_a_step_that_fails_says_command_status_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match=r"`sh -c echo no >&2; exit 3` exited 3: no"):
        building.run("sh", "-c", "echo no >&2; exit 3")
    with pytest.raises(LabError, match=r"mksquashfs-of-tests is not installed[\s\S]*doctor --fix"):
        building.run("mksquashfs-of-tests")

    def late(argv: tuple[str, ...], **_: object) -> None:
        raise subprocess.TimeoutExpired(argv, 300)

    monkeypatch.setattr(building.subprocess, "run", late)
    with pytest.raises(LabError, match="did not end within 300s"):
        building.run("tar")


def gone() -> int:
    """The number of a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=30)
    return child.pid


def test_only_builds_whose_process_is_gone_are_swept(tmp_path: Path) -> None:
    with building.working_folder(tmp_path) as mine:
        for name in (f"{gone()}-x", f"{1 << 80}-x", "odd-x"):
            (mine.parent / name).mkdir()
        assert len(building.sweep(tmp_path)) == 3
        assert list(mine.parent.iterdir()) == [mine]


def test_without_proc_a_build_at_work_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, where each `thwlab down` took the folders of all builds."""
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: "proc" not in path.parts and there(path))
    with building.working_folder(tmp_path) as mine:
        assert building.sweep(tmp_path) == []
        assert mine.is_dir()


def test_a_build_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: int) -> None:
        raise PermissionError

    (tmp_path / f"work/{os.getpid()}-x").mkdir(parents=True)
    monkeypatch.setattr(building.os, "kill", refused)
    assert building.sweep(tmp_path) == []
