"""What a user who is not root is told to type."""

from pathlib import Path

import pytest

from lab import rights
from lab.doctor.__main__ import one_line
from lab.providers.base import Missing


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")


def test_root_types_commands_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert rights.as_root("thwlab up") == "thwlab up"
    assert rights.sudo("apt-get update") == "apt-get update"


def test_a_user_keeps_environment_and_path(user: None) -> None:
    assert rights.as_root("thwlab doctor --fix") == 'sudo -E env "PATH=$PATH" thwlab doctor --fix'
    assert rights.sudo("apt-get update") == "sudo apt-get update"
    assert 'sudo -E env "PATH=$PATH" thwlab doctor --fix' in one_line([Missing("no ip", "", ("iproute2",))])


def test_joining_a_group_names_group_and_user(user: None, tmp_path: Path) -> None:
    assert rights.joining("lxd") == "sudo usermod -aG lxd ann, then log in again"
    assert rights.group_of(tmp_path)
