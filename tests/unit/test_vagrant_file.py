"""The Vagrantfile: evaluated by Ruby with a Vagrant that only writes down, and by Vagrant itself."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from fake_vms import World, new_vm
from stand_in import on_path

from lab.plan import load_topology
from lab.providers.vagrant.adapter import Adapter
from lab.providers.vagrant.plan import Project

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden" / "vagrant"
RUBY, VAGRANT = shutil.which("ruby"), shutil.which("vagrant")
PROJECT = "thwlab_thw_"
needs_ruby = pytest.mark.skipif(RUBY is None, reason="ruby is not installed")
needs_vagrant = pytest.mark.skipif(VAGRANT is None, reason="Vagrant is not installed")


def ruby(file: Path, **env: str) -> "subprocess.CompletedProcess[str]":
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    argv = [str(RUBY), str(GOLDEN / "recorder.rb"), str(file)]
    return subprocess.run(argv, env={**clean, **env}, capture_output=True, text=True, timeout=30, check=False)


def told(file: Path = ROOT / "Vagrantfile", **env: str) -> Any:
    done = ruby(file, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["vm"]


@needs_ruby
def test_its_syntax_is_rubys() -> None:
    done = subprocess.run(
        [str(RUBY), "-wc", str(ROOT / "Vagrantfile")], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "Syntax OK\n"
    assert done.stderr == ""


@needs_ruby
def test_what_it_tells_vagrant_of_the_default_plan() -> None:
    expected = json.loads((GOLDEN / "default.json").read_text())
    assert told() == expected


@needs_ruby
def test_every_machine_of_the_plan_is_there_with_its_address_and_size() -> None:
    machines = told()["define"]
    plan = load_topology()
    assert list(machines) == [node.name for node in plan.nodes]
    for node in plan.nodes:
        vm = machines[node.name]["vm"]
        assert vm["network"][0][1]["ip"] == str(node.address)
        for provider in ("virtualbox", "libvirt"):
            assert vm["provider"][provider]["memory"] == node.memory_mib
            assert vm["provider"][provider]["cpus"] == node.cpus


@needs_ruby
def test_the_harness_gives_its_own_plan_and_its_own_names(tmp_path: Path) -> None:
    project = Project("other", tmp_path / "a b" / "ä", "libvirt")
    project.write_plan(load_topology(name="other"))
    env = {k: v for k, v in project.environment({}).items() if k.startswith("LAB_")}
    provider = told(**env)["define"]["k8s-lb"]["vm"]["provider"]
    assert provider["virtualbox"]["name"] == project.domain("k8s-lb")
    assert provider["libvirt"]["default_prefix"] == project.prefix


@needs_ruby
def test_the_box_can_be_another_also_from_a_file() -> None:
    vm = told(
        THWLAB_BOX="ubuntu/xenial64",
        THWLAB_BOX_VERSION="1.2",
        THWLAB_BOX_URL="file:///a b.box",
        THWLAB_BOX_SHA256="ab12",
    )
    assert (vm["box"], vm["box_version"], vm["box_url"]) == ("ubuntu/xenial64", "1.2", "file:///a b.box")
    assert (vm["box_download_checksum"], vm["box_download_checksum_type"]) == ("ab12", "sha256")


@needs_ruby
def test_an_empty_variable_is_none() -> None:
    assert told(THWLAB_BOX="", THWLAB_BOX_URL="", LAB_PREFIX="", LAB_POWER_CUT="") == told()


@needs_ruby
def test_a_halt_is_a_power_cut_only_on_demand() -> None:
    assert "graceful_halt_timeout" not in told()
    assert told(LAB_POWER_CUT="1")["graceful_halt_timeout"] == 0


@needs_ruby
def test_one_more_file_comes_on_top(tmp_path: Path) -> None:
    more = tmp_path / "more.rb"
    more.write_text('Vagrant.configure("2") { |config| config.vm.boot_timeout = 1200 }\n')
    assert told(LAB_VAGRANTFILE_MORE=str(more))["boot_timeout"] == 1200


@needs_ruby
def test_a_netmask_is_that_of_the_plan(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("network: {cidr: 10.9.0.0/22}\nmachines:\n  a: {address: 10.9.1.1, memory: 2GiB}\n")
    vm = told(LAB_CONFIG=str(plan))["define"]["a"]["vm"]
    assert vm["network"][0][1]["netmask"] == "255.255.252.0"
    assert vm["provider"]["virtualbox"]["memory"] == 2048


@needs_ruby
@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (None, "plan.yaml: there is no such plan; LAB_CONFIG names another"),
        ("machines: {a: {address: 10.0.0.1, memory: 2}}", "memory 2 has no unit; write 2GiB or 1536MiB"),
        ("machines: {a: {address: 10.0.0.1, memory: 2GB}}", 'memory "2GB" has no unit'),
        ("", "the plan is nil, and has to be a mapping"),
        ("- a\n", 'the plan is ["a"], and has to be a mapping'),
        ("name: x\nmachines: {a: [1}\n", "plan.yaml: line 2: did not find expected ',' or ']'"),
        ("since: 2026-01-01\nmachines: {}\n", "Tried to load unspecified class: Date"),
        ("name: x\n", "plan.yaml: there are no `machines`"),
        ("machines: [a]\n", '`machines` is ["a"], and has to be a mapping'),
        ("machines: {a: }\n", "machine a is nil, and has to be a mapping"),
        ("machines: {a: {memory: 2GiB}}\n", "machine a has no `address`"),
        ("machines: {a: {address: ten}}\n", '`address` of a is "ten", and no IPv4 address'),
        ("machines: {a: {address: 10}}\n", "`address` of a is 10, and no IPv4 address"),
        ("machines: {a: {address: 10.0.0.1, cpus: two}}\n", '`cpus` of a is "two", and no whole number'),
        ("network: 10.0.0.0/24\nmachines: {}\n", '`network` is "10.0.0.0/24", and has to be a mapping'),
        ("network: {cidr: 10.0.0.0/99}\nmachines: {}\n", '`network: cidr` is "10.0.0.0/99"'),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, plan: str | None, said: str) -> None:
    file = tmp_path / "plan.yaml"
    if plan is not None:
        file.write_text(plan)
    done = ruby(ROOT / "Vagrantfile", LAB_CONFIG=str(file))
    assert done.returncode != 0
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@needs_ruby
@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"LAB_BOOT_TIMEOUT": "15m"}, 'LAB_BOOT_TIMEOUT: "15m" is no whole number of seconds'),
        ({"LAB_BOOT_TIMEOUT": "0"}, 'LAB_BOOT_TIMEOUT: "0" is no whole'),
        ({"LAB_VAGRANTFILE_MORE": "/no/such.rb"}, "LAB_VAGRANTFILE_MORE: there is no file /no/such.rb"),
    ],
)
def test_a_mistake_in_a_variable_is_one_line_too(env: dict[str, str], said: str) -> None:
    done = ruby(ROOT / "Vagrantfile", **env)
    assert (done.returncode != 0, len(done.stderr.splitlines())) == (True, 1)
    assert said in done.stderr


@needs_ruby
def test_more_files_come_one_on_top_of_the_other(tmp_path: Path) -> None:
    """The harness has one of its own, and the user's comes last."""
    for number in (1, 2):
        settings = f"config.vm.boot_timeout = {number}; config.vm.n{number} = 1"
        text = f'Vagrant.configure("2") {{ |config| {settings} }}\n'
        (tmp_path / f"a: {number}.rb").write_text(text)
    vm = told(LAB_VAGRANTFILE_MORE="\n".join(str(tmp_path / f"a: {number}.rb") for number in (1, 2)))
    assert (vm["boot_timeout"], vm["n1"], vm["n2"]) == (2, 1, 1)


@needs_ruby
def test_it_works_beside_the_installed_package(tmp_path: Path) -> None:
    inside = tmp_path / "site packages" / "lab"
    inside.mkdir(parents=True)
    for name in ("Vagrantfile", "lab/default.yaml"):
        shutil.copy(ROOT / name, inside)
    assert told(inside / "Vagrantfile") == told()


@pytest.fixture
def virtualbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A host with a Vagrant that is real and a VirtualBox that is not, with one VM of the lab's."""
    vm = f"{PROJECT}k8s-lb"
    world = World(tmp_path / "world").install(vms={vm: new_vm(), "somebody's own": new_vm()})
    only = tmp_path / "only"
    only.mkdir()
    (only / "VBoxManage").symlink_to(world.bin / "VBoxManage")
    monkeypatch.setenv("PATH", on_path(only))
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    return world


@pytest.fixture
def adapter(tmp_path: Path, virtualbox: World) -> Adapter:
    project = Project("thw", tmp_path / "a lab" / "vagrant", "virtualbox")
    project.write_plan(load_topology())
    known = project.data / "machines" / "k8s-lb" / "virtualbox"
    known.mkdir(parents=True)
    (known / "id").write_text(project.domain("k8s-lb"))
    (known / "creator_uid").write_text(str(os.getuid()))
    return Adapter(project)


@needs_vagrant
def test_vagrants_own_virtualbox_provider_takes_it(adapter: Adapter) -> None:
    assert "validated successfully" in adapter._for(60).call("validate")
    assert not (ROOT / ".vagrant").exists()


@needs_vagrant
def test_what_vagrant_says_of_its_machines_is_read(adapter: Adapter) -> None:
    found = adapter.status()
    assert [each.name for each in found.values()] == [node.name for node in load_topology().nodes]
    assert found["k8s-lb"].word == "running"
    assert {each.word for each in found.values()} == {"running", "not_created"}
    assert {each.provider for each in found.values()} == {"virtualbox"}


@needs_vagrant
def test_vagrants_forced_halt_is_no_silent_power_cut(adapter: Adapter, virtualbox: World) -> None:
    """Its links stay up while the power goes; `Hypervisor.cut` takes them away first."""
    adapter._for(60).halt(vm_name="k8s-lb", force=True)
    assert virtualbox.vms[f"{PROJECT}k8s-lb"]["state"] == "poweroff"
    assert not [call for call in virtualbox.calls if any("setlinkstate" in word for word in call)]


@needs_vagrant
def test_vagrant_removes_what_it_knows_and_nothing_else(adapter: Adapter, virtualbox: World) -> None:
    adapter.destroy()
    assert list(virtualbox.vms) == ["somebody's own"]
    assert adapter.status(["k8s-lb"])["k8s-lb"].word == "not_created"


@needs_vagrant
def test_a_vm_that_was_removed_by_hand_is_not_created(adapter: Adapter, virtualbox: World) -> None:
    virtualbox.change(vms={})
    assert adapter.status(["k8s-lb"])["k8s-lb"].word == "not_created"


@needs_vagrant
def test_a_real_vagrant_without_virtualbox_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("VBoxManage"):
        pytest.skip("VirtualBox is installed")
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    project = Project("thw", tmp_path / "vagrant", "virtualbox")
    project.write_plan(load_topology())
    with pytest.raises(Exception, match="VirtualBox is not installed, or its kernel modules"):
        Adapter(project).status()


@needs_ruby
def test_machines_that_know_their_names_and_addresses_get_neither_from_vagrant() -> None:
    machines = told(LAB_NAMED="1")["define"]
    assert not [name for name, each in machines.items() if each["vm"].get("hostname")]
    assert {each["vm"]["network"][0][1]["auto_config"] for each in machines.values()} == {False}
