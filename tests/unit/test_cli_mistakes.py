"""What `thwlab` says of settings, folders and disks that are wrong, and the commands it tells to type."""

import os
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lab.cli import health, look, outside
from lab.cli.app import cli
from lab.cli.session import Session
from lab.doctor import Finding, Verdict
from lab.doctor.finding import good
from lab.laboratory import Laboratory
from lab.providers.incus import IncusProvider
from lab.stages import stages_for

pytestmark = pytest.mark.usefixtures("no_real_lab")
ENV = {name: None for name in os.environ if name.startswith("LAB_") or name == "CI"}


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


def test_verifying_an_empty_cache_is_told_and_is_no_success(tmp_path: Path) -> None:
    result = thwlab("artifacts", "verify")
    assert result.exit_code == 3
    assert f"nothing was verified, for the cache {tmp_path / 'cache'} is empty" in result.output
    assert "remedy: thwlab artifacts fetch" in result.output


# -- what is told to type --------------------------------------------------------------------------


def test_doctors_last_line_is_for_the_lab_that_was_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "examine", lambda _: [good("go", "is there")])
    result = thwlab("doctor", "--provider", "vagrant:libvirt", "--name", "brk", LAB_VERSIONS="1.36")
    told = "thwlab --provider vagrant:libvirt --name brk --versions 1.36 up"
    assert result.output.splitlines()[-1] == f"a lab can run here: {told}"
    assert thwlab("doctor").output.splitlines()[-1] == "a lab can run here: thwlab up"


def test_doctors_remedies_are_for_the_lab_that_was_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = Finding("rights", Verdict.MISSING, "user 1000", "root", 'sudo -E env "PATH=$PATH" thwlab up')
    monkeypatch.setattr(health, "examine", lambda _: [lacking])
    said = thwlab("doctor", "--name", "brk").output
    assert 'remedy: sudo -E env "PATH=$PATH" thwlab --name brk up' in said


def test_what_is_not_in_the_cache_is_fetched_for_the_same_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["artifacts", "fetch", "--offline", "--versions", "1.36.3"]
    monkeypatch.setattr("sys.argv", ["thwlab", *argv])
    assert "remedy: `thwlab --versions 1.36.3 artifacts fetch` with a network" in thwlab(*argv).output


def test_doctors_columns_are_aligned_whatever_is_in_them() -> None:
    findings = [
        good("ip", "#"),
        Finding("qemu-system-x86_64 or so", Verdict.UNTRIED, "#"),
        Finding("virtualbox and vagrant", Verdict.MISSING, "#"),
    ]
    assert len({line.index("#") for line in map(click.unstyle, health.report(findings))}) == 1


# -- what is shown ---------------------------------------------------------------------------------


def test_config_shows_what_stands_behind_an_empty_value_and_each_key_once() -> None:
    rows = [line.split() for line in thwlab("config").output.splitlines()]
    keys = [row[0] for row in rows]
    assert sorted(keys[:-4]) == sorted(set(keys[:-4])), "the two folders at the end begin with a bracket"
    assert "(empty)" not in thwlab("config").output
    found = {row[0]: row[1:] for row in rows}
    assert found["keep"][0] == "on-failure"
    assert found["profile"][0] == "hardened"
    assert found["versions"][0] == found["versions.kubernetes"][0]
    assert found["config"][0].endswith("default.yaml")
    assert "default.yaml:" in found["name"][1]
    assert thwlab("config", CI="true").output.splitlines()[5].split()[:2] == ["keep", "never"]


def test_who_asks_for_an_api_that_is_not_there_yet_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session = Session()
    session.options["name"] = "brk"
    lab = Laboratory(session.topology, IncusProvider("brk", tmp_path), session.state)
    outside.tell_if_nobody_answers(session, lab)
    told = capsys.readouterr()
    assert told.out == "", "the shell evaluates it"
    assert "was not seen to serve yet; `thwlab --name brk up` brings it up" in told.err
    session.state.intend("incus", lab.topology.digest())
    session.state.prove(lab.topology.digest(), [outside.API_STAGE])
    outside.tell_if_nobody_answers(session, lab)
    assert capsys.readouterr().err == ""
    assert outside.API_STAGE in {stage.name for stage in stages_for(lab.topology)}


def test_addresses_of_any_length_leave_the_columns_of_a_dry_run() -> None:
    lines = [line for line in thwlab("up", "--dry-run").output.splitlines() if "  192.168." in line]
    assert len({line.rindex("  ") for line in lines}) == 1


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_kubectls_help_needs_no_lab(word: str) -> None:
    result = thwlab("kubectl", word)
    assert result.exit_code == 0
    assert "thwlab kubectl get pods -A" in result.output
    assert thwlab("kubectl", "get", "pods").exit_code == 3


def test_configs_columns_are_aligned_whatever_is_in_them() -> None:
    rows = [("a", "b", "#"), ("a.long.key", "k8s-lb, k8s-master1, k8s-master2", "#"), ("c", "/" * 80, "#")]
    lines = look.aligned(rows)
    assert len({line.index("#") for line in lines[:2]}) == 1
    assert len(lines[0]) < 60


def test_what_need_not_be_installed_is_said_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "examine", lambda _: [good("go", "is there")])
    lines = thwlab("doctor", "--fix").output.splitlines()
    assert [line.split()[0] for line in lines] == ["ok", "there", "a"]
