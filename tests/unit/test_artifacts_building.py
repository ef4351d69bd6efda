"""Steps of a build: their words when they fail, and nothing left of one that was killed."""

import subprocess

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
