"""What `thwlab` says of settings, folders and disks that are wrong, and the commands it tells to type."""

import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lab.cli import lifecycle
from lab.cli.app import cli

ENV = {name: None for name in os.environ if name.startswith("LAB_") or name == "CI"}


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a unit test reached for a real lab")


@pytest.fixture(autouse=True)
def no_real_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lifecycle, "remove_lab", _never)
    monkeypatch.setattr(lifecycle, "open_lab", _never)


def thwlab(*args: str, **env: str) -> Result:
    return CliRunner(env={**ENV, **env}).invoke(cli, args)


# -- settings --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("config",), ("up", "--dry-run"), ("status",), ("artifacts", "verify")])
def test_a_provider_that_is_none_is_refused_by_every_command(command: tuple[str, ...]) -> None:
    result = thwlab("--provider", "dcoker", *command)
    assert result.exit_code == 2
    assert "--provider: 'dcoker' is no provider here" in result.output


def test_a_wrong_variable_is_refused_also_where_only_the_cache_is_read() -> None:
    assert thwlab("artifacts", "verify", THWLAB_CACHEE="/tmp").exit_code == 2
    result = thwlab("artifacts", "list", THWLAB_CACHE="relative")
    assert (result.exit_code, "no absolute path" in result.output) == (2, True)


# -- folders ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["THWLAB_CACHE", "THWLAB_STATE"])
@pytest.mark.parametrize("value", ["/dev/null", "/dev/null/x"])
def test_a_folder_that_is_none_is_refused_with_its_variable(variable: str, value: str) -> None:
    result = thwlab("artifacts", "list", **{variable: value})
    assert result.exit_code == 2
    assert f"{variable}: '{value}' cannot be a folder: /dev/null is none" in result.output


def test_a_state_folder_that_cannot_be_written_is_told_with_a_remedy() -> None:
    result = thwlab("up", THWLAB_STATE="/proc/thwlab")
    assert result.exit_code == 3
    assert "/proc/thwlab cannot be used" in result.output
    assert "remedy: export THWLAB_STATE=" in result.output
