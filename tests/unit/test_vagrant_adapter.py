"""Vagrant behind a deadline: against a stand-in that records how it was called."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_in import StandIn, on_path

from lab.errors import LabError
from lab.plan import load_topology
from lab.providers.vagrant.adapter import Adapter, State, parse_access, parse_status
from lab.providers.vagrant.connection import Access
from lab.providers.vagrant.plan import DEFAULT_BOOT, DEFAULT_BOX, Box, Project, vagrantfile
from lab.providers.vagrant.process import Call, carry_out
from lab.providers.vagrant.provider import up_timeout
from lab.providers.vagrant.troubles import ProgramFailed, known
from lab.wait import NotYet, wait_until

# As Vagrant 2.3.4 prints it; the first two lines have more fields than python-vagrant's parser takes.
STATUS = """\
1424098924,,ui,info,a line%!(VAGRANT_COMMA) with a comma
1424098924,k8s-master1,metadata,provider,libvirt
1424098924,k8s-master1,provider-name,libvirt
1424098924,k8s-master1,state,paused
1424098924,k8s-master1,state-human-short,paused
1424098924,k8s-master1,state-human-long,The VM is paused%!(VAGRANT_COMMA) and
1424098924,k8s-lb,provider-name,virtualbox
1424098924,k8s-lb,state,not_created
"""
BOXES = """\
1424098924,,box-name,debian/bookworm64
1424098924,,box-provider,virtualbox
1424098924,,box-version,12.20240905.1
1424098924,,box-name,lab/mine
1424098924,,box-provider,virtualbox
1424098924,,box-version,0
1424098924,,box-name,lab/libvirts
1424098924,,box-provider,libvirt
1424098924,,box-version,0
"""
SSH_CONFIG = """\
Host k8s-master1
  HostName 127.0.0.1
  User vagrant
  Port 2222
  UserKnownHostsFile /dev/null
  IdentityFile "/home/a b/dot/machines/k8s-master1/virtualbox/private_key"
  IdentityFile /home/x/.vagrant.d/insecure_private_key

Host k8s-lb
  HostName 192.168.121.7
  User vagrant
  Port 22
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("PATH", on_path(tmp_path / "bin"))
    return StandIn(tmp_path / "bin" / "vagrant")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project("thw", tmp_path / "a lab" / "vagrant", "virtualbox")
    made.write_plan(load_topology())
    return made


@pytest.fixture
def adapter(program: StandIn, project: Project) -> Adapter:
    return Adapter(project)


def test_status_is_read_in_the_providers_own_words() -> None:
    assert parse_status(STATUS) == {
        "k8s-master1": State("k8s-master1", "libvirt", "paused"),
        "k8s-lb": State("k8s-lb", "virtualbox", "not_created"),
    }


def test_an_error_line_is_no_machine() -> None:
    assert parse_status("1424099042,,error-exit,Vagrant::Errors::MachineNotFound,no such\n") == {}


def test_a_key_path_with_blanks_is_read_whole() -> None:
    found = parse_access(SSH_CONFIG)
    assert found["k8s-master1"].keys[0] == "/home/a b/dot/machines/k8s-master1/virtualbox/private_key"
    assert found["k8s-master1"].port == 2222
    assert found["k8s-lb"] == Access("192.168.121.7", 22, "vagrant", ())


def test_half_an_answer_is_an_error_that_names_the_machine() -> None:
    with pytest.raises(LabError, match="nothing usable of k8s-lb"):
        parse_access("Host k8s-lb\n  User vagrant\n")


def test_vagrant_is_told_where_everything_of_the_lab_is(
    program: StandIn, adapter: Adapter, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_VERSIONS", "1.36")
    monkeypatch.setenv("VAGRANT_DOTFILE_PATH", "/home/somebody/.vagrant")
    program.answer("status", STATUS)
    assert adapter.status()["k8s-lb"].word == "not_created"
    environment = program.records[0]["env"]
    assert environment["VAGRANT_DOTFILE_PATH"] == str(project.folder / "dot")
    assert environment["VAGRANT_CWD"] == str(vagrantfile().parent)
    assert environment["VAGRANT_DEFAULT_PROVIDER"] == "virtualbox"
    assert environment["LAB_CONFIG"] == str(project.plan)
    assert environment["LAB_PREFIX"] == "thwlab_thw_"
    assert "LAB_VERSIONS" not in environment


def test_what_a_user_may_tell_the_vagrantfile_is_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their file comes on top of ours, their patience in place of it, what is ours is ours."""
    monkeypatch.chdir(tmp_path)
    extra = (("LAB_VAGRANTFILE_MORE", "/ours.rb"), ("LAB_BOOT_TIMEOUT", "900"))
    ours = Project("thw", tmp_path, "libvirt", extra=extra)
    given = {
        "LAB_VAGRANTFILE_MORE": "mine.rb",
        "LAB_BOOT_TIMEOUT": "1200",
        "LAB_PREFIX": "x",
        "LAB_NAMED": "1",
    }
    found = ours.environment(given)
    assert found["LAB_VAGRANTFILE_MORE"] == f"/ours.rb\n{tmp_path}/mine.rb"
    assert (found["LAB_BOOT_TIMEOUT"], found["LAB_PREFIX"]) == ("1200", "thwlab_thw_")
    assert "LAB_NAMED" not in found
    assert ours.environment({})["LAB_BOOT_TIMEOUT"] == "900"
    plain = Project("thw", tmp_path, "virtualbox").environment(given)
    assert plain["LAB_VAGRANTFILE_MORE"] == f"{tmp_path}/mine.rb"
    assert "LAB_BOOT_TIMEOUT" not in Project("thw", tmp_path, "virtualbox").environment({})


@pytest.mark.parametrize(
    ("least", "said", "turns", "seconds"),
    [
        (900, "", 1, 900),
        (900, "", 5, 1800),
        (900, "900", 1, 1200),
        (900, "900", 5, 4800),
        (2400, "900", 1, 2400),
    ],
)
def test_vagrant_up_has_time_for_all_its_own_waiting(
    least: float, said: str, turns: int, seconds: float
) -> None:
    assert f'given("LAB_BOOT_TIMEOUT") || "{DEFAULT_BOOT:.0f}"' in vagrantfile().read_text()
    assert up_timeout(least, {"LAB_BOOT_TIMEOUT": said}, turns) == seconds


def test_the_box_is_passed_on_and_an_empty_field_is_the_vagrantfiles_choice(project: Project) -> None:
    chosen = Project("thw", project.folder, "libvirt", Box(name="lab/debian", sha256="ab12"))
    environment = chosen.environment({})
    assert environment["THWLAB_BOX"] == "lab/debian"
    assert environment["THWLAB_BOX_SHA256"] == "ab12"
    assert "THWLAB_BOX_URL" not in environment


def test_machines_come_up_together_only_where_the_provider_can(program: StandIn, adapter: Adapter) -> None:
    adapter.up(["a", "b"], parallel=False)
    adapter.up(["a"], parallel=True)
    assert program.calls == [
        ["up", "a", "b", "--provider=virtualbox", "--no-provision", "--no-parallel"],
        ["up", "a", "--provider=virtualbox", "--no-provision"],
    ]


def test_python_vagrants_own_calls_go_the_same_way(program: StandIn, adapter: Adapter) -> None:
    program.answer("plugin list", "1,,plugin-name,vagrant-libvirt\n1,vagrant-libvirt,plugin-version,0.11.2\n")
    adapter.halt("k8s-lb")
    assert adapter.plugins() == {"vagrant-libvirt": "0.11.2"}
    assert program.calls[0] == ["halt", "k8s-lb"]


def test_what_vagrant_prints_is_in_the_log_while_it_still_runs(
    program: StandIn, adapter: Adapter, project: Project
) -> None:
    program.answer("up", "==> k8s-lb: Importing base box\n", err="a warning\n", seconds=30)
    begun = time.monotonic()
    with pytest.raises(ProgramFailed):
        adapter.up(["k8s-lb"], parallel=True, timeout=1)
    assert time.monotonic() - begun < 10
    text = project.log.read_text()
    assert "==> k8s-lb: Importing base box\n" in text
    assert "a warning\n" in text
    assert text.startswith("$ ")
    assert "killed at its deadline" in text


def test_a_question_before_there_is_a_lab_makes_no_folder(program: StandIn, tmp_path: Path) -> None:
    """Else an `up` that was refused left one, and the next pytest run took its own lab for somebody's."""
    asked = Adapter(Project("thw", tmp_path / "thw" / "vagrant", "virtualbox"))
    program.answer("--version", "Vagrant 2.3.4\n").answer("box add", err="no space left\n", status=1)
    assert asked.version() == (2, 3, 4)
    with pytest.raises(ProgramFailed, match="no space left") as caught:
        asked.add_box(Box("lab/debian"))
    assert caught.value.remedy == "thwlab doctor", "there is no log to read"
    assert not (tmp_path / "thw").exists()


def test_at_the_deadline_the_whole_group_ends(program: StandIn, adapter: Adapter, tmp_path: Path) -> None:
    pid = tmp_path / "child.pid"
    program.path.write_text(
        f"#!/bin/sh\ntrap '' TERM\nsh -c 'trap \"\" TERM; sleep 60' & echo $! >{pid}\nwait\n"
    )
    with pytest.raises(
        ProgramFailed, match=r"`\S+/vagrant up k8s-lb .*` did not end within \d+s and was killed"
    ):
        adapter.up(["k8s-lb"], parallel=True, timeout=0.5)
    assert is_gone(int(pid.read_text()))


def test_after_ctrl_c_nothing_of_vagrants_runs_on(program: StandIn, adapter: Adapter, tmp_path: Path) -> None:
    pid = tmp_path / "child.pid"
    program.path.write_text(f"#!/bin/sh\nsh -c 'sleep 60' & echo $! >{pid}\nwait\n")
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.7)
    try:
        with pytest.raises(KeyboardInterrupt):
            adapter.up(["k8s-lb"], parallel=True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert is_gone(int(pid.read_text()))


def test_a_daemon_that_vagrant_started_keeps_nobody_waiting(
    program: StandIn, adapter: Adapter, tmp_path: Path
) -> None:
    pid = tmp_path / "daemon.pid"
    program.path.write_text(f"#!/bin/sh\nsetsid sleep 30 & echo $! >{pid}\necho '1,k8s-lb,state,running'\n")
    begun = time.monotonic()
    assert adapter.status()["k8s-lb"].word == "running"
    assert time.monotonic() - begun < 10
    os.kill(int(pid.read_text()), 9)


def test_a_failure_has_the_command_the_time_the_last_lines_and_the_log(
    program: StandIn, adapter: Adapter, project: Project
) -> None:
    program.answer("up", err="".join(f"line {n}\n" for n in range(60)) + "it broke\n", status=1)
    with pytest.raises(ProgramFailed) as caught:
        adapter.up(["k8s-lb"], parallel=True)
    text = str(caught.value)
    assert "vagrant up k8s-lb --provider=virtualbox --no-provision` exited 1 after" in text
    assert "    it broke" in text
    assert "line 59" in text
    assert "line 3\n" not in text
    assert f"remedy: read {project.log}" in text


@pytest.mark.parametrize(
    ("said", "cause", "remedy"),
    [
        (
            "The IP address configured for the host-only network is not within the\nallowed ranges. Please",
            "refuses host-only networks",
            "printf '\\n%s\\n' '* 192.168.56.0/21 192.168.100.0/24' | sudo tee -a /etc/vbox/networks.conf",
        ),
        (
            "The provider 'libvirt' could not be found, but was requested to\nback the machine 'k8s-lb'.",
            "plugin is not installed",
            "vagrant plugin install vagrant-libvirt",
        ),
        (
            "Vagrant has detected that you have a version of VirtualBox installed\nthat is not supported by",
            "older than this VirtualBox",
            "7.1 needs 2.4.2",
        ),
        (
            "VBoxManage: error: VT-x is being used by another hypervisor (VERR_VMX_IN_VMX_ROOT_MODE).",
            "KVM holds the processor",
            "modprobe -r kvm_intel",
        ),
        (
            "VBoxManage.exe: error: VT-x is not available (VERR_VMX_NO_VMX)",
            "switched off",
            "--lab-provider=incus",
        ),
        (
            "Error while creating domain: Error saving the server: Call to virDomainDefineXML failed: "
            "invalid argument: could not find capabilities for domaintype=kvm",
            "which this host has not",
            "--lab-provider=vagrant:libvirt:private",
        ),
        (
            "Could not access KVM kernel module: No such file or directory\n"
            "qemu-system-x86_64: failed to initialize KVM: No such file or directory",
            "which this host has not",
            "modprobe kvm_intel",
        ),
        (
            "The box 'lab/none' could not be found or\ncould not be accessed in the remote catalog.",
            "neither installed nor",
            "THWLAB_BOX_URL",
        ),
        ("A VirtualBox machine with the name 'x' already exists.", "there already", "thwlab down"),
        (
            "Name `thw_x` of domain about to create is already taken. Please try to run\n`vagrant up` again.",
            "there already",
            "virsh list --all",
        ),
        (
            "Vagrant cannot forward the specified ports on this VM, since they\n"
            "The forwarded port to 2222 is already in use on the host machine.",
            "a port of this host",
            "ss -lptn",
        ),
        (
            "Vagrant can't use the requested machine because it is locked! This\nmeans that another",
            "another Vagrant works",
            "pgrep -af vagrant",
        ),
        (
            "The specified host network collides with a non-hostonly network!",
            "in use on this host",
            "another `network: cidr`",
        ),
        (
            "Timed out while waiting for the machine to boot. This means that",
            "never answered by SSH",
            "memory may be short",
        ),
    ],
)
def test_what_vagrant_says_is_explained(
    program: StandIn, adapter: Adapter, said: str, cause: str, remedy: str
) -> None:
    program.answer("up", err=said + "\n", status=1)
    with pytest.raises(ProgramFailed) as caught:
        adapter.up(["k8s-lb"], parallel=True)
    assert f"it means: {cause}" in str(caught.value) or cause in str(caught.value).split("it means:")[1]
    assert remedy in caught.value.remedy
    assert "{" not in caught.value.remedy


def test_no_vagrant_is_said_before_anything_is_tried(
    adapter: Adapter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="vagrant is not installed") as caught:
        adapter.status()
    assert caught.value.remedy == "thwlab doctor"


def test_an_old_vagrant_is_named_with_what_is_needed(program: StandIn, adapter: Adapter) -> None:
    program.answer("--version", "Vagrant 2.2.19\n")
    with pytest.raises(LabError, match=r"Vagrant 2\.2\.19 is too old, 2\.3 or later"):
        adapter.version()
    assert adapter_version(program, adapter, "Vagrant 2.3.4") == (2, 3, 4)
    assert adapter_version(program, adapter, "Vagrant 2.4.10.dev") == (2, 4, 10)


def adapter_version(program: StandIn, adapter: Adapter, text: str) -> tuple[int, ...]:
    program.answer("--version", f"{text}\n")
    return adapter.version()


def test_its_command_line_begins_with_the_labs_namespace(program: StandIn, project: Project) -> None:
    program.answer("status", STATUS)
    Adapter(project, lambda argv: ["env", "INSIDE=1", *argv]).status()
    assert program.records[0]["env"]["INSIDE"] == "1"


def test_a_box_from_a_file_is_added_under_its_name(program: StandIn, adapter: Adapter) -> None:
    adapter.add_box(Box("lab/debian", url="/tmp/a b.box", sha256="ab"))
    assert program.calls == [
        [
            *("box", "add", "--name", "lab/debian", "/tmp/a b.box", "--provider", "virtualbox"),
            *("--checksum", "ab", "--checksum-type", "sha256"),
        ]
    ]


@pytest.mark.parametrize(
    ("box", "there"),
    [
        (Box("debian/bookworm64"), True),
        (Box("debian/bookworm64", version="12.20240905.1"), True),
        (Box("debian/bookworm64", version="12.20240905.1.0"), True),
        (Box("debian/bookworm64", version="12.20230101.1"), False),
        (Box("debian/bookworm64", version=">= 12"), True),
        (Box("lab/mine", url="/x/mine.box", version="3"), True),
        (Box("lab/libvirts"), False),
        (Box("lab/none"), False),
    ],
)
def test_a_box_is_there_for_its_provider_and_in_its_version(
    program: StandIn, adapter: Adapter, box: Box, there: bool
) -> None:
    program.answer("box list", BOXES)
    assert adapter.has_box(box) is there


def test_the_default_box_is_the_vagrantfiles() -> None:
    assert f'given("THWLAB_BOX") || "{DEFAULT_BOX}"' in vagrantfile().read_text()


def test_the_plan_that_vagrant_reads_is_the_effective_one(tmp_path: Path) -> None:
    project = Project("other", tmp_path, "libvirt")
    project.write_plan(load_topology(name="other"))
    assert str(project.addresses()["k8s-lb"]) == "192.168.100.100"
    assert '"name": "other"' in project.plan.read_text()


def test_no_labs_machines_begin_like_anothers(tmp_path: Path) -> None:
    one, other = (Project(name, tmp_path, "libvirt") for name in ("thw", "thw-2"))
    assert not other.domain("k8s-lb").startswith(one.prefix)
    assert one.machine_of(one.domain("k8s-lb")) == "k8s-lb"


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_traceback_of_rubys_does_not_push_out_the_words_that_help() -> None:
    """Vagrant ends with a screen of it for each machine, the cause in front."""
    trace = "\n".join(f"/usr/share/gems/vagrant-2.3.4/lib/warden.rb:{n}:in `call'" for n in range(50))
    ended = carry_out(Call(["printf", "%s", f"the cause\n{trace}\nthe end\n"], 10))
    assert ended.tail == "the cause\nthe end"
    assert "warden.rb:49" in ended.out


def test_a_network_that_cannot_be_made_for_want_of_dnsmasq_is_explained() -> None:
    said = "Call to virNetworkCreate failed: Unable to find 'dnsmasq' binary in $PATH"
    trouble = known(f"Error while activating network: {said}: No such file or directory.")
    assert trouble is not None
    assert "dnsmasq-base" in trouble.remedy


ENDED = """
import sys, threading
from lab import background
from lab.providers.vagrant.process import Call, carry_out
background.start(lambda: carry_out(Call(["sh", "-c", "echo $$ >" + sys.argv[1] + ".part; mv "
    + sys.argv[1] + ".part " + sys.argv[1] + "; sleep 300"], 300)))
sys.stdin.readline()
background.leave(130)
"""


def test_whoever_leaves_ends_what_runs_for_it(tmp_path: Path) -> None:
    """As Ctrl-C in `thwlab up` does, where the work is another thread's."""
    told = tmp_path / "pid"
    argv = [sys.executable, "-c", ENDED, str(told)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        wait_until("its program", lambda: _must(told.exists()), timeout=20)
        pid = int(told.read_text())
        process.communicate(b"\n", timeout=20)
    assert process.returncode == 130
    wait_until("its end", lambda: _must(not Path(f"/proc/{pid}").exists()), timeout=10)


def _must(true: bool) -> None:
    if not true:
        raise NotYet("not yet")
