"""Who wins, where a value came from, and every mistake at once."""

import pytest

from lab.errors import ConfigError
from lab.settings import SETTINGS, Effective, keep_policy, resolve


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
