"""Power, pauses and snapshots of single VMs: what is asked of VBoxManage and virsh, in which order."""

import time
from pathlib import Path

import pytest
from fake_vms import DOMAIN_XML, World, new_vm
from stand_in import StandIn, on_path

from lab.errors import LabError
from lab.providers.vagrant.hypervisor import Hypervisor, Taken, of_prefix
from lab.providers.vagrant.troubles import ProgramFailed
from lab.providers.vagrant.virsh import Virsh
from lab.providers.vagrant.virtualbox import VirtualBox

VM = "thwlab_thw_k8s-lb"
NET = "thwlab_thw_net"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(tmp_path / "world").install(
        vms={VM: new_vm(), "somebody's own": new_vm("poweroff")}, nets_of_libvirt={NET: "active"}
    )
    monkeypatch.setenv("PATH", on_path(made.bin))
    return made


@pytest.fixture
def vbox(tmp_path: Path, world: World) -> VirtualBox:
    return VirtualBox(tmp_path / "log")


@pytest.fixture
def virsh(tmp_path: Path, world: World) -> Virsh:
    return Virsh(tmp_path / "log")


@pytest.fixture(params=["virtualbox", "libvirt"])
def either(request: pytest.FixtureRequest, tmp_path: Path, world: World) -> Hypervisor:
    return VirtualBox(tmp_path / "log") if request.param == "virtualbox" else Virsh(tmp_path / "log")


def verbs(world: World) -> list[str]:
    """The calls that change something, without the VM's name."""
    asked = ("showvminfo", "list", "domiflist", "net-list", "snapshot-list")
    calls = [" ".join(call[1:]).removeprefix("-q -c qemu:///system ") for call in world.calls]
    return [call.replace(f" {VM}", "") for call in calls if call.split()[0] not in asked]


def test_states_are_read_from_the_listing_in_our_words(vbox: VirtualBox) -> None:
    assert dict(vbox.states()) == {VM: "running", "somebody's own": "stopped"}
    assert vbox.state(VM) == "running"
    assert vbox.state("thwlab_thw_gone") is None


def test_states_of_libvirt_are_the_same_words(tmp_path: Path, world: World) -> None:
    world.change(vms={VM: new_vm("poweroff"), "other": new_vm("paused"), "third": new_vm("in shutdown")})
    assert Virsh().states() == {VM: "stopped", "other": "paused", "third": "in shutdown"}


def test_the_cache_mode_of_a_vms_own_disk_is_libvirts_word(
    virsh: Virsh, vbox: VirtualBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert virsh.disk_cache(VM) == "unsafe"
    assert vbox.disk_cache(VM) == "", "it has no word for it"
    monkeypatch.setattr(virsh, "_virsh", lambda *_: DOMAIN_XML.replace(" cache='unsafe'", ""))
    assert virsh.disk_cache(VM) == "default"
    monkeypatch.setattr(virsh, "_virsh", lambda *_: "<domain/>")
    assert virsh.disk_cache(VM) == "default"


def test_a_vm_that_vanishes_between_two_questions_is_no_error(vbox: VirtualBox, world: World) -> None:
    world.fail(f"showvminfo {VM}", "VBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001)")
    assert dict(vbox.states()) == {"somebody's own": "stopped"}


def test_only_the_labs_own_are_taken_for_it() -> None:
    states = {"thwlab_thw_a": "running", "thwlab_thw-2_a": "running", "thw-a": "running"}
    assert of_prefix(states, "thwlab_thw_") == {"thwlab_thw_a": "running"}


def test_virtualbox_loses_its_links_before_its_power_and_has_them_at_the_next_start(
    vbox: VirtualBox, world: World
) -> None:
    vbox.cut(VM)
    assert verbs(world) == [
        "controlvm setlinkstate1 off",
        "controlvm setlinkstate2 off",
        "controlvm poweroff",
        "modifyvm --cableconnected1 on",
        "modifyvm --cableconnected2 on",
    ]
    assert world.vms[VM]["state"] == "poweroff"
    assert set(world.vms[VM]["cables"].values()) == {"on"}


def test_libvirt_loses_its_links_before_its_power(virsh: Virsh, world: World) -> None:
    virsh.cut(VM)
    assert verbs(world) == [
        "domif-setlink 52:54:00:aa:00:01 down",
        "domif-setlink 52:54:00:aa:00:02 down",
        "destroy",
    ]


def test_pause_resume_and_start_change_the_state(either: Hypervisor, world: World) -> None:
    either.pause(VM)
    assert either.state(VM) == "paused"
    either.resume(VM)
    assert either.state(VM) == "running"
    either.cut(VM)
    assert either.state(VM) == "stopped"
    either.start(VM)
    assert either.state(VM) == "running"


@pytest.mark.parametrize("off", [[NET], [NET, "vagrant-libvirt"]])
def test_networks_that_a_boot_of_this_host_ended_run_again_before_the_vm(
    virsh: Virsh, world: World, off: list[str]
) -> None:
    """Vagrant makes them without autostart: libvirt refused to start the VM, as it refuses to revert it."""
    virsh.pause(VM)
    virsh.take(VM, "clean")
    for act in (lambda: virsh.start(VM), lambda: virsh.revert(VM, "clean")):
        virsh.cut(VM)
        world.change(nets_of_libvirt=dict.fromkeys(off, "inactive"))
        act()
        assert world.load()["nets_of_libvirt"] == dict.fromkeys(off, "active")
        world.forget_calls()
    act()
    assert not [call for call in world.calls if "net-start" in call]


def test_a_network_that_another_machine_started_meanwhile_is_no_trouble(
    virsh: Virsh, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    virsh.cut(VM)
    listed = iter([[], [NET, "vagrant-libvirt"], [NET, "vagrant-libvirt"]])
    monkeypatch.setattr(virsh, "_names", lambda *_: next(listed))
    virsh.start(VM)
    assert virsh.state(VM) == "running"


def test_libvirts_networks_are_known_by_their_interfaces(either: Hypervisor, world: World) -> None:
    world.change(nets_of_libvirt={NET: "active", "mine": "active", "theirs": "inactive"})
    known = {"virbr0": "vagrant-libvirt", "virbr1": NET, "virbr2": "mine"}
    assert either.bridges() == (known if either.name == "libvirt" else {})


def test_a_network_that_is_gone_is_named(virsh: Virsh, world: World) -> None:
    virsh.cut(VM)
    world.change(nets_of_libvirt={})
    with pytest.raises(ProgramFailed, match=f"net-start {NET}"):
        virsh.start(VM)


def test_a_snapshot_is_listed_with_its_time_in_utc(either: Hypervisor) -> None:
    assert either.snapshots(VM) == []
    either.pause(VM)
    either.take(VM, "clean")
    found = either.snapshots(VM)
    assert [each.name for each in found] == ["clean"]
    assert found[0].at.endswith("Z")
    assert len(found[0].at) == 20
    assert either.state(VM) == "paused"
    either.forget(VM, "clean")
    assert either.snapshots(VM) == []


def test_libvirts_time_is_turned_into_utc(virsh: Virsh) -> None:
    virsh.take(VM, "clean")
    assert virsh.snapshots(VM) == [Taken("clean", "2026-08-01T10:00:00Z")]


def test_a_tree_of_snapshots_is_listed_whole(vbox: VirtualBox, world: World) -> None:
    for name in ("one", "two", "three"):
        vbox.take(VM, name)
    assert {each.name for each in vbox.snapshots(VM)} == {"one", "two", "three"}


@pytest.mark.parametrize("before", ["running", "paused", "poweroff"])
def test_going_back_leaves_it_paused_whatever_it_did(either: Hypervisor, world: World, before: str) -> None:
    either.take(VM, "clean")
    vms = world.vms
    vms[VM]["state"] = before
    world.change(vms=vms)
    either.revert(VM, "clean")
    assert either.state(VM) == "paused"


def test_virtualbox_goes_back_only_when_off_and_starts_paused(vbox: VirtualBox, world: World) -> None:
    vbox.take(VM, "clean")
    world.forget_calls()
    vbox.revert(VM, "clean")
    assert verbs(world) == [
        "controlvm poweroff",
        "snapshot restore clean",
        "--startvm --start-paused --vrde off",
    ]


def test_a_vm_that_does_not_come_back_is_said_at_once(vbox: VirtualBox, world: World) -> None:
    vbox.take(VM, "clean")
    world.fail("VBoxHeadless --startvm")
    with pytest.raises(LabError, match=r"VBoxHeadless --startvm \S+ --start-paused --vrde off` exited 1"):
        vbox.revert(VM, "clean")


def test_what_is_saved_is_told_from_what_is_off_and_goes_on(either: Hypervisor, world: World) -> None:
    world.change(vms={VM: new_vm("saved"), "off": new_vm("poweroff")})
    assert dict(either.states()) == {VM: "saved", "off": "stopped"}
    either.start(VM)
    assert either.state(VM) == "running"


@pytest.mark.parametrize("state", ["running", "paused", "poweroff", "saved"])
def test_removing_works_whatever_it_does(either: Hypervisor, world: World, state: str) -> None:
    either.take(VM, "clean")
    vms = world.vms
    vms[VM]["state"] = state
    world.change(vms=vms)
    either.remove(VM)
    assert VM not in world.vms
    assert "somebody's own" in world.vms


def test_a_saved_vm_is_discarded_before_it_is_removed(vbox: VirtualBox, world: World) -> None:
    world.change(vms={VM: new_vm("saved")})
    vbox.remove(VM)
    assert verbs(world) == ["discardstate", "unregistervm --delete"]


def test_only_the_machines_own_disk_goes_with_it(virsh: Virsh, world: World) -> None:
    virsh.remove(VM)
    assert verbs(world) == ["destroy", "undefine --managed-save --snapshots-metadata --storage vda"]


def test_a_refusal_names_the_command_the_time_and_what_was_said(vbox: VirtualBox, world: World) -> None:
    vms = world.vms
    vms[VM]["state"] = "poweroff"
    world.change(vms=vms)
    with pytest.raises(ProgramFailed) as caught:
        vbox.pause(VM)
    assert f"`VBoxManage controlvm {VM} pause` exited 1 after" in str(caught.value)
    assert "Invalid machine state: PoweredOff" in str(caught.value)


def test_kvm_in_the_way_is_explained(vbox: VirtualBox, world: World) -> None:
    world.fail(
        "startvm", "VBoxManage: error: VT-x is being used by another hypervisor (VERR_VMX_IN_VMX_ROOT_MODE)"
    )
    with pytest.raises(ProgramFailed, match="KVM holds the processor"):
        vbox.start(VM)


def test_a_libvirtd_that_does_not_answer_is_explained(virsh: Virsh, world: World) -> None:
    world.fail(
        "list",
        "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/x/libvirt-sock'",
    )
    with pytest.raises(ProgramFailed, match="libvirtd does not answer"):
        virsh.states()


def test_a_program_that_hangs_ends_at_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.providers.vagrant.virtualbox.ACT", 0.5)
    monkeypatch.setenv("PATH", on_path(tmp_path))
    StandIn(tmp_path / "VBoxManage").answer("startvm", seconds=30)
    begun = time.monotonic()
    with pytest.raises(ProgramFailed, match="did not end within"):
        VirtualBox().start(VM)
    assert time.monotonic() - begun < 8


def test_a_program_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="`VBoxManage list vms` cannot be run") as caught:
        VirtualBox().states()
    assert caught.value.remedy == "thwlab doctor"


def test_every_word_is_in_english(
    vbox: VirtualBox, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("PATH", on_path(tmp_path / "bin"))
    program = StandIn(tmp_path / "bin" / "VBoxManage").answer("list vms", "")
    vbox.states()
    assert program.records[0]["env"]["LC_ALL"] == "C"


def test_libvirt_is_asked_inside_the_labs_namespace(world: World) -> None:
    there = Virsh(inside=lambda argv: ["env", "INSIDE=1", *argv], network=Path("/run/netns/x"))
    there.states()
    assert there.inside(["ssh"]) == ["env", "INSIDE=1", "ssh"]
    assert there.network == Path("/run/netns/x")


def test_host_only_interfaces_are_read_with_their_addresses(vbox: VirtualBox) -> None:
    assert vbox.networks() == {"vboxnet0": "192.168.100.1"}


def test_host_only_networks_of_macos_are_read_beside_the_interfaces(vbox: VirtualBox, world: World) -> None:
    world.change(nets={"vagrantnet-vbox1": "192.168.61.0", "HostNetwork": "192.168.56.1"})
    assert vbox.networks() == {
        "vboxnet0": "192.168.100.1",
        "vagrantnet-vbox1": "192.168.61.1",
        "HostNetwork": "192.168.56.1",
    }


def test_each_kind_of_network_is_removed_by_its_own_command(vbox: VirtualBox, world: World) -> None:
    world.change(nets={"vagrantnet-vbox1": "192.168.61.0"})
    vbox.remove_network("vagrantnet-vbox1")
    assert vbox.networks() == {"vboxnet0": "192.168.100.1"}
    vbox.remove_network("vboxnet0")
    assert vbox.networks() == {}


def test_a_listing_that_fails_otherwise_is_no_empty_one(vbox: VirtualBox, world: World) -> None:
    world.fail("list hostonlynets", "VBoxManage: error: Failed to create the VirtualBox object!")
    with pytest.raises(ProgramFailed, match="Failed to create"):
        vbox.networks()


def test_the_version_is_read_without_its_revision(vbox: VirtualBox, world: World) -> None:
    assert vbox.version() == "7.0.6"
    world.change(virtualbox="WARNING: The vboxdrv kernel module is not loaded.\n7.1.4")
    assert vbox.version() == "7.1.4"


@pytest.mark.parametrize("act", ["cut", "revert", "remove"])
def test_a_vm_that_is_locked_for_a_moment_after_its_end_is_waited_for(
    vbox: VirtualBox, world: World, act: str
) -> None:
    """VirtualBox refuses for a moment what comes right after the power was taken."""
    vbox.take(VM, "clean")
    world.change(locks=2)
    {"cut": vbox.cut, "revert": lambda vm: vbox.revert(vm, "clean"), "remove": vbox.remove}[act](VM)
    assert vbox.state(VM) == {"cut": "stopped", "revert": "paused", "remove": None}[act]


def test_a_vm_whose_own_start_finds_it_locked_is_started_again(vbox: VirtualBox, world: World) -> None:
    vbox.take(VM, "clean")
    world.change(locks_after_restore=1)
    vbox.revert(VM, "clean")
    assert vbox.state(VM) == "paused"
    assert len([call for call in world.calls if call[0] == "VBoxHeadless"]) == 2


def test_a_lock_that_stays_is_an_error_with_virtualboxs_words(
    vbox: VirtualBox, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.providers.vagrant.virtualbox.ACT", 0.5)
    world.change(vms={VM: {**new_vm("poweroff"), "locked": 10_000}})
    with pytest.raises(LabError, match=r"VirtualBox to let go of thwlab_thw_k8s-lb .*while it is locked"):
        vbox.remove(VM)


def test_cables_that_an_interrupted_cut_left_out_are_in_after_a_start(vbox: VirtualBox, world: World) -> None:
    world.change(vms={VM: {**new_vm("poweroff"), "cables": {"1": "off", "2": "on"}}})
    vbox.start(VM)
    assert world.vms[VM]["cables"] == {"1": "on", "2": "on"}


def test_a_question_makes_no_folder_of_a_lab_that_is_not_there(tmp_path: Path, world: World) -> None:
    """Else a lab would be there as soon as somebody asked whether it is."""
    log = tmp_path / "state" / "thw" / "vagrant" / "vagrant.log"
    VirtualBox(log).states()
    assert not log.parent.exists()
    log.parent.mkdir(parents=True)
    VirtualBox(log).states()
    assert "VBoxManage list vms" in log.read_text()


def test_a_running_vm_without_a_link_is_told_from_others(either: Hypervisor, world: World) -> None:
    """As it is where a power cut was interrupted between the link and the power."""
    assert not either.is_unplugged(VM)
    vms = world.vms
    numbers = ("1", "2") if isinstance(either, VirtualBox) else ("52:54:00:aa:00:01", "52:54:00:aa:00:02")
    vms[VM]["cables"] = dict.fromkeys(numbers, "off" if isinstance(either, VirtualBox) else "down")
    world.change(vms=vms)
    assert either.is_unplugged(VM)
    either.cut(VM)
    either.start(VM)
    assert not either.is_unplugged(VM)
