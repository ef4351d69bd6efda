"""The Vagrantfile as Vagrant itself reads it, for each provider: its merged and finished settings."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_vms import World
from stand_in import on_path

from lab.artifacts.box import BuiltBox
from lab.plan import load_topology
from lab.providers.vagrant.libvirt.daemon import PrivateLibvirtd
from lab.providers.vagrant.libvirt.kvm import Kvm
from lab.providers.vagrant.libvirt.private import MORE
from lab.providers.vagrant.libvirt.settings import WRAPPER
from lab.providers.vagrant.plan import DEFAULT_BOX, Project, vagrantfile
from lab.topology import Role

EVALUATE = Path(__file__).parent / "golden" / "vagrant" / "evaluate.rb"
RUBY, VAGRANT = shutil.which("ruby"), shutil.which("vagrant")
PLAN = load_topology()


def library() -> bool:
    """Whether Vagrant lies where this host's Ruby finds it; what HashiCorp packs has a Ruby of its own."""
    if not (RUBY and VAGRANT):
        return False
    tried = subprocess.run([RUBY, "-e", "gem 'vagrant'"], capture_output=True, timeout=30, check=False)
    return tried.returncode == 0


pytestmark = pytest.mark.skipif(not library(), reason="this host's Ruby has no Vagrant")


def evaluated(tmp_path: Path, provider: str, **env: str) -> dict[str, dict[str, Any]]:
    """What Vagrant makes of our Vagrantfile, with a VirtualBox that only knows its version."""
    world = World(tmp_path / "world").install()
    (world.bin / "vagrant").unlink()
    ours = {
        "PATH": on_path(world.bin, [str(Path(str(RUBY)).parent), "/usr/bin", "/bin"]),
        "HOME": str(tmp_path),
        "VAGRANT_HOME": str(tmp_path / "home"),
        "VAGRANT_CWD": str(vagrantfile().parent),
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "dot"),
        "VAGRANT_DEFAULT_PROVIDER": provider,
        **env,
    }
    done = subprocess.run(
        [str(RUBY), str(EVALUATE), provider],
        env=ours,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def virtualbox(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, dict[str, Any]]:
    return evaluated(tmp_path_factory.mktemp("virtualbox"), "virtualbox")


def test_it_has_the_machines_of_the_plan_and_no_mistake(virtualbox: Mapping[str, dict[str, Any]]) -> None:
    assert list(virtualbox) == [node.name for node in PLAN.nodes]
    assert {name: each["hostname"] for name, each in virtualbox.items()} == {
        name: name for name in virtualbox
    }
    assert [each["problems"] for each in virtualbox.values()] == [{}] * len(virtualbox)
    assert {each["box"] for each in virtualbox.values()} == {DEFAULT_BOX}


def test_each_has_its_size_and_is_a_linked_clone(virtualbox: Mapping[str, dict[str, Any]]) -> None:
    for node in PLAN.nodes:
        found = virtualbox[node.name]
        assert found["provider"]["name"] == f"thw-{node.name}"
        assert found["provider"]["linked_clone"] is True
        assert ["pre-boot", ["modifyvm", "id", "--memory", str(node.memory_mib)]] in found["customizations"]
        assert ["pre-boot", ["modifyvm", "id", "--cpus", node.cpus]] in found["customizations"]


def test_each_has_its_address_in_a_private_network_and_no_other(
    virtualbox: Mapping[str, dict[str, Any]],
) -> None:
    for node in PLAN.nodes:
        kinds = [kind for kind, _ in virtualbox[node.name]["networks"]]
        assert sorted(kinds) == ["forwarded_port", "private_network"], "the port is SSH's"
        (private,) = [each for kind, each in virtualbox[node.name]["networks"] if kind == "private_network"]
        assert (private["ip"], private["netmask"]) == (str(node.address), "255.255.255.0")
        assert private["auto_config"] is True


def test_clocks_are_utc_and_set_at_once_and_no_folder_is_shared(
    virtualbox: Mapping[str, dict[str, Any]],
) -> None:
    for found in virtualbox.values():
        assert ["pre-boot", ["modifyvm", "id", "--rtcuseutc", "on"]] in found["customizations"]
        assert any("--timesync-set-threshold" in str(each) for each in found["customizations"])
        assert found["synced"] == []


def test_the_harness_gives_its_own_names_and_its_own_plan(tmp_path: Path) -> None:
    project = Project("other", tmp_path / "a b", "virtualbox")
    project.write_plan(load_topology(name="other"))
    env = {name: value for name, value in project.environment({}).items() if name.startswith("LAB_")}
    found = evaluated(tmp_path, "virtualbox", **env)
    assert {each["provider"]["name"] for each in found.values()} == {project.domain(name) for name in found}


@pytest.mark.skipif(sys.platform != "linux", reason="libvirt is Linux'")
def test_libvirt_gets_the_same_machines(tmp_path: Path) -> None:
    found = (
        evaluated(tmp_path, "libvirt") if has_libvirt() else pytest.skip("vagrant-libvirt is not installed")
    )
    for node in PLAN.nodes:
        settings = found[node.name]["provider"]
        assert (settings["memory"], settings["cpus"]) == (node.memory_mib, node.cpus)
        assert (settings["default_prefix"], settings["clock_offset"]) == ("thw-", "utc")


@pytest.mark.skipif(sys.platform != "linux", reason="libvirt is Linux'")
def test_a_network_for_ssh_that_was_there_before_does_not_go_with_the_harness_vms(tmp_path: Path) -> None:
    """By itself vagrant-libvirt removes it with the last VM, whoever made it."""
    if not has_libvirt():
        pytest.skip("vagrant-libvirt is not installed")
    for env, keeps in (({}, False), ({"LAB_PREFIX": "thwlab_thw_"}, True)):
        found = evaluated(tmp_path / str(keeps), "libvirt", **env)
        assert {each["provider"]["management_network_keep"] for each in found.values()} == {keeps}


def has_libvirt() -> bool:
    tried = subprocess.run(
        [str(RUBY), "-e", "gem 'vagrant-libvirt'"],
        capture_output=True,
        timeout=30,
        check=False,
        env=dict(os.environ),
    )
    return tried.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="libvirt is Linux'")
@pytest.mark.parametrize("box", ["plain/debian", BuiltBox(Path("/cache/0123"))])
def test_a_libvirtd_of_the_labs_own_boots_our_box_by_its_kernel_and_others_by_themselves(
    tmp_path: Path, box: BuiltBox | str
) -> None:
    if not has_libvirt():
        pytest.skip("vagrant-libvirt is not installed")
    daemon = PrivateLibvirtd("thw", tmp_path / "libvirt")
    daemon.directory.mkdir()
    daemon.key.with_suffix(".pub").write_text("ecdsa x")
    daemon.vms.write_text(json.dumps(daemon._told(box, Kvm(False, "there is none"))))
    found = evaluated(tmp_path, "libvirt", LAB_VAGRANTFILE_MORE=str(MORE), LAB_VMS=str(daemon.vms))
    plain = isinstance(box, str)
    for name, each in found.items():
        settings = each["provider"]
        masters = Role.CONTROL_PLANE in PLAN.node(name).roles
        assert settings["cpus"] == (min(2, os.cpu_count() or 1) if masters else 1), "what others wait for"
        assert each["box"] == (box if isinstance(box, str) else box.name)
        assert settings["emulator_path"] == WRAPPER, "emulated either way"
        assert (settings["uri"], settings["disk_driver_opts"]) == (daemon.uri, {"cache": "unsafe"})
        kernel = settings["kernel"]
        assert not kernel if plain else kernel.endswith("/vmlinuz")
        assert each["guest"] == (None if plain else "debian"), "what the user's box is, Vagrant finds out"
        if not plain:
            assert {"tsc=reliable", "thwlab.emulated"} <= {*settings["cmd_line"].split()}


@pytest.mark.skipif(sys.platform != "linux", reason="libvirt is Linux'")
@pytest.mark.parametrize("nat", [False, True])
def test_with_nat_the_first_interface_of_every_vm_leads_out_and_the_labs_own_is_the_third(
    tmp_path: Path, nat: bool
) -> None:
    if not has_libvirt():
        pytest.skip("vagrant-libvirt is not installed")
    daemon = PrivateLibvirtd("thw", tmp_path / "libvirt", nat=nat)
    daemon.directory.mkdir()
    daemon.key.with_suffix(".pub").write_text("ecdsa x")
    daemon.vms.write_text(json.dumps(daemon._told(BuiltBox(Path("/cache/0123")), Kvm(False, "none"))))
    found = evaluated(tmp_path, "libvirt", LAB_VAGRANTFILE_MORE=str(MORE), LAB_VMS=str(daemon.vms))
    macs = set()
    for node in PLAN.nodes:
        settings = found[node.name]["provider"]
        interface = "eth2" if nat else "eth1"
        assert f" ip={node.address}:::255.255.255.0::{interface}:none " in settings["cmd_line"]
        assert (" thwlab.nat " in settings["cmd_line"]) is nat
        words = [each["value"] for each in settings["qemu_args"]]
        if not nat:
            assert words == []
            continue
        assert words[:3] == ["-netdev", "user,id=nat,net=10.0.2.0/24", "-device"]
        assert words[3].startswith("virtio-net-pci,netdev=nat,")
        assert words[3].endswith(",bus=pci.0,addr=0x1.0x4"), "before all that libvirt places"
        macs.add(words[3].split(",")[2])
    assert len(macs) == (len(PLAN.nodes) if nat else 0)
