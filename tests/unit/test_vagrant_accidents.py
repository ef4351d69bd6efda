"""What goes wrong with VMs of VirtualBox's: a clear error, nothing left behind, and the next run is green.

Vagrant and SSH are real, VirtualBox is a stand-in: see `test_vagrant_virtualbox`.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_host import MASTER, NEEDS, Host, plan, pretended, provider, used_home
from stand_in import on_path

from lab.errors import LabError
from lab.plan import load_topology
from lab.providers.vagrant.connection import Unreachable
from lab.wait import NotYet, wait_until

pytestmark = NEEDS
ONE = "k8s-lb"
VM = f"thwlab_thw_{ONE}"
TWO = ["k8s-master1", "k8s-lb"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return used_home(tmp_path_factory.mktemp("user"))


@pytest.fixture
def host(tmp_path: Path, home: Path) -> Iterator[Host]:
    with pretended(tmp_path, home) as made:
        yield made


def green(host: Host, *names: str) -> None:
    """All of it once more: up, every machine answers, down, and nothing is left but the box's own VM."""
    made = provider(host)
    made.create(plan(*names), names)
    for machine in made.attach(plan(*names)).values():
        assert machine.check("echo", "here") == "here\n"
    assert sorted(made.states()) == sorted(names)
    made.destroy()
    nothing_left(host)


def nothing_left(host: Host) -> None:
    assert list(host.world.vms) == [MASTER]
    assert host.world.load()["networks"] == {}
    assert not host.vms.exists() or [each.name for each in host.vms.iterdir()] == []
    assert not provider(host).is_there()
    assert list((host.folder / "my lab's ä" / "thw").iterdir()) == []


def test_one_that_does_not_start_is_named_with_the_cause(host: Host) -> None:
    """The second; the first is whole by Vagrant's lights, but nobody has asked it yet."""
    broken = f"thwlab_thw_{TWO[1]}"
    host.world.change(breaks_at_start={broken: "VBoxManage: error: Failed to start (VERR_NO_MEMORY)"})
    made = provider(host)
    with pytest.raises(LabError, match="this host has not the memory for one more VM") as caught:
        made.create(plan(*TWO), TWO)
    assert f"{TWO[1]} did not come up: it is stopped" in str(caught.value)
    assert "less `memory` in the plan" in caught.value.remedy
    assert made.states() == {}
    host.world.change(breaks_at_start={})
    green(host, *TWO)


def test_one_that_never_answers_is_not_taken_for_whole(host: Host) -> None:
    host.world.change(mute=[VM])
    made = provider(host, boot_timeout=3)
    with pytest.raises(LabError, match="the VM was started and never answered by SSH") as caught:
        made.create(plan(ONE), [ONE])
    assert "look at its console" in caught.value.remedy
    assert f"{ONE} did not come up: it is on" in str(caught.value)
    assert made.states() == {}, "it is removed at once"
    host.world.change(mute=[])
    green(host, ONE)


def test_a_vm_that_was_destroyed_by_hand_is_made_anew(host: Host) -> None:
    made = provider(host)
    made.create(plan(ONE), [ONE])
    for words in (["controlvm", VM, "poweroff"], ["unregistervm", VM, "--delete"]):
        subprocess.run([host.bin / "VBoxManage", *words], check=True, timeout=20, capture_output=True)
    assert not provider(host).attach(plan(ONE))
    green(host, ONE)


def test_another_host_key_is_no_silent_surprise(host: Host) -> None:
    made = provider(host)
    made.create(plan(ONE), [ONE])
    host.server.stop()
    host.server.new_host_key()
    host.server.start()
    machine = provider(host).attach(plan(ONE))[ONE]
    machine.pull_plug()
    begun = time.monotonic()
    with pytest.raises(Unreachable, match="another SSH host key than when it was made") as caught:
        machine.boot()
    assert "thwlab down, then thwlab up" in caught.value.remedy
    assert time.monotonic() - begun < 60, "no waiting helps, so there is none"
    made.destroy()
    nothing_left(host)


def test_what_a_stale_dot_vagrant_knows_is_forgotten(host: Host) -> None:
    """Ids of VMs that are no more, as after the host was installed anew."""
    made = provider(host)
    made.project.write_plan(plan(ONE))
    known = made.project.data / "machines" / ONE / "virtualbox"
    known.mkdir(parents=True)
    (known / "id").write_text("0b1c2d3e-0000-4000-8000-000000000000")
    (known / "creator_uid").write_text(str(os.getuid()))
    (known / "action_set_name").write_text("1")
    green(host, ONE)


def test_a_folder_that_an_unregistered_vm_left_is_named(host: Host) -> None:
    """VirtualBox refuses the name though no VM has it; only a person may remove somebody's disk."""
    left = host.vms / VM
    left.mkdir(parents=True)
    (left / "disk.vmdk").touch()
    made = provider(host)
    with pytest.raises(LabError, match="a folder of that name is left") as caught:
        made.create(plan(ONE), [ONE])
    assert str(left) in str(caught.value)
    assert "remove the folder that VirtualBox names" in caught.value.remedy
    made.destroy()
    (left / "disk.vmdk").unlink()
    left.rmdir()
    nothing_left(host)


def test_a_network_that_virtualbox_refuses_is_said_with_the_line(host: Host) -> None:
    if Path("/etc/vbox/networks.conf").exists():
        pytest.skip("this host has a networks.conf")
    made = provider(host)
    with pytest.raises(LabError, match=r"refuses host-only networks outside 192\.168\.56\.0/21") as caught:
        made.create(load_topology(), [ONE])
    line = "printf '\\n%s\\n' '* 192.168.56.0/21 192.168.100.0/24' | sudo tee -a /etc/vbox/networks.conf"
    assert line in caught.value.remedy
    made.destroy()
    nothing_left(host)


def test_ctrl_c_while_a_machine_boots_leaves_no_vagrant_and_the_next_run_is_green(host: Host) -> None:
    host.world.change(hang={"startvm": 60})
    interrupted_once(called(host, "startvm"), lambda: provider(host).create(plan(ONE), [ONE]))
    assert not vagrants_of(host)
    assert not provider(host).attach(plan(ONE))
    host.world.change(hang={})
    green(host, ONE)


def test_ctrl_c_before_a_clone_has_its_name_leaves_nothing_that_nobody_knows(host: Host) -> None:
    """Only Vagrant's own note says whose it is; it is enough, even where Vagrant is gone."""
    host.world.change(hang={"macaddress1": 60})
    interrupted_once(called(host, "macaddress1"), lambda: provider(host).create(plan(ONE), [ONE]))
    host.world.change(hang={})
    assert not vagrants_of(host)
    assert [name for name in host.world.vms if name.startswith("temp_clone_")]
    # A `monkeypatch` of the test's own is undone after `host`, to what `host` had set.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", on_path(host.bin, ["/nowhere"]))
        provider(host).destroy()
    nothing_left(host)


def called(host: Host, words: str) -> Callable[[], None]:
    def check() -> None:
        if not any(words in " ".join(call) for call in host.world.calls):
            raise NotYet(f"no {words} yet")

    return check


def interrupted_once(reached: Callable[[], None], work: Callable[[], object]) -> None:
    """Do the work, with a Ctrl-C as soon as `reached` says so."""

    def press() -> None:
        wait_until("the moment", reached, timeout=60, every=0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    presser = threading.Thread(target=press)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
    finally:
        presser.join()
        signal.signal(signal.SIGINT, before)


def vagrants_of(host: Host) -> list[str]:
    """Processes of Vagrant's that know the host's folder."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"VAGRANT_HOME={host.folder}".encode() in environ.read_bytes():
                found.append((environ.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return [line for line in found if "vagrant" in line and "pytest" not in line]
