"""What a user may choose, where each value came from, and in which order the places are asked."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.choice import WORDS, mistake_in
from lab.disks import CACHE, STATE
from lab.disks import nearest as way_to
from lab.errors import ConfigError
from lab.mistakes import nearest
from lab.plan import Given, Plan, effective, load_plan
from lab.versions import row_of, unknown_row

PREFIX = "LAB_"
OURS = "THWLAB_"
# What the Vagrantfiles take from the environment beside the plan's LAB_CONFIG: what a user may tell them
# through us, and what is told by us, where a user's value would be dropped.
HANDED_ON = ("LAB_BOOT_TIMEOUT", "LAB_VAGRANTFILE_MORE")
OF_VAGRANT_ALONE = ("LAB_PREFIX", "LAB_POWER_CUT", "LAB_NAMED", "LAB_VMS")
FOLDERS = (STATE, CACHE)
BOX = ("THWLAB_BOX", "THWLAB_BOX_VERSION", "THWLAB_BOX_URL", "THWLAB_BOX_SHA256")
OF_VMS = (*BOX, "THWLAB_NAT")
INHERITED = (  # written by us, or our Makefile, for what we start
    "THWLAB_TURNS",
    "THWLAB_COMMAND",
    "THWLAB_BEGAN",
    "THWLAB_WARMTH",
)
LIKENESS = 0.65  # who names a variable of their own THWLAB_… is left alone, unless it is nearly one of these
RUN = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,100}")
LATEST = "latest"  # the link beside the runs' folders


@dataclass(frozen=True, slots=True)
class Setting:
    """One choice: `--lab-NAME`, `LAB_NAME`, ini `lab_NAME`, then the default."""

    name: str
    default: str
    help: str
    choices: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """On the command line."""
        return f"--lab-{self.name}"

    @property
    def variable(self) -> str:
        """In the environment."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def ini(self) -> str:
        """In pytest's ini file."""
        return "lab_" + self.name.replace("-", "_")


@dataclass(frozen=True, slots=True)
class Effective:
    """A value and where it came from."""

    value: str
    origin: str


SETTINGS = (
    Setting(
        "provider",
        "auto",
        f"what the machines are: {', '.join(WORDS)}",
    ),
    Setting("config", "", "the plan, a YAML file; empty: the guide's five machines"),
    Setting("name", "", "the lab's name, if not the plan's; labs of different names run side by side"),
    Setting("versions", "", "a row of versions.yaml or a Kubernetes version: 1.37, 1.36.3, …"),
    Setting(
        "profile", "", "which settings the programs get, if not those of the plan", ("", "hardened", "guide")
    ),
    Setting(
        "keep",
        "",
        "what happens to a lab this run created; empty: never in CI, else on-failure",
        ("", "never", "on-failure", "always"),
    ),
    Setting("reuse", "yes", "attach to a lab that already runs with the same plan", ("yes", "no")),
    Setting("artifacts", "artifacts", "the folder below which each run keeps records, logs and results"),
    Setting("run", "", "this run's folder; empty: a new one, named by date and time"),
    Setting(
        "between",
        "auto",
        "how a scenario is kept from the damage of the last one: by proof, by a snapshot, or by either",
        ("auto", "verify", "restore"),
    ),
    Setting("seed", "", "what all choices of scenarios follow from; empty: a new one, told and stored"),
    Setting("repeat", "1", "how often each scenario is run"),
)


def resolve(
    options: Mapping[str, str | None], inis: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> dict[str, Effective]:
    """Every setting's effective value: option, environment, ini, default.  All mistakes at once."""
    env = os.environ if environ is None else environ
    found = {s.name: _effective(s, options.get(s.name), env, inis) for s in SETTINGS}
    problems = _problems(found, env)
    if problems:
        raise ConfigError("the lab's settings", [*problems, *_mistakes_in_plan(found)])
    return found


def _effective(
    setting: Setting, option: str | None, env: Mapping[str, str], inis: Mapping[str, str]
) -> Effective:
    if option is not None:
        return Effective(option, setting.option)
    if setting.variable in env:
        return Effective(env[setting.variable], setting.variable)
    if inis.get(setting.name):
        return Effective(inis[setting.name], f"ini {setting.ini}")
    return Effective(setting.default, "default")


def _problems(found: Mapping[str, Effective], env: Mapping[str, str]) -> list[str]:
    words = [*_wrong_words(found), *_wrong_values(found)]
    return [*words, *_strange(env), *_handed_on(env), *_nearly_ours(env), *_folders(env)]


def _wrong_words(found: Mapping[str, Effective]) -> list[str]:
    return [
        f"{found[s.name].origin}: {found[s.name].value!r} is none of {_listed(s.choices)}"
        for s in SETTINGS
        if s.choices and found[s.name].value not in s.choices
    ]


def _wrong_values(found: Mapping[str, Effective]) -> list[str]:
    checks = {
        "provider": mistake_in,
        "versions": _mistake_in_version,
        "run": _mistake_in_run,
        "repeat": _mistake_in_repeat,
    }
    told = {name: check(found[name].value) for name, check in checks.items()}
    return [f"{found[name].origin}: {problem}" for name, problem in told.items() if problem]


def _mistake_in_version(wish: str) -> str:
    return "" if not wish or row_of(wish) else unknown_row(wish)


def _mistake_in_repeat(text: str) -> str:
    return "" if text.isdigit() and int(text) else f"{text[:60]!r} is no whole number above 0"


def _mistake_in_run(name: str) -> str:
    if not name or (RUN.fullmatch(name) and name != LATEST):
        return ""
    why = (
        "that is the link to the newest run"
        if name == LATEST
        else "up to 100 of letters, digits, '.', '_', '-'"
    )
    return f"{name!r} cannot be the name of a run's folder: {why}"


def _mistakes_in_plan(found: Mapping[str, Effective]) -> list[str]:
    """Those of the file alone, so that whoever mends the settings is not told of them only then."""
    config = found["config"].value
    try:
        load_plan(Path(config) if config else None, name=_given(found["name"]))
    except ConfigError as error:
        return error.problems
    return []


def _strange(env: Mapping[str, str]) -> list[str]:
    settings = sorted(setting.variable for setting in SETTINGS)
    strange = sorted(name for name in env if name.startswith(PREFIX) and name not in {*settings, *HANDED_ON})
    return [
        _of_vagrant(name) if name in OF_VAGRANT_ALONE else _no_setting(name, settings) for name in strange
    ]


def _of_vagrant(name: str) -> str:
    return f"{name} is for `vagrant` alone, and thwlab gives it a value of its own: unset {name}"


def _handed_on(env: Mapping[str, str]) -> list[str]:
    """What would else be an error of Vagrant's, minutes later."""
    seconds, more = (env.get(name, "") for name in HANDED_ON)
    problems = []
    if seconds and not (seconds.isdecimal() and int(seconds)):
        problems.append(f"{HANDED_ON[0]}: {seconds[:60]!r} is no whole number of seconds above 0")
    if more and not Path(more).is_file():
        problems.append(f"{HANDED_ON[1]}: there is no file {more[:200]!r}")
    return problems


def _nearly_ours(env: Mapping[str, str]) -> list[str]:
    known = [name.removeprefix(OURS) for name in (*FOLDERS, *OF_VMS, *INHERITED)]
    given = sorted(name.removeprefix(OURS) for name in env if name.startswith(OURS))
    meant = {name: nearest(name, known, likeness=LIKENESS) for name in given if name not in known}
    return [
        f"{OURS}{name} is not known; did you mean {OURS}{close}?" for name, close in meant.items() if close
    ]


def _folders(env: Mapping[str, str]) -> list[str]:
    """Elsewhere another working directory would be another list of labs, and another cache."""
    told = {name: _mistake_in_folder(env[name]) for name in FOLDERS if env.get(name)}
    return [f"{name}: {problem}" for name, problem in told.items() if problem]


def _mistake_in_folder(value: str) -> str:
    if not value.startswith("/"):
        return f"{value!r} is no absolute path; write {str(Path(value).absolute())!r}"
    there = way_to(Path(value))
    return "" if there.is_dir() else f"{value!r} cannot be a folder: {there} is none"


def _no_setting(name: str, known: Sequence[str]) -> str:
    close = nearest(name.removeprefix(PREFIX), [each.removeprefix(PREFIX) for each in known])
    meant = f"; did you mean {PREFIX}{close}?" if close else ""
    return f"{name} is no setting{meant} (there are {', '.join(known)})"


def _listed(choices: tuple[str, ...]) -> str:
    return ", ".join(choice or "(empty)" for choice in choices)


PLAN_SETTINGS = ("config", "versions", "profile")


def asked(found: Mapping[str, Effective]) -> dict[str, str]:
    """The settings that name the plan, as they hold from any folder; empty if none was chosen."""
    chosen = {name: found[name].value for name in PLAN_SETTINGS if found[name].value}
    if "config" in chosen:
        chosen["config"] = str(Path(chosen["config"]).resolve())
    return chosen


def keep_policy(found: Mapping[str, Effective], environ: Mapping[str, str] | None = None) -> str:
    """never, on-failure or always."""
    env = os.environ if environ is None else environ
    return found["keep"].value or ("never" if env.get("CI") == "true" else "on-failure")


def shown(settings: Mapping[str, Effective], plan: Plan, run: Effective) -> dict[str, Effective]:
    """Every setting with what stands behind an empty one; `run` is what stands behind that of the run."""
    planned = {key: Effective(value, origin) for key, value, origin in effective(plan)}
    behind = {
        "config": Effective(plan.topology.origin, "default"),
        "name": planned["name"],
        "versions": planned["versions.kubernetes"],
        "profile": planned["profile"],
        "keep": Effective(keep_policy(settings), "default"),
        "run": run,
        "seed": Effective("(a new one)", "default"),
    }
    return {name: each if each.value else behind[name] for name, each in settings.items()}


def plan_of(settings: Mapping[str, Effective]) -> Plan:
    """The plan that the settings name, with what they override."""
    config = settings["config"].value
    return load_plan(
        Path(config) if config else None,
        name=_given(settings["name"]),
        versions=_given(settings["versions"]),
        profile=_given(settings["profile"]),
    )


def _given(setting: Effective) -> Given | None:
    return Given(setting.value, setting.origin) if setting.value else None
