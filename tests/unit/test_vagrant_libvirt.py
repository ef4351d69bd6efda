"""A libvirtd of the lab's own, as far as it is text and programs: KVM or not, what it sees, how it is named.

The daemon itself is not started here.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_lab import until
from stand_in import StandIn, on_path

from lab.artifacts.box import SHARED, BuiltBox
from lab.errors import ConfigError, LabError
from lab.plan import load_topology
from lab.providers.base import Gone
from lab.providers.vagrant import host
from lab.providers.vagrant.adapter import Adapter
from lab.providers.vagrant.libvirt import daemon as libvirtd
from lab.providers.vagrant.libvirt import kvm, private
from lab.providers.vagrant.libvirt.daemon import ARGV, PrivateLibvirtd
from lab.providers.vagrant.libvirt.kvm import (
    DONE,
    EMULATOR,
    Kvm,
    counting_guest,
    counting_rom,
    probe,
    verdict,
)
from lab.providers.vagrant.libvirt.private import MORE, PrivateLibvirt, PrivateLibvirtProvider
from lab.providers.vagrant.libvirt.settings import OWN, WRAPPER, Surroundings, environment, wrapper
from lab.providers.vagrant.process import Call, Ended, carry_out

# -- KVM -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "works", "why"),
    [
        (Ended(DONE, "", "", 0.2), True, "counted to fifty million in 0.2s"),
        (Ended(None, "", "", 5.0), False, "did not count to fifty million within 5s"),
        (Ended(1, "", "one\nCould not access KVM kernel module", 0.1), False, "exited 1: Could not access"),
        (Ended(0, "", "", 0.1), False, "exited 0: nothing said"),
    ],
)
def test_what_the_end_of_a_guest_says(ended: Ended, works: bool, why: str) -> None:
    found = verdict(ended, 5.0)
    assert found.works is works
    assert why in found.why


@pytest.fixture
def emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("PATH", on_path(tmp_path / "bin"))
    return StandIn(tmp_path / "bin" / EMULATOR)


def test_without_the_device_nothing_is_started(emulator: StandIn, tmp_path: Path) -> None:
    assert probe(device=tmp_path / "none") == Kvm(False, f"there is no {tmp_path / 'none'}")
    assert emulator.calls == []


def test_a_guest_that_counts_proves_kvm(emulator: StandIn, tmp_path: Path) -> None:
    emulator.answer("-accel kvm", status=DONE)
    assert probe(device=tmp_path).works
    rom = Path(emulator.calls[0][emulator.calls[0].index("-bios") + 1])
    assert not rom.exists(), "the ROM was left behind"


def test_a_guest_that_hangs_is_killed_at_the_deadline(emulator: StandIn, tmp_path: Path) -> None:
    emulator.answer("-accel", seconds=60)
    begun = time.monotonic()
    found = probe(device=tmp_path, deadline=0.5)
    assert not found.works
    assert "did not count" in found.why
    assert time.monotonic() - begun < 10


def test_without_qemu_there_is_no_kvm_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = probe(device=tmp_path)
    assert not found.works
    assert "cannot be run" in found.why


@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason="QEMU is not installed")
def test_the_guest_really_counts_and_ends_itself(tmp_path: Path) -> None:
    """In software, where no KVM is needed: the ROM does what `DONE` is taken for."""
    rom = tmp_path / "rom"
    rom.write_bytes(counting_rom())
    ended = carry_out(Call(counting_guest(rom, "tcg"), 60))
    assert ended.status == DONE, ended.tail


@pytest.mark.skipif(shutil.which(EMULATOR) is None, reason="QEMU is not installed")
def test_a_guest_that_does_not_get_to_its_end_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvm, "_LONG", "ebfe")  # it turns on the spot
    rom = tmp_path / "rom"
    rom.write_bytes(counting_rom())
    assert not verdict(carry_out(Call(counting_guest(rom, "tcg"), 1.5)), 1.5).works


# -- what the daemon sees --------------------------------------------------------------------------


def surroundings(folder: Path, *, works: bool = False, box: bool = True) -> Surroundings:
    return Surroundings(folder / "a b", folder / "the box" if box else None, works)


def test_the_script_is_one_and_bears_blanks(tmp_path: Path) -> None:
    script = surroundings(tmp_path).script(ARGV)
    subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=10)
    assert f"mount --bind '{tmp_path}/a b/lib' /var/lib/libvirt" in script
    assert f"mount --bind '{tmp_path}/the box' {SHARED}" in script
    assert f"mount -o remount,bind,ro {SHARED}" in script
    assert script.splitlines()[-1].startswith("exec libvirtd ")


def test_every_folder_it_writes_to_is_the_labs(tmp_path: Path) -> None:
    script = surroundings(tmp_path).script(ARGV)
    for name, target in OWN.items():
        assert f"/{name}' {target}\n" in script


def test_a_kvm_that_does_not_work_is_hidden_and_one_that_works_is_not(tmp_path: Path) -> None:
    hidden = surroundings(tmp_path).script(ARGV)
    assert "mount --bind /run/no-kvm /dev/kvm" in hidden
    assert "remount,bind,ro /dev/kvm" in hidden, "root may use what it can write to"
    assert "/dev/kvm" not in surroundings(tmp_path, works=True).script(ARGV)


def test_without_a_box_none_is_shown(tmp_path: Path) -> None:
    assert SHARED not in surroundings(tmp_path, box=False).script(ARGV)


def test_the_wrapper_changes_the_accelerator_alone(emulator: StandIn, tmp_path: Path) -> None:
    emulator.answer("")
    script = tmp_path / "wrap"
    script.write_text(wrapper())
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    argv = [str(script), "-accel", "tcg", "-name", "guest=a b,tcg", "-append", 'x="tcg y"', ""]
    subprocess.run(argv, check=True, timeout=30)
    (said,) = emulator.calls
    assert said == ["-accel", "tcg,thread=multi,tb-size=256", *argv[3:]]


def test_the_daemon_inherits_no_proxy_and_no_secret() -> None:
    given = environment({"PATH": "/x", "https_proxy": "http://p", "TOKEN": "t"})
    assert given == {"PATH": "/x:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


# -- the daemon, from outside ----------------------------------------------------------------------


@pytest.fixture
def daemon(tmp_path: Path) -> PrivateLibvirtd:
    found = PrivateLibvirtd("thw", tmp_path / "a b" / "libvirt")
    found.directory.mkdir(parents=True)
    return found


def test_its_address_bears_blanks(daemon: PrivateLibvirtd) -> None:
    assert daemon.uri.startswith("qemu:///system?socket=/")
    assert "/a%20b/libvirt/run/libvirt-sock" in daemon.uri


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
def test_what_it_writes_is_complete_and_its_key_is_its_own(daemon: PrivateLibvirtd, tmp_path: Path) -> None:
    box = BuiltBox(tmp_path / "0123")
    for works in (False, True):
        seen = Kvm(works, "because")
        daemon._write(Surroundings(daemon.directory, box.folder, works), box, seen)
        told = json.loads(daemon.vms.read_text())
        assert told["emulator"] == (None if works else WRAPPER)
        assert told["box"] == "thwlab/0123"
        assert told["kernel"] == f"{SHARED}/vmlinuz"
        assert told["authorized"].startswith("ecdsa-sha2-nistp256 ")
    assert (daemon.directory / "lib" / Path(WRAPPER).name).read_text() == wrapper()
    assert daemon.key.stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in daemon.vms.read_text()


def test_the_daemon_finds_the_folders_it_does_not_make(daemon: PrivateLibvirtd, tmp_path: Path) -> None:
    """It failed to start a VM for want of this one."""
    box = BuiltBox(tmp_path / "0123")
    daemon._write(Surroundings(daemon.directory, box.folder, False), box, Kvm(False, ""))
    assert (daemon.directory / "log/qemu").is_dir()


def test_the_key_stays_when_the_daemon_is_started_again(daemon: PrivateLibvirtd, tmp_path: Path) -> None:
    box, seen = BuiltBox(tmp_path / "0123"), Kvm(False, "")
    daemon.key.write_text("kept")
    daemon.key.with_suffix(".pub").write_text("ecdsa kept")
    daemon._write(Surroundings(daemon.directory, box.folder, False), box, seen)
    assert daemon.key.read_text() == "kept"


def test_the_other_half_of_the_key_is_made_again(daemon: PrivateLibvirtd) -> None:
    """Ended between the two, each later start failed with a traceback."""
    daemon._have_key()
    public = daemon.key.with_suffix(".pub")
    words = public.read_text().split()
    public.unlink()
    daemon._have_key()
    assert public.read_text().split()[:2] == words[:2]


def test_vms_of_a_daemon_that_was_never_prepared_are_refused(daemon: PrivateLibvirtd) -> None:
    with pytest.raises(LabError, match="does not run"):
        PrivateLibvirt(daemon).begin()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A VM's program in the lab's network, as libvirt starts one; its name."""
    name = "thwlab_thw_k8s-lb"
    argv = [sys.executable, "-c", "import time; time.sleep(60)", "-name", f"guest={name},debug-threads=on"]
    with subprocess.Popen(argv) as guest:
        until(lambda: libvirtd._command_line(guest.pid) != "")  # it is empty for a moment after it began
        monkeypatch.setattr(libvirtd, "members", lambda _: iter([os.getpid(), guest.pid, 1 << 30]))
        yield name
        guest.kill()


def test_a_daemon_that_only_hangs_is_not_ended_for_its_vms_would_end_with_it(
    daemon: PrivateLibvirtd, running: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that was silent twice for ten seconds cost a lab all its VMs."""
    monkeypatch.setattr(PrivateLibvirtd, "end", None)
    with pytest.raises(LabError, match=f"libvirtd does not answer at .*, and {running} run") as caught:
        daemon.start_with(BuiltBox(tmp_path / "0123"), Kvm(False, ""))
    assert "thwlab down" in caught.value.remedy


def test_a_daemon_that_is_dead_and_one_that_hangs_are_told_apart(
    provider: PrivateLibvirtProvider, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its machines were called gone, to be made anew without their data, which lies in its folder."""
    assert provider.states() == {}, "none was started"
    provider.hypervisor.daemon.directory.mkdir(parents=True)
    with pytest.raises(LabError, match=f"and {running} run") as hangs:
        provider.states()
    assert not isinstance(hangs.value, Gone), "no answer is no proof"
    monkeypatch.setattr(libvirtd, "members", lambda _: iter([]))
    with pytest.raises(Gone, match=r"its daemon is dead: .*daemon\.log"):
        provider.states()


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PrivateLibvirtProvider:
    """One whose box is built and whose Vagrant is not asked."""
    monkeypatch.setattr(private, "box_of", lambda *_: BuiltBox(tmp_path / "0123"))
    monkeypatch.setattr(private, "probe", lambda: Kvm(False, "tried out once"))
    monkeypatch.setattr(Adapter, "has_box", lambda _, box: box.name == "thwlab/old")
    return PrivateLibvirtProvider("thw", tmp_path / "thw")


def test_what_was_prepared_is_what_the_daemon_is_started_with(
    provider: PrivateLibvirtProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    added: list[tuple[str, str]] = []
    started: list[object] = []
    monkeypatch.setattr(Adapter, "add_box", lambda _, box: added.append((box.name, box.url)))
    monkeypatch.setattr(PrivateLibvirtd, "start_with", lambda _, *given: started.extend(given))
    provider.prepare(load_topology(), lambda _: None)
    provider.hypervisor.begin()
    assert added == [("thwlab/0123", str(tmp_path / "0123/thwlab.box"))]
    assert started == [BuiltBox(tmp_path / "0123"), Kvm(False, "tried out once")]


def test_where_a_console_is_is_where_the_daemon_writes_it(
    provider: PrivateLibvirtProvider, tmp_path: Path
) -> None:
    inside = "/var/log/libvirt/qemu/console-#{name}.log"
    assert inside in MORE.read_text()
    found = provider.hypervisor.console("k8s-lb")
    assert found == tmp_path / "thw/libvirt/log/qemu/console-k8s-lb.log"
    assert OWN["log"] == "/var/log/libvirt"


def test_a_box_that_the_user_names_is_run_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THWLAB_BOX", "plain/debian")
    monkeypatch.setenv("THWLAB_BOX_URL", "/x/plain.box")
    monkeypatch.setattr(private, "box_of", None)
    monkeypatch.setattr(private, "probe", lambda: Kvm(False, "tried out once"))
    monkeypatch.setattr("lab.providers.vagrant.provider.supplies_of", lambda _, report: report("supplies"))
    monkeypatch.setattr(Adapter, "has_box", lambda *_: False)
    added: list[tuple[str, str]] = []
    monkeypatch.setattr(Adapter, "add_box", lambda _, box: added.append((box.name, box.url)))
    started: list[object] = []
    monkeypatch.setattr(PrivateLibvirtd, "start_with", lambda _, *given: started.extend(given))
    provider = PrivateLibvirtProvider("thw", tmp_path / "thw")
    assert not provider.is_furnished
    told: list[str] = []
    provider.prepare(load_topology(), told.append)
    provider.hypervisor.begin()
    assert (told[0], added) == ("supplies", [("plain/debian", "/x/plain.box")])
    assert started == ["plain/debian", Kvm(False, "tried out once")]
    assert "LAB_NAMED" not in provider.project.environment()


def test_who_comes_later_knows_the_box_without_being_told(
    provider: PrivateLibvirtProvider, tmp_path: Path
) -> None:
    """Its variables are of the shell that brought the lab up."""
    assert provider.is_furnished
    daemon = provider.hypervisor.daemon
    daemon.directory.mkdir(parents=True)
    (daemon.directory / "key.pub").write_text("ecdsa x")
    for box, plain in (("plain/debian", "plain/debian"), (BuiltBox(tmp_path / "0123"), "")):
        daemon.vms.write_text(json.dumps(daemon._told(box, Kvm(False, "why"))))
        assert daemon.plain == plain
        assert PrivateLibvirtProvider("thw", tmp_path / "thw").is_furnished is not bool(plain)


def test_it_says_everything_that_is_missing_at_once(
    provider: PrivateLibvirtProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private.shutil, "which", lambda *_, **__: None)
    monkeypatch.setattr(private.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(host, "available_mib", lambda _: 1)
    missing = provider.preflight(load_topology())
    packages = {name for each in missing for name in each.packages}
    assert packages >= {"libvirt-daemon-system", "libvirt-clients", "qemu-system-x86", "dnsmasq-base"}
    said = [each.what for each in missing]
    assert any("needs root" in each for each in said)
    assert "libvirtd: not installed" in said
    assert "vagrant: not installed; needed: 2.3 or later" in said
    assert any(each.startswith("memory: 1 MiB available") for each in said), "also what the host itself lacks"


def test_a_file_that_was_cut_off_keeps_nobody_from_removing_the_lab(tmp_path: Path) -> None:
    daemon = PrivateLibvirtd("thw", tmp_path)
    for text in ("", '{"plain": tr'):
        daemon.vms.write_text(text)
        assert daemon.plain == ""


def test_nat_is_asked_for_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: PrivateLibvirtProvider
) -> None:
    """Its variable is of the shell that brought the lab up."""
    assert not provider.hypervisor.daemon.nat
    monkeypatch.setenv("THWLAB_NAT", "1")
    asked = PrivateLibvirtProvider("thw", tmp_path / "thw").hypervisor.daemon
    assert asked.nat
    asked.directory.mkdir(parents=True)
    (asked.directory / "key.pub").write_text("ecdsa x")
    asked.vms.write_text(json.dumps(asked._told(BuiltBox(tmp_path / "0123"), Kvm(False, "why"))))
    monkeypatch.delenv("THWLAB_NAT")
    assert PrivateLibvirtProvider("thw", tmp_path / "thw").hypervisor.daemon.nat


def test_nat_is_refused_where_the_vms_could_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, provider: PrivateLibvirtProvider
) -> None:
    without = provider.hypervisor.daemon
    without.directory.mkdir(parents=True)
    (without.directory / "key.pub").write_text("ecdsa x")
    without.vms.write_text(json.dumps(without._told(BuiltBox(tmp_path / "0123"), Kvm(False, "why"))))
    monkeypatch.setenv("THWLAB_NAT", "1")

    def said(lab: str) -> str:
        missing = PrivateLibvirtProvider(lab, tmp_path / lab).preflight(load_topology(name=lab))
        return "; ".join(f"{each.what}: {each.remedy}" for each in missing)

    assert "the VMs of lab thw were made without: thwlab --name thw down" in said("thw")
    monkeypatch.setenv("THWLAB_BOX", "plain/debian")
    assert "VMs of plain/debian cannot be told" in said("other")
    monkeypatch.setenv("THWLAB_NAT", "yes")
    with pytest.raises(ConfigError, match="'yes' is neither 1 nor 0"):
        PrivateLibvirtProvider("thw", tmp_path / "thw")


def test_its_machines_are_gone_with_this_hosts_boot(provider: PrivateLibvirtProvider) -> None:
    assert provider.ends_with_boot


@pytest.mark.skipif(shutil.which("ruby") is None, reason="ruby is not installed")
def test_what_comes_on_top_of_the_vagrantfile_is_ruby() -> None:
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["ruby", "-wc", str(MORE)], capture_output=True, text=True, env=clean, timeout=30, check=True
    )
    assert (done.stdout, done.stderr) == ("Syntax OK\n", "")
