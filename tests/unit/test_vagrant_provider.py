"""The provider over pretended VMs: Vagrant, VBoxManage and virsh stand in, their guest is a real sshd."""

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fake_lab import until
from fake_vms import World, answer, new_vm
from sshd import Server, needs_sshd, serving
from stand_in import on_path

from lab.background import start
from lab.errors import CommandTimedOut, LabError, WaitExpired
from lab.machine import Machine, Result
from lab.plan import load_topology
from lab.providers.base import Capability
from lab.providers.vagrant import adapter, host, hypervisor, needs, obstacles, speed
from lab.providers.vagrant import machine as machines
from lab.providers.vagrant import provider as provider_module
from lab.providers.vagrant.connection import Connection, Silent, Unreachable
from lab.providers.vagrant.hypervisor import Hypervisor
from lab.providers.vagrant.libvirt.kvm import Kvm
from lab.providers.vagrant.machine import VagrantMachine
from lab.providers.vagrant.plan import Box, Project
from lab.providers.vagrant.process import Call, Ended
from lab.providers.vagrant.provider import VagrantProvider
from lab.providers.vagrant.ssh import execute
from lab.providers.vagrant.unmade import NotMade
from lab.providers.vagrant.virsh import Virsh
from lab.providers.vagrant.virtualbox import VirtualBox
from lab.topology import Topology
from lab.wait import MOST, at_most, stretch

NAMES = ["k8s-master1", "k8s-lb"]
VMS = [f"thwlab_thw_{name}" for name in NAMES]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Its programs answer in this process: test_vagrant_hypervisors.py has them as programs."""
    nobody = {"host": "127.0.0.1", "port": 1, "user": "x", "key": "/k"}
    made = World(tmp_path / "world").install(networks={}, ssh=nobody)
    monkeypatch.setenv("PATH", on_path(made.bin))

    def here(call: Call) -> Ended:
        argv = [Path(call.argv[0]).name, *call.argv[1:]]
        status, out, err = answer(made, argv, call.env or {})
        return Ended(status, out, out + err, 0.0)

    for module in (adapter, hypervisor, host):
        monkeypatch.setattr(module, "carry_out", here)
    return made


@pytest.fixture
def topology() -> Topology:
    plan = load_topology()
    return replace(plan, nodes=tuple(node for node in plan.nodes if node.name in NAMES))


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Guests answer as long as their VM runs; the names of those whose clock was set."""
    told: list[str] = []

    def guest_says(connection: Connection, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Result:
        if world.vms[f"thwlab_thw_{connection.name}"]["state"] != "running":
            raise Unreachable(f"{connection.where}: connection refused")
        if connection.name == world.load().get("breaks"):
            return Result(None, silence="it was asked, and said nothing")
        if argv[:3] == ("date", "-u", "-s"):
            told.append(connection.name)
        return Result(0, {"stat": b"cgroup2fs\n", "python3": b"0.5\n"}.get(argv[0], b"boot\n"))

    monkeypatch.setattr(machines, "execute", guest_says)
    return told


@pytest.fixture
def guest(
    tmp_path: Path, world: World, clock: list[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A real sshd for all guests; it is this host, so its clock stays and it has no planned address."""

    def really(connection: Connection, argv: tuple[str, ...], *, stdin: bytes, timeout: float) -> Result:
        inner = ("true",) if argv[:2] == ("date", "-u") else argv
        inner = ("cat", machines.BOOT_ID) if "list-jobs" in " ".join(argv) else inner
        return execute(connection, inner, stdin=stdin, timeout=timeout)

    with serving(tmp_path / "guest") as running:
        access = running.access
        ssh = {"host": access.host, "port": access.port, "user": access.user, "key": access.keys[0]}
        world.change(ssh=ssh)
        monkeypatch.setattr(machines, "execute", really)
        yield running


Maker = Callable[[], VagrantProvider]


@pytest.fixture(params=["virtualbox", "libvirt"])
def make(request: pytest.FixtureRequest, tmp_path: Path, world: World, clock: list[str]) -> Maker:
    """A provider as each new process makes one."""

    def provider() -> VagrantProvider:
        log = tmp_path / "a state" / "thw" / "hypervisor.log"
        asked: Hypervisor = VirtualBox(log) if request.param == "virtualbox" else Virsh(log)
        return VagrantProvider("thw", tmp_path / "a state" / "thw", asked)

    return provider


@pytest.fixture
def provider(make: Maker, topology: Topology) -> VagrantProvider:
    """Two machines, up."""
    made = make()
    made.create(topology, NAMES)
    return made


def logins(guest: Server) -> int:
    return (guest.folder / "log").read_text().count("Accepted publickey")


def ups(world: World) -> list[list[str]]:
    return [call[2:] for call in world.calls if call[:2] == ["vagrant", "up"]]


def set_state(world: World, name: str, state: str) -> None:
    vms = world.vms
    vms[f"thwlab_thw_{name}"]["state"] = state
    world.change(vms=vms)


@needs_sshd
def test_machines_are_created_and_answer_by_ssh_also_after_a_restore(
    guest: Server, make: Maker, topology: Topology
) -> None:
    provider = make()
    provider.create(topology, NAMES)
    found = make().attach(topology)
    assert found["k8s-lb"].check("echo", "here") == "here\n"
    provider.snapshot("clean")
    before = logins(guest)
    provider.restore("clean")
    assert logins(guest) == before + len(NAMES), "connections of before would hang, the guest forgot them"
    assert provider.attach(topology)["k8s-lb"].check("echo", "on") == "on\n"


@needs_sshd
def test_a_machine_that_boots_slowly_is_waited_for(guest: Server, make: Maker, topology: Topology) -> None:
    guest.stop()
    threading.Timer(1.0, guest.start).start()
    make().create(topology, ["k8s-lb"])


def test_machines_that_were_created_are_found_by_others(
    provider: VagrantProvider, make: Maker, topology: Topology
) -> None:
    assert sorted(make().attach(topology)) == sorted(NAMES)
    assert make().states() == dict.fromkeys(NAMES, "running")
    assert make().is_there()


def test_how_slow_they_are_is_measured_once_and_known_to_all(
    provider: VagrantProvider, make: Maker, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 1.0 <= make().slowness <= MOST
    record = provider.project.folder / "speed.json"
    before = record.read_text()
    provider.create(topology, NAMES)
    assert record.read_text() == before


@pytest.mark.parametrize(
    ("guest", "slowness", "slow"),
    [(0.01, 1.0, False), (0.015, 1.5, False), (0.15, 15.0, True), (9.0, MOST, True)],
)
def test_slowness_is_how_many_times_longer_the_guest_took(
    make: Maker, guest: float, slowness: float, slow: bool
) -> None:
    made = make()
    assert (made.slowness, made.is_slow, made.is_measured) == (1.0, False, False), "nothing was measured yet"
    made.project.folder.mkdir(parents=True)
    speed.write(speed.Speed(guest, host=0.01), made.project.folder / "speed.json")
    assert (made.slowness, made.is_slow, made.is_measured) == (slowness, slow, True)


def test_what_machines_run_on_is_asked_once_however_many_stages_begin_at_once(
    provider: VagrantProvider, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would cost the machine a command, and this host two of its hypervisor's program."""
    asked: list[str] = []
    answers = provider_module.cgroup_of

    def slowly(machine: Machine) -> int | None:
        asked.append(machine.name)
        until(lambda: len(threading.enumerate()) > 4)
        return answers(machine)

    monkeypatch.setattr(provider_module, "cgroup_of", slowly)
    world.forget_calls()
    stages = [start(lambda: provider.platform, f"stage {n}") for n in range(5)]
    assert {stage.result(10).cgroup for stage in stages} == {2}
    assert len(asked) == 1
    assert len([call for call in world.calls if "list" in call]) == 1


def test_machines_that_are_new_are_asked_for_no_more_than_whether_they_run(
    make: Maker, world: World, topology: Topology
) -> None:
    """A cut that was interrupted can only be one of a machine that was there before."""
    provider = make()
    provider.create(topology, NAMES)
    calls = [call for call in world.calls if call[:2] != ["vagrant", "box"]]
    after_up = calls[calls.index(["vagrant", "up", *ups(world)[0]]) + 1 :]
    assert [call[1] for call in after_up if call[0] == "vagrant"] == ["ssh-config"]
    assert len([call for call in after_up if "list" in call]) == 1
    assert not [call for call in after_up if {"domiflist", "domif-getlink"} & {*call}]


def test_creating_again_changes_nothing(provider: VagrantProvider, world: World, topology: Topology) -> None:
    world.forget_calls()
    provider.create(topology, NAMES)
    assert ups(world) == []
    assert not [call for call in world.calls if "destroy" in call or "startvm" in call]


def test_more_machines_are_added_beside_those_that_run(make: Maker, world: World, topology: Topology) -> None:
    provider = make()
    provider.create(topology, ["k8s-lb"])
    provider.create(topology, NAMES)
    assert [call[0] for call in ups(world)] == ["k8s-lb", "k8s-master1"]


def test_only_libvirts_come_up_at_once(provider: VagrantProvider, world: World) -> None:
    assert ("--no-parallel" in ups(world)[0]) is (provider.hypervisor.name == "virtualbox")


def test_what_is_off_is_switched_on_and_what_is_paused_goes_on(
    provider: VagrantProvider, world: World, topology: Topology, clock: list[str]
) -> None:
    set_state(world, "k8s-lb", "poweroff")
    set_state(world, "k8s-master1", "paused")
    provider.create(topology, NAMES)
    assert provider.states() == dict.fromkeys(NAMES, "running")
    assert clock == ["k8s-master1"]
    assert len(ups(world)) == 1


def test_what_was_saved_goes_on_and_has_its_clock_set(
    provider: VagrantProvider, world: World, topology: Topology, clock: list[str]
) -> None:
    """It stood still, as what is paused, and has no reason of its own to look at the time."""
    set_state(world, "k8s-lb", "saved")
    set_state(world, "k8s-master1", "poweroff")
    assert provider.states() == {"k8s-master1": "stopped", "k8s-lb": "saved"}
    provider.create(topology, NAMES)
    assert provider.states() == dict.fromkeys(NAMES, "running")
    assert clock == ["k8s-lb"], "who boots reads the hardware's clock"


def test_a_power_cut_takes_nothing_from_what_is_saved(
    provider: VagrantProvider, world: World, topology: Topology
) -> None:
    set_state(world, "k8s-lb", "saved")
    provider.attach(topology)["k8s-lb"].pull_plug()
    assert provider.states()["k8s-lb"] == "saved"


def test_a_machine_that_fails_to_come_up_is_made_anew_the_next_time(
    make: Maker, world: World, topology: Topology
) -> None:
    world.change(breaks="k8s-lb")
    with pytest.raises(LabError, match="never answered by SSH"):
        make().create(topology, NAMES)
    assert not make().attach(topology)
    world.change(breaks="")
    provider = make()
    provider.create(topology, NAMES)
    assert sorted(provider.attach(topology)) == sorted(NAMES)
    assert sorted(world.vms) == sorted(VMS)


def test_one_of_five_that_fails_is_named_and_nothing_of_the_five_is_left(make: Maker, world: World) -> None:
    plan = load_topology()
    five = [node.name for node in plan.nodes]
    world.change(breaks=five[2])
    with pytest.raises(LabError, match="never answered by SSH") as caught:
        make().create(plan, five)
    said = [line for line in str(caught.value).splitlines() if " did not come up: " in line]
    assert said == [
        f"{five[2]} did not come up: it is on: no answer by SSH within 10s",
        *(f"{name} did not come up: it was not made" for name in five[3:]),
    ], "the first two answer"
    assert caught.value.remedy.startswith("look at its console")
    assert str(caught.value).count("remedy:") == 1
    assert world.vms == {}, "their memory is free again"
    assert not make().attach(plan)
    world.change(breaks="")
    make().create(plan, five)
    assert sorted(make().attach(plan)) == sorted(five)
    make().destroy()
    assert world.vms == {}
    assert not make().is_there()


def test_those_that_were_whole_stay_when_another_fails(
    make: Maker, world: World, topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is only found by asking it, after Vagrant was content; its console is named."""
    make().create(topology, ["k8s-lb"])
    console = tmp_path / "console"
    console.write_text("Booting\n\nKernel panic - not syncing\n")
    monkeypatch.setattr(Hypervisor, "console", lambda _, name: console if name == "k8s-master1" else None)
    answers = machines.execute

    def has_no_address(connection: Connection, argv: tuple[str, ...], **given: Any) -> Result:
        return Result(1) if connection.name == "k8s-master1" else answers(connection, argv, **given)

    monkeypatch.setattr(machines, "execute", has_no_address)
    with at_most(0.3), pytest.raises(NotMade, match="gave up on k8s-master1 to boot after") as caught:
        make().create(topology, NAMES)
    assert "k8s-master1 did not come up: it is on: no 192.168.100.11 on any" in str(caught.value)
    assert f"its console is in {console} and ends with:\n  Booting\n  Kernel panic" in str(caught.value)
    assert make().states() == {"k8s-lb": "running"}


def test_what_cannot_be_removed_does_not_hide_why_it_did_not_come_up(
    make: Maker, world: World, topology: Topology, caplog: pytest.LogCaptureFixture
) -> None:
    world.change(breaks="k8s-lb")
    for words in ("vagrant destroy", "unregistervm", "undefine"):
        world.fail(words, "it is locked")
    with at_most(1), pytest.raises(LabError, match="never answered by SSH"):
        make().create(topology, NAMES)
    assert "what was made of them is left" in caplog.text


def test_a_defect_of_ours_is_no_machine_that_did_not_come_up(
    make: Maker, world: World, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(machine: VagrantMachine, **_: object) -> None:
        raise TypeError(machine.name)

    monkeypatch.setattr(VagrantMachine, "await_boot", broken)
    with pytest.raises(ExceptionGroup, match="2 of 2 machines failed"):
        make().create(topology, NAMES)


def test_a_vm_of_a_killed_run_that_vagrant_forgot_is_removed_and_made_anew(
    make: Maker, world: World, topology: Topology
) -> None:
    world.change(vms={VMS[1]: new_vm("poweroff")})
    provider = make()
    provider.project.write_plan(topology)
    provider.create(topology, NAMES)
    assert provider.states() == dict.fromkeys(NAMES, "running")


@pytest.mark.usefixtures("around")
@pytest.mark.parametrize("state", ["running", "paused", "poweroff"])
def test_vms_of_this_name_that_nobody_here_began_are_left_alone(
    make: Maker, world: World, topology: Topology, state: str
) -> None:
    """Another user's, or of another state folder: they were taken for half-made ones and destroyed."""
    theirs = {VMS[1]: new_vm(state)}
    world.change(vms=theirs)
    provider = make()
    (found,) = provider.preflight(topology)
    assert found.what.startswith(f"a lab of this name: {VMS[1]} (")
    assert "--lab-name" in found.remedy
    with pytest.raises(LabError, match="begun by another user or with another THWLAB_STATE") as caught:
        provider.create(topology, NAMES)
    assert "thwlab --name thw down" in caught.value.remedy
    assert world.vms == theirs
    assert not provider.project.folder.exists()


def test_a_machine_that_was_destroyed_by_hand_is_made_anew(
    provider: VagrantProvider, world: World, topology: Topology
) -> None:
    vms = world.vms
    del vms[VMS[1]]
    world.change(vms=vms)
    assert list(provider.attach(topology)) == ["k8s-master1"]
    provider.create(topology, NAMES)
    assert sorted(provider.attach(topology)) == sorted(NAMES)
    assert ups(world)[-1][0] == "k8s-lb"


def test_down_removes_everything_of_the_lab_and_nothing_else(provider: VagrantProvider, world: World) -> None:
    others = {"thwlab_thw-2_k8s-lb": new_vm(), "thw-k8s-lb": new_vm(), "mine": new_vm("poweroff")}
    world.change(vms={**world.vms, **others})
    provider.destroy()
    assert set(world.vms) == set(others)
    assert not provider.project.folder.exists()
    assert not provider.is_there()
    provider.destroy()


def test_down_removes_the_network_that_the_lab_brought_and_no_other(
    make: Maker, world: World, topology: Topology
) -> None:
    before = {"vboxnet0": "192.168.56.1", "vboxnet1": "10.0.0.1"}
    world.change(networks=before)
    provider = make()
    provider.create(topology, NAMES)
    world.change(networks={**world.load()["networks"], "vboxnet9": "192.168.7.1"})
    make().destroy()
    assert world.load()["networks"] == {**before, "vboxnet9": "192.168.7.1"}


def test_down_removes_the_host_only_network_that_vagrant_makes_on_macos(
    make: Maker, world: World, topology: Topology
) -> None:
    before = {"vagrantnet-vbox1": "192.168.61.0"}
    world.change(nets=before)
    made = make()
    made.create(topology, NAMES)
    brought = made.hypervisor.name == "virtualbox"
    assert (world.load()["nets"] != before) is brought
    make().destroy()
    assert world.load()["nets"] == before


def test_a_network_that_was_there_before_stays(make: Maker, world: World, topology: Topology) -> None:
    world.change(networks={"vboxnet0": "192.168.100.1"})
    provider = make()
    provider.create(topology, NAMES)
    provider.destroy()
    assert world.load()["networks"] == {"vboxnet0": "192.168.100.1"}


VOLUMES = {"thwlab_thw_k8s-lb.img": "default", "thwlab_thw_k8s-lb_1.img": "fast"}
THEIRS = {"thwlab_thw-2_k8s-lb.img": "default", "thwlab_thw_k8s-lb2.img.bak": "default", "mine": "fast"}


def of_libvirt(tmp_path: Path) -> VagrantProvider:
    return VagrantProvider("thw", tmp_path / "state" / "thw", Virsh())


def test_a_disk_of_a_killed_run_is_in_no_new_vms_way(
    tmp_path: Path, world: World, topology: Topology, clock: list[str]
) -> None:
    """It was killed between the two: Vagrant knows of neither and would refuse."""
    world.change(volumes={**VOLUMES, **THEIRS})
    of_libvirt(tmp_path).create(topology, ["k8s-lb"])
    assert set(world.load()["volumes"]) == {"thwlab_thw_k8s-lb.img", *THEIRS}
    assert of_libvirt(tmp_path).states() == {"k8s-lb": "running"}


def test_disks_of_machines_that_are_whole_stay_when_others_are_made(
    tmp_path: Path, world: World, topology: Topology, clock: list[str]
) -> None:
    of_libvirt(tmp_path).create(topology, ["k8s-lb"])
    before = world.load()["volumes"]
    of_libvirt(tmp_path).create(topology, NAMES)
    assert set(world.load()["volumes"]) == {*before, "thwlab_thw_k8s-master1.img"}


def test_down_finds_disks_and_networks_without_a_vm_by_the_labs_own_names(
    tmp_path: Path, world: World
) -> None:
    """Also without its folder; others' stay, however alike their names."""
    ours = {"thwlab_thw_net": "active", "thwlab_thw_old": "inactive"}
    theirs = {"default": "active", "thwlab_thw-2_net": "active", "vagrant-libvirt": "active"}
    world.change(volumes={**VOLUMES, "mine": "fast"}, nets_of_libvirt={**ours, **theirs})
    made = of_libvirt(tmp_path)
    assert made.is_there()
    made.destroy()
    assert world.load()["volumes"] == {"mine": "fast"}
    assert world.load()["nets_of_libvirt"] == theirs
    assert not of_libvirt(tmp_path).is_there()


@pytest.mark.parametrize("before", [{}, {"vagrant-libvirt": "inactive"}])
def test_down_leaves_a_libvirtd_as_it_found_it(
    tmp_path: Path, world: World, topology: Topology, clock: list[str], before: dict[str, str]
) -> None:
    """The network for SSH and the box's disk were left, for Vagrant never removes them."""
    theirs = {"their vm": new_vm("poweroff")}
    world.change(unused=True, vms=theirs, nets_of_libvirt=before, volumes={"their disk.img": "fast"})
    of_libvirt(tmp_path).create(topology, NAMES)
    assert len(world.load()["volumes"]) == len(NAMES) + 2
    assert world.load()["nets_of_libvirt"]["vagrant-libvirt"] == "active"
    of_libvirt(tmp_path).destroy()
    facts = world.load()
    assert (facts["vms"], facts["nets_of_libvirt"]) == (theirs, before)
    assert facts["volumes"] == {"their disk.img": "fast"}


def test_down_removes_the_network_though_vagrant_fails(
    tmp_path: Path, world: World, topology: Topology, clock: list[str]
) -> None:
    of_libvirt(tmp_path).create(topology, NAMES)
    assert world.load()["nets_of_libvirt"] == {"thwlab_thw_net": "active"}
    world.fail("vagrant destroy", "Vagrant can't use the requested machine because it is locked!")
    of_libvirt(tmp_path).destroy()
    facts = world.load()
    assert (facts["vms"], facts["volumes"], facts["nets_of_libvirt"]) == ({}, {}, {})


def test_down_works_though_vagrant_knows_nothing_or_fails(
    provider: VagrantProvider, world: World, make: Maker
) -> None:
    world.fail("vagrant destroy", "Vagrant can't use the requested machine because it is locked!")
    make().destroy()
    assert world.vms == {}


def test_down_works_though_the_state_folder_is_gone(
    provider: VagrantProvider, world: World, make: Maker
) -> None:
    shutil.rmtree(provider.state)
    fresh = make()
    assert fresh.is_there()
    fresh.destroy()
    assert world.vms == {}


def test_down_that_leaves_something_says_so(provider: VagrantProvider, world: World) -> None:
    world.fail("vagrant destroy")
    world.fail("unregistervm", "VBoxManage: error: Cannot unregister the machine while it is locked")
    world.fail("undefine", "error: Failed to undefine domain")
    with at_most(1), pytest.raises(LabError, match=r"unregister|undefine"):
        provider.destroy()
    assert provider.project.folder.exists()


def test_a_snapshot_is_of_all_at_one_instant(
    provider: VagrantProvider, world: World, clock: list[str]
) -> None:
    world.forget_calls()
    provider.snapshot("clean")
    taken = {name: vm["snapshots"]["clean"]["state"] for name, vm in world.vms.items()}
    assert taken == dict.fromkeys(VMS, "paused")
    assert provider.states() == dict.fromkeys(NAMES, "running")
    assert sorted(clock) == sorted(NAMES)
    listed = provider.snapshots()
    assert [each.name for each in listed] == ["clean"]
    assert sorted(listed[0].machines) == sorted(NAMES)


def test_a_snapshot_that_failed_leaves_no_part_and_all_go_on(provider: VagrantProvider, world: World) -> None:
    verb = "snapshot-create-as" if provider.hypervisor.name == "libvirt" else "take"
    world.fail(f"{VMS[0]} {verb}" if verb == "take" else f"{verb} {VMS[0]}", "no space left")
    with pytest.raises(LabError, match="no space left"):
        provider.snapshot("clean")
    assert [vm["snapshots"] for vm in world.vms.values()] == [{}, {}]
    assert provider.states() == dict.fromkeys(NAMES, "running")


def test_a_restore_brings_all_back_paused_before_the_first_goes_on(
    provider: VagrantProvider, world: World, clock: list[str]
) -> None:
    provider.snapshot("clean")
    clock.clear()
    world.forget_calls()
    provider.restore("clean")
    words = [" ".join(call) for call in world.calls]
    back = [n for n, call in enumerate(words) if "--start-paused" in call or "snapshot-revert" in call]
    on = [n for n, call in enumerate(words) if call.endswith(" resume") or " resume thwlab" in call]
    assert len(back) == len(on) == 2
    assert max(back) < min(on)
    assert provider.states() == dict.fromkeys(NAMES, "running")
    assert sorted(clock) == sorted(NAMES)


@pytest.mark.parametrize("verb", ["revert", "resume"])
def test_a_restore_that_fails_on_one_leaves_none_paused_and_says_what_it_left(
    provider: VagrantProvider, world: World, clock: list[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    provider.snapshot("clean")
    clock.clear()
    really, failed = getattr(provider.hypervisor, verb), []

    def fails_once(domain: str, *words: str) -> None:
        if domain == VMS[0] and not failed:
            failed.append(domain)
            raise LabError(f"{domain}: the disk is full", remedy="more disk")
        really(domain, *words)

    monkeypatch.setattr(provider.hypervisor, verb, fails_once)
    with pytest.raises(
        LabError, match=f"not all machines went back to 'clean'.*{VMS[0]}: the disk is"
    ) as caught:
        provider.restore("clean")
    assert caught.value.remedy == "thwlab restore clean"
    assert str(caught.value).count("remedy:") == 1
    assert provider.states() == dict.fromkeys(NAMES, "running")
    assert NAMES[0 if verb == "resume" else 1] in clock, "whoever stood still has its clock set"
    provider.restore("clean")


def test_a_snapshot_that_not_all_have_is_refused_before_anything_changes(
    provider: VagrantProvider, world: World
) -> None:
    provider.snapshot("clean")
    provider.hypervisor.forget(VMS[0], "clean")
    world.forget_calls()
    with pytest.raises(LabError, match="k8s-master1 has no snapshot 'clean'; there are: clean"):
        provider.restore("clean")
    assert not [call for call in world.calls if "poweroff" in call or "snapshot-revert" in call]


def test_forgetting_a_snapshot_is_harmless_where_there_is_none(provider: VagrantProvider) -> None:
    provider.snapshot("clean")
    provider.hypervisor.forget(VMS[0], "clean")
    provider.forget_snapshot("clean")
    provider.forget_snapshot("clean")
    assert provider.snapshots() == []


def test_a_power_cut_and_the_boot_after_it(
    provider: VagrantProvider, world: World, topology: Topology
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    world.forget_calls()
    victim.pull_plug()
    verbs = [" ".join(call) for call in world.calls]
    cut = next(n for n, call in enumerate(verbs) if "setlink" in call)
    off = next(n for n, call in enumerate(verbs) if "poweroff" in call or "destroy" in call)
    assert cut < off
    assert provider.states()["k8s-lb"] == "stopped"
    victim.pull_plug()
    victim.boot()
    assert provider.states()["k8s-lb"] == "running"


def test_a_power_cut_that_was_interrupted_is_made_an_end_of_by_the_next_boot(
    provider: VagrantProvider, world: World, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    monkeypatch.setattr(provider.hypervisor, "is_unplugged", lambda domain: domain.endswith("k8s-lb"))
    world.forget_calls()
    victim.boot()
    verbs = [" ".join(call) for call in world.calls]
    off = next(n for n, call in enumerate(verbs) if "poweroff" in call or "destroy" in call)
    on = next(n for n, call in enumerate(verbs) if "startvm" in call or " start " in f"{call} ")
    assert off < on
    assert provider.states()["k8s-lb"] == "running"


def test_pause_and_resume_do_no_harm_twice(
    provider: VagrantProvider, topology: Topology, clock: list[str]
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    for act in (victim.pause, victim.pause):
        act()
    assert provider.states()["k8s-lb"] == "paused"
    for act in (victim.resume, victim.resume):
        act()
    assert provider.states()["k8s-lb"] == "running"
    assert clock == ["k8s-lb"]


def test_a_machine_that_is_off_says_so(provider: VagrantProvider, topology: Topology) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    victim.pull_plug()
    with pytest.raises(Unreachable, match="k8s-lb is stopped") as caught:
        victim.run("true", timeout=10)
    assert caught.value.remedy == "thwlab up"


@pytest.mark.parametrize(
    ("state", "said"), [("paused", "; k8s-lb is paused; "), ("poweroff", "; k8s-lb is stopped; ")]
)
def test_a_machine_that_is_paused_in_the_middle_of_a_command_is_named_so(
    provider: VagrantProvider,
    world: World,
    topology: Topology,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    said: str,
) -> None:
    """SSH only knows that nobody answers; its hypervisor knows why."""
    victim = provider.attach(topology)["k8s-lb"]

    def paused_under(*_: object, **__: object) -> Result:
        set_state(world, "k8s-lb", state)
        return Result(
            None, b"half", silence="k8s-lb (x@127.0.0.1:1) did not answer by SSH within 3s after it"
        )

    monkeypatch.setattr(machines, "execute", paused_under)
    with pytest.raises(CommandTimedOut, match=said) as caught:
        victim.check("sleep", "600", timeout=60)
    assert "did not answer by SSH within 3s after it; printed so far: half" in str(caught.value)
    assert caught.value.remedy == "thwlab up"


def test_a_machine_that_is_silent_though_it_runs_is_not_called_off(
    provider: VagrantProvider, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    monkeypatch.setattr(machines, "execute", lambda *_, **__: Result(None, silence="k8s-lb: nothing"))
    with pytest.raises(CommandTimedOut, match="; last seen: k8s-lb: nothing; ") as caught:
        victim.check("true", timeout=60)
    assert caught.value.remedy == "thwlab status"


def test_who_never_answered_is_a_silence_and_no_output() -> None:
    """Whatever ssh saw last goes along, and is not taken for the command's own words."""
    silent = cast("Connection", SimpleNamespace(held=Mute, name="k8s-lb"))
    found = execute(silent, ("true",), stdin=b"", timeout=1)
    assert (found.status, found.err) == (None, b"")
    assert found.silence == "k8s-lb (x@h:22) did not answer by SSH; last seen: Connection timed out"


class Mute:
    """A connection that could not be opened by the deadline."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline

    def __enter__(self) -> None:
        raise Silent("k8s-lb (x@h:22) did not answer by SSH; last seen: Connection timed out", remedy="x")

    def __exit__(self, *_: object) -> None:
        return


def test_a_machine_that_ends_while_it_boots_is_not_waited_for(
    provider: VagrantProvider, world: World, topology: Topology
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    assert isinstance(victim, VagrantMachine)
    set_state(world, "k8s-lb", "poweroff")
    with pytest.raises(Unreachable, match="k8s-lb is stopped"):
        victim.await_boot(timeout=30)


@pytest.mark.parametrize(("slowness", "seconds"), [(1.0, 10.0), (3.0, 30.0), (20.0, 60.0)])
def test_a_slow_machine_that_boots_has_time_for_one_answer(
    provider: VagrantProvider,
    topology: Topology,
    monkeypatch: pytest.MonkeyPatch,
    slowness: float,
    seconds: float,
) -> None:
    """One that was connected to anew every ten seconds had no time to answer, for a quarter of an hour."""
    victim = provider.attach(topology)["k8s-lb"]
    granted: list[float] = []

    def ask(*_: str, timeout: float, **__: object) -> Result:
        granted.append(timeout)
        return Result(0, b"id\n")

    monkeypatch.setattr(victim, "ask", ask)
    stretch(slowness)
    try:
        victim.boot()
    finally:
        stretch(1.0)
    assert granted == [seconds]


def test_a_silent_machine_that_is_gone_meanwhile_is_not_waited_for(
    provider: VagrantProvider, world: World, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    assert isinstance(victim, VagrantMachine)

    def ask(*_: str, **__: object) -> Result:
        set_state(world, "k8s-lb", "poweroff")
        return Result(None)

    monkeypatch.setattr(victim, "ask", ask)
    with pytest.raises(LabError, match="k8s-lb is stopped"):
        victim.await_boot(timeout=30)


def test_a_reboot_is_over_when_it_is_another_boot(
    provider: VagrantProvider, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    answers = iter(["one", "one", "two"])

    def instead(*argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        return Result(0) if argv[0] == "systemctl" else Result(0, f"{next(answers)}\n".encode())

    monkeypatch.setattr(victim, "ask", instead)
    victim.reboot()
    assert next(answers, None) is None


def test_an_address_that_never_comes_up_is_named(
    provider: VagrantProvider, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = provider.attach(topology)["k8s-lb"]
    assert isinstance(victim, VagrantMachine)
    monkeypatch.setattr(victim, "ask", lambda *_, **__: Result(1, b"id\n"))
    with pytest.raises(WaitExpired, match=r"no 192\.168\.100\.100 on any interface yet"):
        victim.await_boot(timeout=0.1)


@pytest.mark.parametrize(("said", "seconds"), [("", 300.0), ("900", 900.0)])
def test_every_boot_may_last_as_long_as_the_user_says(
    provider: VagrantProvider, topology: Topology, monkeypatch: pytest.MonkeyPatch, said: str, seconds: float
) -> None:
    """It was handed to Vagrant alone, whose boot is the first."""
    granted: list[float] = []
    monkeypatch.setattr(
        "lab.providers.vagrant.machine.wait_until", lambda *_, timeout, **__: granted.append(timeout)
    )
    monkeypatch.setenv("LAB_BOOT_TIMEOUT", said)
    provider.attach(topology)["k8s-lb"].boot()
    assert granted == [seconds]


def test_on_the_hosts_own_network_a_machine_is_reached_directly(provider: VagrantProvider) -> None:
    assert provider.reach("k8s-lb", 6443) == ("192.168.100.100", 6443)
    assert provider.host_argv(["kubectl"]) == ["kubectl"]
    with pytest.raises(LabError, match="nobody is no machine of lab thw"):
        provider.reach("nobody", 1)


def test_it_says_what_it_can_and_what_its_guests_are(provider: VagrantProvider) -> None:
    assert Capability.LOSES_PAGE_CACHE in provider.capabilities
    assert not provider.platform.container
    assert provider.platform.cgroup in (1, 2)


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, IPv4Network]:
    """This host's networks, none; what else is looked at lets the lab run, and can be changed."""
    there: dict[str, IPv4Network] = {}
    monkeypatch.setattr(obstacles, "networks_of_host", lambda: there)
    monkeypatch.setattr(host, "tried", lambda: Kvm(True, "it counted"))
    monkeypatch.setattr(host, "ROOT", tmp_path / "root")
    for module in needs.MODULES:
        (tmp_path / "root/sys/module" / module).mkdir(parents=True)
    (tmp_path / "root/proc").mkdir()
    (tmp_path / "root/proc/meminfo").write_text("MemAvailable:   8192000 kB\n")
    (tmp_path / "root/etc/vbox").mkdir(parents=True)
    (tmp_path / "root/etc/vbox/networks.conf").write_text("* 192.168.100.0/24\n")
    return there


@pytest.mark.usefixtures("around")
def test_preflight_says_everything_that_is_missing(
    make: Maker, world: World, topology: Topology, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    provider = make()
    assert provider.preflight(topology) == []
    world.change(vagrant="2.2.19")
    assert provider.preflight(topology)[0].what.startswith("Vagrant 2.2.19 is too old")
    world.change(vagrant="2.3.4", plugins={})
    lacking = provider.preflight(topology)
    assert [each.packages for each in lacking] == (
        [("vagrant-libvirt",)] if provider.hypervisor.name == "libvirt" else []
    )
    with monkeypatch.context() as without:
        without.setenv("PATH", str(tmp_path))
        (tmp_path / "root/proc/meminfo").write_text("MemAvailable:   102400 kB\n")
        said = [each.what for each in provider.preflight(topology)]
    assert said[:2] == ["ssh: not installed", "vagrant: not installed; needed: 2.3 or later"]
    assert [each.partition(":")[0] for each in said[2:]] == ["memory"], "what is in the way too, at once"


@pytest.mark.usefixtures("around")
def test_a_libvirtd_that_does_not_answer_is_said_before_anything_is_made(
    make: Maker, world: World, topology: Topology
) -> None:
    """As where `vagrant:libvirt:running` was asked for and none runs."""
    provider = make()
    world.fail("virsh -q", "error: failed to connect to the hypervisor")
    missing = provider.preflight(topology)
    if provider.hypervisor.name == "virtualbox":
        assert missing == []
        return
    (missed,) = missing
    assert missed.what.startswith("libvirtd: `virsh -q -c qemu:///system list --all")
    assert "sudo systemctl start libvirtd" in missed.remedy
    assert "--lab-provider=vagrant:libvirt:private" in missed.remedy


def test_up_refuses_what_is_in_the_way_of_its_vms(
    make: Maker, world: World, topology: Topology, tmp_path: Path, around: dict[str, IPv4Network]
) -> None:
    provider = make()
    world.change(virtualbox="7.0.6", vms={"thwlab_two_k8s-lb": new_vm()})
    around["eth0"] = IPv4Network("192.168.0.0/16")
    (tmp_path / "root/etc/vbox/networks.conf").write_text("* 10.0.0.0/8\n")
    other = tmp_path / "a state" / "two" / "vagrant"
    Project("two", other, provider.hypervisor.name).write_plan(replace(topology, name="two"))
    found = {each.what.partition(":")[0]: each for each in provider.preflight(topology)}
    assert set(found) == {"other labs' VMs", "subnet"} | (
        {"host-only network"} if provider.hypervisor.name == "virtualbox" else set()
    )
    assert "lab two runs 1 VMs in 192.168.100.0/24" in found["other labs' VMs"].what
    assert "thwlab down --name two" in found["other labs' VMs"].remedy
    assert "192.168.0.0/16 of eth0" in found["subnet"].what


@pytest.mark.usefixtures("around")
def test_up_refuses_what_the_doctor_calls_missing_before_the_first_machine(
    make: Maker, world: World, topology: Topology, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = make()
    assert provider.preflight(topology) == []
    (tmp_path / "root/proc/meminfo").write_text("MemAvailable:   1024000 kB\n")
    (tmp_path / "root/sys/module/vboxnetadp").rmdir()
    monkeypatch.setenv("THWLAB_BOX", "ubuntu/xenial64")
    monkeypatch.setattr(host, "tried", lambda: Kvm(False, "there is no /dev/kvm"))
    world.change(virtualbox="6.0.24")
    found = {each.what.partition(":")[0]: each for each in provider.preflight(topology)}
    both = {"box", "memory"}
    assert set(found) == both | (
        {"VirtualBox and Vagrant", "VirtualBox's modules"}
        if provider.hypervisor.name == "virtualbox"
        else {"KVM"}
    )
    assert (
        "1000 MiB available; needed: 2348 MiB for 2 VMs; k8s-master1 alone 1024 MiB" in found["memory"].what
    )
    assert ups(world) == []


@pytest.mark.usefixtures("around")
def test_a_lab_that_runs_is_refused_nothing_for_want_of_memory(
    provider: VagrantProvider, make: Maker, topology: Topology, tmp_path: Path
) -> None:
    (tmp_path / "root/proc/meminfo").write_text("MemAvailable:   102400 kB\n")
    assert make().preflight(topology) == []
    enclosed = VagrantProvider("thw", provider.state, Virsh(network=tmp_path / "netns"))
    assert enclosed.preflight(topology) == [], "also in a network namespace of its own"


def test_its_own_vms_and_those_that_are_off_are_not_in_the_way(
    provider: VagrantProvider, make: Maker, world: World, topology: Topology, around: dict[str, IPv4Network]
) -> None:
    world.change(vms={**world.vms, "thwlab_two_k8s-lb": new_vm("poweroff")})
    around[{"virtualbox": "vboxnet7", "libvirt": "virbr1"}[provider.hypervisor.name]] = IPv4Network(
        "192.168.100.0/24"
    )
    assert make().preflight(topology) == []


def test_in_a_network_namespace_of_its_own_nothing_of_this_hosts_is_in_the_way(
    tmp_path: Path, world: World, topology: Topology, around: dict[str, IPv4Network]
) -> None:
    around["eth0"] = IPv4Network("192.168.100.0/24")
    world.change(vms={"thw-k8s-lb": new_vm()})
    enclosed = Virsh(network=tmp_path / "netns")
    assert VagrantProvider("thw", tmp_path / "thw", enclosed).preflight(topology) == []
    assert len(VagrantProvider("thw", tmp_path / "thw", Virsh()).preflight(topology)) == 2


def test_the_box_is_fetched_once_and_before_the_machines(
    tmp_path: Path, world: World, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.providers.vagrant.provider.supplies_of", lambda _, report: report("supplies"))
    box = Box("lab/debian", url="/tmp/x.box")
    provider = VagrantProvider("thw", tmp_path / "s", VirtualBox(), box=box)
    told: list[str] = []
    provider.prepare(topology, told.append)
    assert told == ["supplies", "fetching the box lab/debian"]
    assert not provider.is_furnished, "a box of anybody's has nothing of ours"
    assert ["vagrant", "box", "add", "--name", "lab/debian"] in [call[:5] for call in world.calls]
    world.change(boxes={"lab/debian": "virtualbox"})
    world.forget_calls()
    provider.prepare(topology, told.append)
    assert not [call for call in world.calls if "add" in call]


def test_a_lab_that_is_whole_needs_no_box(
    provider: VagrantProvider, world: World, topology: Topology, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second `up` works without a network, also where the box was removed meanwhile."""
    monkeypatch.setattr("lab.providers.vagrant.provider.supplies_of", lambda *_: None)
    again = VagrantProvider("thw", provider.state, provider.hypervisor, box=Box("lab/debian"))
    world.forget_calls()
    again.prepare(topology, lambda _: None)
    assert not [call for call in world.calls if "box" in call]
    set_state(world, "k8s-lb", "poweroff")
    again.prepare(replace(topology, nodes=load_topology().nodes), lambda _: None)
    assert ["vagrant", "box", "add", "lab/debian"] in [call[:4] for call in world.calls]


def test_a_lab_that_never_was_is_not_there(make: Maker, topology: Topology) -> None:
    provider = make()
    assert not provider.is_there()
    assert provider.states() == {}
    assert not provider.attach(topology)
    assert provider.snapshots() == []
    provider.destroy()


def test_the_plan_it_wrote_is_what_is_reached(provider: VagrantProvider) -> None:
    assert provider.project.addresses()["k8s-lb"] == IPv4Address("192.168.100.100")
