"""Vagrant's own VirtualBox provider and ours from `up` to `destroy`: Vagrant and SSH are real.

VBoxManage and VBoxHeadless are stand-ins (`fake_virtualbox`), guests an sshd that runs nothing of what it
is asked (`fake_guest`).
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_host import MASTER, NEEDS, Host, plan, pretended, provider, used_home

from lab.machine import Machine, on_each
from lab.providers.vagrant.adapter import parse_access, parse_status
from lab.providers.vagrant.connection import Unreachable
from lab.providers.vagrant.plan import vagrantfile
from lab.providers.vagrant.provider import VagrantProvider

pytestmark = NEEDS
NAMES = ["k8s-master1", "k8s-lb"]
VMS = {name: f"thwlab_thw_{name}" for name in NAMES}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return used_home(tmp_path_factory.mktemp("user"))


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Host]:
    with pretended(tmp_path_factory.mktemp("host"), home) as made:
        yield made


@pytest.fixture(scope="module")
def two(host: Host) -> VagrantProvider:
    """Two machines, up."""
    made = provider(host)
    made.create(plan(*NAMES), NAMES)
    return made


@pytest.fixture
def up(host: Host, two: VagrantProvider) -> dict[str, Machine]:
    """As another process finds them; whatever a test did before, they run."""
    two.create(plan(*NAMES), NAMES)
    host.world.forget_calls()
    return dict(provider(host).attach(plan(*NAMES)))


def clocks_set(host: Host, vm: str) -> int:
    return host.asked(vm).count('["date", "-u", "-s"')


def by_hand(tmp_path: Path) -> tuple[Path, Path]:
    """A checkout, its plan of one machine, in a folder with blanks; nothing of the harness is used."""
    checkout = tmp_path / "my check out ä"
    (checkout / "lab").mkdir(parents=True)
    shutil.copy(vagrantfile(), checkout)
    machine = {"k8s-lb": {"address": "192.168.58.100", "memory": "1536MiB", "cpus": 2}}
    text = {"name": "thw", "network": {"cidr": "192.168.58.0/24"}, "machines": machine}
    (checkout / "lab" / "default.yaml").write_text(json.dumps(text))
    return checkout, checkout / ".vagrant"


def test_a_user_of_vagrant_alone_gets_from_up_to_destroy(tmp_path: Path) -> None:
    """For the first time, from a folder with blanks, without Python: the box, its master, the machine."""
    checkout, dot = by_hand(tmp_path)
    with pretended(tmp_path / "first time", None, plainly=True) as host:

        def vagrant(*argv: str) -> str:
            done = host.vagrant(*argv, VAGRANT_CWD=str(checkout), VAGRANT_DOTFILE_PATH=str(dot))
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        def state() -> str:
            return parse_status(vagrant("status", "--machine-readable"))["k8s-lb"].word

        vagrant("up")
        assert state() == "running"
        (made, *_) = [vm for name, vm in host.world.vms.items() if name == "thw-k8s-lb"]
        (base,) = [vm for name, vm in host.world.vms.items() if name.startswith("tiny_")]
        assert made["linked_to"] == base["uuid"]
        assert made["nics"]["2"] == "hostonly"
        assert host.world.load()["networks"] == {"vboxnet0": "192.168.58.1"}
        assert made["settings"].items() >= {"memory": "1536", "cpus": "2", "rtcuseutc": "on"}.items()
        assert not [call for call in host.world.calls if "sharedfolder" in call], "no folder of the host's"
        asked = host.asked("thw-k8s-lb")
        assert "hostnamectl set-hostname 'k8s-lb'" in asked
        assert "address 192.168.58.100" in asked
        access = parse_access(vagrant("ssh-config"))["k8s-lb"]
        assert access.port == int(made["forwards"]["ssh"].split(",")[3])
        assert Path(access.keys[0]).is_relative_to(dot), "the key that all boxes share was replaced"

        vagrant("snapshot", "save", "clean")
        assert "clean" in vagrant("snapshot", "list")
        vagrant("halt")
        assert "systemctl poweroff" in host.asked("thw-k8s-lb"), "it was asked, not switched off"
        assert host.world.vms["thw-k8s-lb"]["state"] == "poweroff"
        vagrant("snapshot", "restore", "clean")
        assert host.world.vms["thw-k8s-lb"]["state"] == "running"
        vagrant("destroy", "--force")
        assert state() == "not_created"
        assert [name for name in host.world.vms if not name.startswith("tiny_")] == []
        assert [each.name for each in host.vms.iterdir() if not each.name.startswith("tiny_")] == []


def test_the_machines_of_a_lab_are_linked_clones_of_one_box(host: Host, two: VagrantProvider) -> None:
    vms = host.world.vms
    assert {vms[vm]["linked_to"] for vm in VMS.values()} == {vms[MASTER]["uuid"]}
    assert sorted(vms) == sorted([MASTER, *VMS.values()])
    assert two.states() == dict.fromkeys(NAMES, "running")


def test_they_answer_by_ssh_each_for_itself(up: dict[str, Machine]) -> None:
    said = {name: machine.check("cat", "/proc/sys/kernel/random/boot_id") for name, machine in up.items()}
    assert {name: text.split("-", 1)[1].rsplit("-", 1)[0] for name, text in said.items()} == VMS


def test_a_snapshot_is_taken_while_all_are_paused(
    host: Host, two: VagrantProvider, up: dict[str, Machine]
) -> None:
    two.snapshot("clean")
    vms = host.world.vms
    assert {vms[vm]["snapshots"]["clean"]["state"] for vm in VMS.values()} == {"paused"}
    assert two.states() == dict.fromkeys(NAMES, "running")
    assert [sorted(each.machines) for each in two.snapshots()] == [sorted(NAMES)]
    two.forget_snapshot("clean")
    assert two.snapshots() == []


def test_a_restore_has_all_back_and_paused_before_the_first_goes_on(
    host: Host, two: VagrantProvider, up: dict[str, Machine]
) -> None:
    two.snapshot("here")
    host.world.forget_calls()
    set_before = {vm: clocks_set(host, vm) for vm in VMS.values()}
    two.restore("here")
    calls = [" ".join(call) for call in host.world.calls]
    back = [n for n, call in enumerate(calls) if "--start-paused" in call]
    on = [n for n, call in enumerate(calls) if call.endswith("resume")]
    assert len(back) == len(on) == len(NAMES)
    assert max(back) < min(on)
    assert {name: machine.check("echo", "on") for name, machine in up.items()} == dict.fromkeys(NAMES, "on\n")
    assert {vm: clocks_set(host, vm) for vm in set_before} == {vm: n + 1 for vm, n in set_before.items()}


def test_after_a_power_cut_a_machine_is_off_and_another_boot_comes(
    host: Host, up: dict[str, Machine]
) -> None:
    victim = up["k8s-lb"]
    before = victim.check("cat", "/proc/sys/kernel/random/boot_id")
    victim.pull_plug()
    with pytest.raises(Unreachable, match="k8s-lb is stopped"):
        victim.run("true", timeout=10)
    assert "poweroff" in {vm["state"] for vm in host.world.vms.values()}
    victim.boot()
    assert victim.check("cat", "/proc/sys/kernel/random/boot_id") != before


def test_a_paused_machine_is_silent_and_goes_on_with_its_clock_set(
    host: Host, up: dict[str, Machine]
) -> None:
    victim = up["k8s-lb"]
    victim.check("true")
    victim.pause()
    assert victim.run("true", timeout=1.5).timed_out
    set_before = clocks_set(host, VMS["k8s-lb"])
    victim.resume()
    assert victim.check("echo", "on") == "on\n"
    assert clocks_set(host, VMS["k8s-lb"]) == set_before + 1


def test_what_vagrant_itself_shut_down_is_booted_again(
    host: Host, two: VagrantProvider, up: dict[str, Machine]
) -> None:
    two.adapter.halt("k8s-lb")
    assert two.states()["k8s-lb"] == "stopped"
    two.create(plan(*NAMES), NAMES)
    assert two.states() == dict.fromkeys(NAMES, "running")
    on_each(list(up.values()), lambda machine: machine.check("true"))
