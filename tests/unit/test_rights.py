"""What a user who is not root is told to type."""

import shlex
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from lab import debts, rights, signatures
from lab.cli.app import HOME
from lab.doctor import hypervisors
from lab.doctor.__main__ import one_line
from lab.errors import LabError
from lab.plan import load_topology
from lab.providers.base import Missing, Provider
from lab.providers.incus import IncusProvider
from lab.providers.incus.labdaemon import LabDaemon
from lab.providers.vagrant import needs, programs, troubles
from lab.providers.vagrant.libvirt.kvm import Kvm
from lab.providers.vagrant.libvirt.private import PrivateLibvirtProvider

OF_NO_LAB = {"check", "compare", "completion", "recheck", "summary", "sweep"}  # what is stored, or every lab


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
    assert rights.joining("lxd") == "sudo usermod -aG lxd ann; log in again after that"
    assert rights.group_of(tmp_path)


def test_what_was_typed_is_what_is_typed_again(user: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/v/bin/{name}")
    monkeypatch.setattr("sys.argv", ["/v/bin/thwlab", "--name", "brk", "up", "--config", "a b.yaml"])
    assert rights.again_as_root() == ("sudo -E env \"PATH=$PATH\" thwlab --name brk up --config 'a b.yaml'")
    monkeypatch.setattr("sys.argv", ["/v/bin/pytest", "--lab-name=brk", "tests"])
    assert rights.again_as_root() == 'sudo -E env "PATH=$PATH" pytest --lab-name=brk tests'


def test_a_program_that_path_does_not_find_is_typed_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/pytest")
    monkeypatch.setattr("sys.argv", [".venv/bin/pytest", "-x"])
    assert rights.typed() == ".venv/bin/pytest -x"


def test_a_module_is_typed_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/lib/pytest/__main__.py", "-x"])
    monkeypatch.setattr("__main__.__spec__", ModuleSpec("pytest.__main__", None))
    assert rights.typed() == shlex.join([sys.executable, "-m", "pytest", "-x"])


@pytest.mark.parametrize(
    ("argv", "flags"),
    [
        (["thwlab", "up"], ""),
        (["thwlab", "--name", "brk", "up", "--config=a b.yaml"], " --name brk --config 'a b.yaml'"),
        (["pytest", "--lab-provider=vagrant:libvirt", "--lab-versions", "1.36"],
         " --provider vagrant:libvirt --versions 1.36"),
        (["pytest", "--lab-keep=always", "--lab-run", "x", "-k", "name"], ""),
        (["thwlab", "--name", "a", "exec", "m", "--", "mount", "--name", "b"], " --name a"),
        (["thwlab", "--name", "a", "kubectl", "--config", "b"], " --name a"),
        (["thwlab", "up", "--name"], ""),
    ],
)  # fmt: skip
def test_a_remedy_is_for_the_lab_that_was_typed(
    monkeypatch: pytest.MonkeyPatch, argv: list[str], flags: str
) -> None:
    monkeypatch.setattr("sys.argv", argv)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    error = LabError("x", remedy="`thwlab down`, then thwlab up")
    assert error.remedy == f"`thwlab{flags} down`, then thwlab{flags} up"
    assert str(error) == f"x\n  remedy: {error.remedy}"
    assert rights.as_root("A=1 thwlab doctor --fix") == f"A=1 thwlab{flags} doctor --fix"


def test_every_command_that_is_about_a_lab_is_known() -> None:
    """A new one is decided about here: it is in `COMMANDS`, or of no lab."""
    known = rights.COMMANDS.split()
    assert sorted(known) == sorted(set(HOME) - OF_NO_LAB)


def test_what_heals_is_for_the_lab_that_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["thwlab", "--name", "two", "up"])
    assert rights.same_lab(debts.REMEDY) == (
        "thwlab --name two heal --all; where that does not help, thwlab --name two down, "
        "then thwlab --name two up"
    )
    remedies = {rights.same_lab(each.remedy) for each in signatures.KNOWN if "rejoin" in each.remedy}
    assert remedies
    assert not [each for each in remedies if "thwlab --name two rejoin" not in each]


@pytest.mark.parametrize(
    "text", ["thwlab down --name other", "run thwlab on Linux", "thwlab --name x up", "install thwlab again"]
)
def test_what_names_a_lab_or_is_no_command_stays(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr("sys.argv", ["thwlab", "--name", "brk", "up"])
    assert rights.same_lab(text) == text


@pytest.mark.parametrize("kind", [IncusProvider, PrivateLibvirtProvider])
def test_who_lacks_root_types_the_same_again(
    user: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Provider]
) -> None:
    monkeypatch.setattr("sys.argv", ["thwlab", "--name", "brk", "--config", "my.yaml", "up"])
    for name, value in (("running_socket", None), ("closed_socket", None), ("installed_program", "incusd")):
        monkeypatch.setattr(f"lab.providers.incus.labdaemon.{name}", lambda value=value: value)
    missing = kind("brk", tmp_path).preflight(load_topology())
    assert [each.remedy for each in missing if "root" in each.what] == [
        'sudo -E env "PATH=$PATH" thwlab --name brk --config my.yaml up'
    ]


def of_guests() -> str:
    """For who has a libvirtd that runs, and no KVM."""
    found = needs.of_guests(needs.VmHost("libvirt", probed=Kvm(False, "none")), load_topology())
    assert found
    return found.remedy


def of_no_daemon() -> str:
    """For who names a running daemon where there is none."""
    with pytest.raises(LabError) as said:
        _ = LabDaemon("brk", Path("/none"), wanted="running", word="incus").private
    return said.value.remedy


def of_signature(words: str) -> str:
    """For who read these words of a program's."""
    found = signatures.recognised(words) or next(k for k in troubles.KNOWN if words in k.cause)
    return found.remedy


@pytest.mark.parametrize(
    "remedy",
    [
        lambda: programs.installing("ssh"),
        lambda: hypervisors.check_vagrant(needs.VmHost("virtualbox"), load_topology()).remedy,
        lambda: hypervisors.check_plugin(needs.VmHost("libvirt"), load_topology()).remedy,
        lambda: rights.joining("lxd"),
        of_guests,
        of_no_daemon,
        lambda: of_signature("inotify_init: Too many open files"),
        lambda: of_signature("Disk quota exceeded: key"),
        lambda: of_signature("libvirt would run the VMs by KVM"),
    ],
)
def test_the_command_of_a_remedy_can_be_pasted(
    user: None, monkeypatch: pytest.MonkeyPatch, remedy: Callable[[], str]
) -> None:
    """A comma was taken for part of a package's or a user's name, a bracket for a subshell."""
    monkeypatch.setattr("lab.providers.incus.labdaemon.running_socket", lambda: None)
    told = remedy()
    assert subprocess.run(["bash", "-nc", told], capture_output=True, timeout=30, check=False).returncode == 0
    command, _, _ = told.partition("; ")
    assert command.startswith("sudo ")
    assert not [word for word in shlex.split(command) if word.endswith(",") or "(" in word]


def test_options_are_told_as_thwlab_has_them() -> None:
    """The doctor told of pytest's, which thwlab has not."""
    remedy = of_guests()
    assert "--lab-provider=" in remedy
    assert "as root: --provider=vagrant:libvirt:private" in rights.as_thwlab(remedy)
