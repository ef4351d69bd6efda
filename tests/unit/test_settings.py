"""Who wins, where a value came from, and every mistake at once."""

import re
from pathlib import Path

import pytest

from lab.errors import ConfigError
from lab.providers.commands import MARK
from lab.providers.vagrant.libvirt.private import NAT
from lab.settings import BOX, HANDED_ON, OF_VAGRANT_ALONE, SETTINGS, Effective, keep_policy, resolve
from lab.turns import INHERITED

ROOT = Path(__file__).parents[2]
VAGRANTFILES = (ROOT / "Vagrantfile", *sorted((ROOT / "lab/providers/vagrant").rglob("*.rb")))


def test_the_order_is_option_environment_ini_default() -> None:
    option, env, ini = {"keep": "always"}, {"LAB_KEEP": "never"}, {"keep": "on-failure"}
    assert resolve(option, ini, env)["keep"] == Effective("always", "--lab-keep")
    assert resolve({}, ini, env)["keep"] == Effective("never", "LAB_KEEP")
    assert resolve({}, ini, {})["keep"] == Effective("on-failure", "ini lab_keep")
    assert resolve({}, {}, {})["keep"] == Effective("", "default")


def test_an_empty_option_or_variable_is_a_choice_too() -> None:
    assert resolve({"keep": ""}, {}, {"LAB_KEEP": "never"})["keep"] == Effective("", "--lab-keep")
    assert resolve({}, {"keep": "never"}, {"LAB_KEEP": ""})["keep"] == Effective("", "LAB_KEEP")


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"keep": "forever"}, {"profile": "soft"}, {"LAB_REUSE": "1", "LAB_NMAE": "x", "LAB_": "y"})
    said = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 5
    for word in (
        "--lab-keep: 'forever'",
        "never, on-failure, always",
        "ini lab_profile: 'soft'",
        "LAB_REUSE: '1'",
    ):
        assert word in said
    assert "LAB_NMAE is no setting; did you mean LAB_NAME?" in said
    assert "LAB_ is no setting (there are LAB_ARTIFACTS, " in said


def test_variables_of_others_are_none_of_ours() -> None:
    assert resolve({}, {}, {"LABEL": "x", "MY_LAB_KEEP": "y", "lab_keep": "z"})["keep"].value == ""


@pytest.mark.parametrize(
    ("value", "env", "policy"),
    [
        ("", {}, "on-failure"),
        ("", {"CI": "true"}, "never"),
        ("", {"CI": "false"}, "on-failure"),
        ("always", {"CI": "true"}, "always"),
        ("never", {}, "never"),
    ],
)
def test_ci_keeps_nothing_unless_told(value: str, env: dict[str, str], policy: str) -> None:
    assert keep_policy(resolve({"keep": value}, {}, env), env) == policy


def test_every_setting_has_three_names_and_a_valid_default() -> None:
    for setting in SETTINGS:
        assert setting.option == f"--lab-{setting.name}"
        assert setting.variable == setting.variable.upper()
        assert setting.help
        assert not setting.choices or setting.default in setting.choices


@pytest.mark.parametrize(
    ("options", "env", "said"),
    [
        ({"provider": "docker"}, {}, "--lab-provider: 'docker' is no provider here (there are auto, "),
        ({}, {"LAB_PROVIDER": "vagrnt"}, "LAB_PROVIDER: 'vagrnt' is no provider here; did you mean vagrant?"),
        (
            {"versions": "1.38"},
            {},
            "--lab-versions: Kubernetes '1.38' is not pinned here; did you mean '1.37'?",
        ),
        ({"run": "../../x"}, {}, "--lab-run: '../../x' cannot be the name of a run's folder"),
        ({"run": ".."}, {}, "'..' cannot be"),
        ({"run": "a/b"}, {}, "'a/b' cannot be"),
        ({"run": "latest"}, {}, "that is the link to the newest run"),
        ({}, {"THWLAB_CACHEE": "/x"}, "THWLAB_CACHEE is not known; did you mean THWLAB_CACHE?"),
        ({}, {"THWLAB_CASH": "/x"}, "THWLAB_CASH is not known; did you mean THWLAB_CACHE?"),
        ({}, {"THWLAB_STATES": "/x"}, "THWLAB_STATES is not known; did you mean THWLAB_STATE?"),
        ({}, {"THWLAB_BOX_SHA": "ab"}, "did you mean THWLAB_BOX_SHA256?"),
        ({}, {"LAB_BOOT_TIMEOUT": "15m"}, "LAB_BOOT_TIMEOUT: '15m' is no whole number of seconds above 0"),
        ({}, {"LAB_BOOT_TIMEOUT": "0"}, "LAB_BOOT_TIMEOUT: '0' is no whole number"),
        ({}, {"LAB_VAGRANTFILE_MORE": "/no/such.rb"}, "LAB_VAGRANTFILE_MORE: there is no file '/no/such.rb'"),
        ({}, {"THWLAB_STATE": "relative"}, "THWLAB_STATE: 'relative' is no absolute path; write '/"),
        ({}, {"THWLAB_CACHE": "./c"}, "THWLAB_CACHE: './c' is no absolute path"),
    ],
)
def test_what_cannot_be_is_refused_with_its_origin_and_what_was_meant(
    options: dict[str, str], env: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(options, {}, env)
    assert len(caught.value.problems) == 1
    assert said in caught.value.problems[0]


def test_words_versions_and_names_are_told_together() -> None:
    wrong = {"versions": "1.38", "profile": "foo", "keep": "bar", "provider": "vbox", "run": "a/b"}
    with pytest.raises(ConfigError) as caught:
        resolve(wrong, {}, {"THWLAB_CACHEE": "/tmp", "THWLAB_STATE": "x", "LAB_NMAE": "x"})
    assert len(caught.value.problems) == 8


def test_a_variable_of_the_vms_that_is_nearly_one_is_told() -> None:
    with pytest.raises(ConfigError, match="THWLAB_NATT is not known; did you mean THWLAB_NAT"):
        resolve({}, {}, {"THWLAB_NATT": "1"})


@pytest.mark.parametrize("run", ["r1", "ci-123-1", "2026.11.26_a", ".hidden", ""])
def test_a_plain_name_may_name_a_run(run: str) -> None:
    assert resolve({"run": run}, {}, {})["run"].value == run


def test_every_variable_of_the_vagrantfiles_is_handed_on_or_refused(tmp_path: Path) -> None:
    """None is taken without a word and without an effect."""
    said = {*re.findall(r"\b(LAB_[A-Z_]*[A-Z])", "".join(path.read_text() for path in VAGRANTFILES))}
    assert said - {"LAB_CONFIG"} == {*HANDED_ON, *OF_VAGRANT_ALONE}
    more = tmp_path / "more.rb"
    more.touch()
    assert resolve({}, {}, {"LAB_BOOT_TIMEOUT": "900", "LAB_VAGRANTFILE_MORE": str(more)})
    with pytest.raises(ConfigError) as caught:
        resolve({}, {}, dict.fromkeys(OF_VAGRANT_ALONE, "1"))
    assert len(caught.value.problems) == len(OF_VAGRANT_ALONE)
    assert "LAB_NAMED is for `vagrant` alone" in str(caught.value)
    assert "unset LAB_NAMED" in str(caught.value)


def test_variables_of_others_are_left_alone() -> None:
    boxes = {*re.findall(r'"(THWLAB_[A-Z0-9_]+)"', VAGRANTFILES[0].read_text())}
    assert boxes == set(BOX)
    theirs = dict.fromkeys((*boxes, NAT, "THWLAB_GOLDEN", "THWLAB_DEFECT"), "/x")
    assert resolve({}, {}, {**theirs, INHERITED: "x", MARK: "x"})["name"].value == ""
    noted_by_make = {"THWLAB_BEGAN": "1", "THWLAB_WARMTH": "cold"}
    assert resolve({}, {}, noted_by_make)["name"].value == ""


def test_mistakes_of_the_plans_file_are_told_with_those_of_the_settings(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: Bad_Name\n")
    with pytest.raises(ConfigError) as caught:
        resolve({"config": str(plan), "profile": "soft"}, {}, {})
    assert "--lab-profile: 'soft'" in caught.value.problems[0]
    assert any("Bad_Name" in problem for problem in caught.value.problems[1:])
