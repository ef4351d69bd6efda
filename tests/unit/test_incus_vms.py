"""VMs of Incus or LXD against a small daemon: what it is asked for, and who is told that it cannot be."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_daemon import Daemon, ok, refused, running
from fixed import guide_topology

from lab.doctor import daemonvms
from lab.doctor.finding import Verdict
from lab.errors import LabError
from lab.machine import Result
from lab.providers.commands import MARK
from lab.providers.incus import description, ending, vmneeds
from lab.providers.incus import provider as module
from lab.providers.incus.image import Image
from lab.providers.incus.machine import IncusMachine
from lab.providers.incus.vm import IncusVm
from lab.providers.incus.vmneeds import Look
from lab.providers.incus.vmprovider import IncusVmProvider
from lab.providers.vagrant.libvirt import kvm
from lab.providers.vagrant.libvirt.kvm import Kvm

INSTANCES = "/1.0/instances"
NAME = "k8s-worker1"
WARNING = {
    "type": "Instance type not operational",
    "status": "new",
    "last_message": "vhost_vsock kernel module not loaded",
}


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    """A running daemon that takes everything and runs VMs."""
    for name in ("INCUS_DIR", "LXD_DIR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "d").mkdir()
    with running(tmp_path / "d") as started:
        monkeypatch.setenv("INCUS_SOCKET", str(started.socket))
        started.replies["GET /1.0"] = drivers("lxc | qemu")
        for collection in ("projects", "storage-pools", "networks", "images", "instances"):
            started.replies[f"POST /1.0/{collection}"] = ok()
        started.replies[f"GET {INSTANCES}"] = ok([])
        started.replies[f"PUT {INSTANCES}/{NAME}/state"] = ok()
        yield started


def drivers(names: str) -> dict[str, Any]:
    return ok({"environment": {"driver": names}})


@pytest.fixture
def provider(daemon: Daemon, tmp_path: Path) -> IncusVmProvider:
    (tmp_path / "disk.qcow2").write_bytes(b"disk")
    image = Image(b"metadata", tmp_path / "disk.qcow2", "f00")
    return IncusVmProvider("thw", tmp_path / "state", image=image, daemon="running")


def vm(provider: IncusVmProvider, daemon: Daemon, status: str = "Running") -> IncusVm:
    plan = guide_topology()
    made = description.vm_of(plan, plan.node(NAME), "f00", 8)
    daemon.replies[f"GET {INSTANCES}/{NAME}"] = ok({**made, "status": status})
    daemon.replies[f"GET {INSTANCES}"] = ok([{**made, "status": status}])
    return IncusVm(plan.node(NAME), provider.api)


def changes(daemon: Daemon) -> list[Any]:
    return [each.body for each in daemon.asked if each.method != "GET"]


# -- what is asked of the daemon --------------------------------------------------------------------


def test_a_vm_has_memory_and_processors_of_the_plan_and_nothing_of_a_container() -> None:
    plan = guide_topology()
    node = replace(plan.node(NAME), memory_mib=3000, cpus=3)
    made = description.vm_of(plan, node, "f00", 8)
    assert made["type"] == "virtual-machine"
    assert made["config"]["limits.memory"] == "3000MiB"
    assert made["config"]["limits.cpu"] == "3"
    assert made["config"]["security.secureboot"] == "false", "its boot loader is not signed"
    assert made["devices"]["root"]["size"] == "8GiB"
    assert not {"raw.lxc", "security.privileged", "security.nesting"} & made["config"].keys()
    assert "kmsg" not in made["devices"]


def test_a_vm_has_the_same_network_file_and_interface_as_a_container() -> None:
    plan = guide_topology()
    made = description.vm_of(plan, plan.node(NAME), "f00", 8)
    container = description.instance_of(plan, plan.node(NAME), "f00", 2)
    assert made["config"]["user.thwlab.network"] == container["config"]["user.thwlab.network"]
    assert made["devices"]["eth0"] == container["devices"]["eth0"]
    assert description.node_of(made).address == plan.node(NAME).address


def test_the_image_is_uploaded_as_that_of_a_vm(provider: IncusVmProvider, daemon: Daemon) -> None:
    provider.create(guide_topology(), [])
    (body,) = [each.body for each in daemon.asked if f"{each.method} {each.path}" == "POST /1.0/images"]
    assert b'name="rootfs.img"; filename="disk.qcow2"' in body
    assert b'name="rootfs"' not in body


def test_vms_are_created_and_started(
    provider: IncusVmProvider, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    awaited: list[IncusMachine] = []
    monkeypatch.setattr(IncusVm, "await_boot", lambda machine: awaited.append(machine))
    provider.create(guide_topology(), [NAME])
    (made,) = [each.body for each in daemon.asked if f"{each.method} {each.path}" == f"POST {INSTANCES}"]
    assert (made["name"], made["type"]) == (NAME, "virtual-machine")
    assert changes(daemon)[-1]["action"] == "start"
    assert [type(machine) for machine in awaited] == [IncusVm]


def test_a_daemon_without_vms_is_left_as_it_was(provider: IncusVmProvider, daemon: Daemon) -> None:
    daemon.replies["GET /1.0"] = drivers("lxc")
    daemon.replies["GET /1.0/warnings"] = ok([WARNING])
    with pytest.raises(LabError, match=r"runs no VMs[\s\S]*vhost_vsock kernel module not loaded"):
        provider.create(guide_topology(), [NAME])
    assert changes(daemon) == []


# -- power ------------------------------------------------------------------------------------------


def test_its_power_is_cut_by_one_request_for_its_kernel_ends_with_it(
    provider: IncusVmProvider, daemon: Daemon
) -> None:
    machine = vm(provider, daemon)
    machine.pull_plug()
    assert [(body["action"], body["force"]) for body in changes(daemon)] == [("stop", True)]


def test_the_power_of_what_is_off_is_not_cut(provider: IncusVmProvider, daemon: Daemon) -> None:
    vm(provider, daemon, "Stopped").pull_plug()
    assert changes(daemon) == []


def test_after_a_pause_its_clock_is_set(
    provider: IncusVmProvider, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(IncusMachine, "run", lambda _, *argv, **__: told.append(argv) or Result(0))
    vm(provider, daemon, "Frozen").resume()
    assert changes(daemon)[-1]["action"] == "unfreeze"
    assert [argv[:3] for argv in told] == [("date", "-u", "-s")]
    told.clear()
    vm(provider, daemon, "Running").resume()
    assert told == []


def test_a_snapshot_has_what_its_guests_believed_to_have_written(
    provider: IncusVmProvider, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    monkeypatch.setattr(IncusMachine, "run", lambda _, *argv, **__: steps.append(argv[0]) or Result(0))
    monkeypatch.setattr(IncusMachine, "pause", lambda _: steps.append("pause"))
    monkeypatch.setattr(IncusVm, "resume", lambda _: steps.append("resume"))
    vm(provider, daemon)
    daemon.replies[f"POST {INSTANCES}/{NAME}/snapshots"] = lambda asked: steps.append("snapshot") or ok()
    provider.snapshot("fresh")
    assert steps == ["sync", "pause", "snapshot", "resume"]
    assert changes(daemon)[-1] == {"name": "fresh", "stateful": False}


# -- its last words ---------------------------------------------------------------------------------


def test_its_last_words_are_its_consoles(provider: IncusVmProvider, daemon: Daemon) -> None:
    machine = vm(provider, daemon)
    daemon.replies[f"GET {INSTANCES}/{NAME}/console"] = b"Linux 6.1\r\n\r\nno share named config\r\n"
    assert machine.last_words() == "Linux 6.1\nno share named config"


def test_where_no_console_is_kept_they_are_qemus(provider: IncusVmProvider, daemon: Daemon) -> None:
    machine = vm(provider, daemon)
    daemon.replies[f"GET {INSTANCES}/{NAME}/console"] = refused(400, "only of containers")
    daemon.replies[f"GET {INSTANCES}/{NAME}/logs/qemu.log"] = b"qemu: cannot allocate memory\n"
    assert machine.last_words() == "qemu: cannot allocate memory"


def test_where_nothing_was_kept_one_is_told_how_to_see_it(provider: IncusVmProvider, daemon: Daemon) -> None:
    assert f"console {NAME} --project thwlab-thw" in vm(provider, daemon).last_words()


def test_an_agent_that_never_answers_is_told_with_the_console_and_has_more_time_than_a_container(
    provider: IncusVmProvider, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert IncusVm.boot_timeout > IncusMachine.boot_timeout
    machine = vm(provider, daemon)
    daemon.replies[f"POST {INSTANCES}/{NAME}/exec"] = refused(500, "VM agent isn't currently running")
    daemon.replies[f"GET {INSTANCES}/{NAME}/console"] = b"no share named config\n"
    monkeypatch.setattr(IncusVm, "boot_timeout", 0.3)
    with pytest.raises(LabError, match=r"agent isn't currently running[\s\S]*no share named config"):
        machine.await_boot()


# -- whether it can be ------------------------------------------------------------------------------


def of_daemon(daemon: Daemon) -> Look:
    return vmneeds.of_daemon(daemon.socket)


def test_a_daemon_that_runs_vms_is_good(daemon: Daemon) -> None:
    assert of_daemon(daemon) == Look("the daemon's VMs", "its drivers are lxc | qemu")


def test_a_daemon_that_runs_none_is_told_with_its_own_reason(daemon: Daemon) -> None:
    daemon.replies["GET /1.0"] = drivers("lxc")
    daemon.replies["GET /1.0/warnings"] = ok([{**WARNING, "type": "other"}, WARNING])
    seen = of_daemon(daemon)
    assert seen.found == "its drivers are lxc, without qemu: vhost_vsock kernel module not loaded"
    assert "systemctl restart" in seen.remedy
    asked = next(each for each in daemon.asked if each.path == "/1.0/warnings")
    assert "project" not in asked.query, "LXD lists a warning that is of no project only if none is asked for"


@pytest.mark.parametrize("answer", [refused(403, "no"), ok([{**WARNING, "status": "resolved"}])])
def test_a_daemon_that_does_not_say_why(daemon: Daemon, answer: Any) -> None:
    daemon.replies["GET /1.0"] = drivers("lxc")
    daemon.replies["GET /1.0/warnings"] = answer
    assert of_daemon(daemon).found.endswith("it does not say why")


def test_a_daemon_that_does_not_answer_is_no_reason_for_a_traceback(tmp_path: Path) -> None:
    assert vmneeds.of_daemon(tmp_path / "none").remedy == "thwlab doctor"


def test_kvm_that_works_and_that_does_not() -> None:
    assert vmneeds.of_kvm(Kvm(True, "it counted")) == Look("KVM", "it counted")
    seen = vmneeds.of_kvm(Kvm(False, "there is no /dev/kvm"))
    assert seen.found == "there is no /dev/kvm"
    assert "nested" in seen.remedy
    assert "--lab-provider=incus" in seen.remedy


def test_without_a_qemu_to_start_a_guest_with_the_device_has_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it has to where this user may not open it: the daemon may."""
    monkeypatch.setattr(kvm, "probe", lambda: Kvm(False, "tried"))
    monkeypatch.setattr(kvm, "SEARCHED", str(tmp_path))
    monkeypatch.setattr(kvm, "DEVICE", tmp_path)
    assert kvm.tried().works
    (tmp_path / kvm.EMULATOR).touch(mode=0o755)
    assert kvm.tried() == Kvm(False, "tried")
    monkeypatch.setattr(kvm.os, "access", lambda path, _: path != tmp_path)
    assert "not tried, for this user may not open it" in kvm.tried().why
    monkeypatch.setattr(kvm, "DEVICE", tmp_path / "none")
    assert kvm.tried() == Kvm(False, "tried")


def test_vsock_and_what_brings_it(tmp_path: Path) -> None:
    assert not vmneeds.of_vsock(tmp_path).remedy
    assert "modprobe vhost_vsock" in vmneeds.of_vsock(tmp_path / "none").remedy


def test_firmware_is_found_where_distributions_have_it(tmp_path: Path) -> None:
    assert vmneeds.of_firmware([tmp_path]).packages == ("ovmf",)
    (tmp_path / "x64").mkdir()
    (tmp_path / "x64/OVMF_CODE.4m.fd").touch()
    assert not vmneeds.of_firmware([tmp_path / "none", tmp_path]).remedy


def test_a_private_lxd_needs_the_package_of_its_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vmneeds, "SEARCHED", str(tmp_path))
    lxd = {name for each in vmneeds.of_programs("lxd") for name in each.packages}
    assert {"qemu-system-x86", "qemu-utils", "lxd-agent"} <= lxd
    assert "lxd-agent" not in {each.what for each in vmneeds.of_programs("incusd")}
    (tmp_path / "lxd-agent").touch(mode=0o755)
    assert not next(each for each in vmneeds.of_programs("lxd") if each.what == "lxd-agent").remedy


def test_up_refuses_before_anything_is_made_in_doctors_words(
    provider: IncusVmProvider, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: "/bin/x")
    monkeypatch.setattr(kvm, "tried", lambda: Kvm(False, "a guest did not count"))
    monkeypatch.setattr(vmneeds, "VSOCK", Path("/none"))
    missing = provider.preflight(guide_topology())
    assert [each.what.split(":")[0] for each in missing[:1]] == ["KVM"]
    assert changes(daemon) == []
    seen = daemonvms.finding_of(vmneeds.look(daemon.socket)[0])
    assert (seen.verdict, seen.what) == (Verdict.MISSING, "KVM")
    assert (f"{seen.what}: {seen.found}", seen.remedy) == (missing[0].what, missing[0].remedy)


# -- ending a command -------------------------------------------------------------------------------


@pytest.fixture(params=["lxd-agent", "incus-agent"])
def agent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A process of an agent's name with a command below it, which has started another; and their mark."""
    shell = tmp_path / request.param
    shutil.copy(shutil.which("sh") or "/bin/sh", shell)
    mark = f"{MARK}={secrets.token_hex(8)}"
    script = f"env {mark} sh -c 'sleep 300 & echo begun; wait'; echo ended"
    process = subprocess.Popen([shell, "-c", script], stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        yield process, mark
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=10)


def test_of_a_command_below_an_agent_only_what_it_started_is_named(
    agent: tuple[subprocess.Popen[bytes], str],
) -> None:
    process, mark = agent
    argv = ["sh", "-c", ending._END_ALL, mark, "no-operation"]
    named = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert named.stdout.split("\n")[0].strip() == "sleep 300"
    assert set(map(str.strip, named.stdout.splitlines())) <= {"sleep 300", ""}, "a zombie has no command line"
    assert process.stdout
    assert process.stdout.readline() == b"ended\n", "the command itself was ended with it, the agent was not"
