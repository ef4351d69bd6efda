"""What `auto` means: what can be used this moment, in the order of preference, with the reason."""

import os
import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from lab import automatic
from lab.automatic import Chosen, Here, choose
from lab.providers.vagrant import host, usable
from lab.providers.vagrant.libvirt.kvm import Kvm
from lab.providers.vagrant.needs import VmHost
from lab.providers.vagrant.usable import Usable

VBOX, KVM = Usable(True, "VirtualBox 7.0.6 can be used"), Usable(True, "KVM works")
NO_VBOX, NO_KVM = (
    Usable(False, "there is no VirtualBox", there=False),
    Usable(False, "there is no KVM", False),
)
BROKEN = Usable(False, "VirtualBox's modules: not loaded: vboxdrv")
UNTRIED = Usable(False, "KVM is here, and this user may not open /dev/kvm")
NO_VAGRANT = Usable(False, "KVM is here, and no Vagrant", there=False)
GOOD = VmHost(
    "virtualbox",
    virtualbox=(7, 0, 6),
    vagrant=(2, 3, 4),
    modules=frozenset(("vboxdrv", "vboxnetflt", "vboxnetadp")),
    virtualisation=True,
)


def never() -> Usable:
    raise AssertionError("it was asked, and need not be")


def here(
    virtualbox: Usable | Callable[[], Usable] = NO_VBOX,
    kvm: Usable | Callable[[], Usable] = NO_KVM,
    *,
    system: str = "Linux",
    ci: bool = False,
    containers: bool = True,
    preferred: str = "",
) -> Here:
    asked: Mapping[str, Callable[[], Usable]] = {
        name: seen if callable(seen) else lambda seen=seen: seen
        for name, seen in (("virtualbox", virtualbox), ("libvirt", kvm))
    }
    return Here(system, ci, containers, preferred, asked)


@pytest.mark.parametrize(
    ("seen", "word", "why"),
    [
        (here(VBOX, never), "vagrant:virtualbox", "VirtualBox 7.0.6 can be used"),
        (here(NO_VBOX, KVM), "vagrant:libvirt", "there is no VirtualBox; KVM works"),
        (here(BROKEN, KVM), "vagrant:libvirt", "VirtualBox's modules: not loaded: vboxdrv; KVM works"),
        (here(), "incus", "containers: there is no VirtualBox; there is no KVM"),
        (here(BROKEN, UNTRIED), "incus", f"containers: {BROKEN.why}; {UNTRIED.why}"),
    ],
    ids=["virtualbox", "kvm", "virtualbox without modules", "neither", "neither can be used"],
)
def test_virtualbox_then_kvm_then_containers_by_what_can_be_used(seen: Here, word: str, why: str) -> None:
    assert choose(seen) == Chosen(word, why)


def test_in_ci_no_hypervisor_is_asked_where_containers_are_possible() -> None:
    found = choose(here(never, never, ci=True))
    assert found.word == "incus"
    assert "CI=true" in found.why
    assert choose(here(VBOX, never, ci=True, containers=False)).word == "vagrant:virtualbox"


@pytest.mark.parametrize(
    ("preferred", "word"),
    [("", "vagrant:virtualbox"), ("libvirt", "vagrant:libvirt"), ("hyperv", "vagrant:virtualbox")],
)
def test_where_there_are_no_containers_vms_are_all_there_is(preferred: str, word: str) -> None:
    found = choose(here(never, never, system="Darwin", containers=False, preferred=preferred))
    assert (found.word, "on Darwin" in found.why) == (word, True)


def test_what_the_user_prefers_for_vagrant_is_asked_alone() -> None:
    assert choose(here(never, KVM, preferred="libvirt")).word == "vagrant:libvirt"
    assert choose(here(VBOX, never, preferred="virtualbox")).word == "vagrant:virtualbox"
    assert choose(here(never, NO_KVM, preferred="libvirt")).word == "incus"
    strange = choose(here(never, never, preferred="hyperv"))
    assert (strange.word, strange.why) == (
        "incus",
        "VAGRANT_DEFAULT_PROVIDER is hyperv, on which no lab runs",
    )


@pytest.mark.parametrize(
    ("virtualbox", "kvm", "word"),
    [
        (BROKEN, NO_KVM, "vagrant:virtualbox"),
        (BROKEN, UNTRIED, "vagrant:virtualbox"),
        (NO_VBOX, UNTRIED, "vagrant:libvirt"),
        (NO_VBOX, NO_VAGRANT, "incus"),
        (NO_VBOX, NO_KVM, "incus"),
    ],
)
def test_who_may_have_no_containers_is_told_what_his_hypervisor_lacks(
    virtualbox: Usable, kvm: Usable, word: str
) -> None:
    """Else a user with VirtualBox and without its modules would be told of a daemon of Incus'."""
    found = choose(here(virtualbox, kvm, containers=False))
    assert found.word == word
    assert virtualbox.why in found.why


def test_the_choice_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automatic, "look", lambda: here(VBOX))
    first = automatic.chosen()
    monkeypatch.setattr(automatic, "look", here)
    assert automatic.chosen() is first
    automatic.chosen.cache_clear()
    assert automatic.chosen().word == "incus"


# -- what can be used ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (
            replace(GOOD, modules=frozenset()),
            "VirtualBox's modules: not loaded: vboxdrv, vboxnetflt, vboxnet",
        ),
        (replace(GOOD, virtualbox=None), "no VBoxManage answers"),
        (replace(GOOD, virtualbox=(5, 2, 4)), "VirtualBox 5.2.4"),
        (replace(GOOD, virtualbox=(7, 1, 2)), "VirtualBox 7.1.2 with Vagrant 2.3.4"),
        (replace(GOOD, vagrant=(2, 2, 19)), "a Vagrant too old for a lab: 2.2.19"),
        (replace(GOOD, vagrant=None), "one that does not answer"),
        (replace(GOOD, virtualisation=False), "the processor offers none"),
        (replace(GOOD, kvm="kvm_intel", kvm_holds=True), "kvm_intel holds the processor"),
    ],
)
def test_a_virtualbox_that_could_start_no_vm_is_not_used(found: VmHost, why: str) -> None:
    seen = usable.of_virtualbox(found)
    assert not seen.works
    assert seen.there
    assert why in seen.why


def test_a_virtualbox_that_lacks_nothing_is_used_and_named() -> None:
    assert usable.of_virtualbox(GOOD) == Usable(True, "VirtualBox 7.0.6 can be used")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All that is installed here; who asks is a user, not root."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(usable, "SEARCHED", str(folder))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(usable, "running_socket", lambda: None)
    return folder


def install(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch(mode=0o755)


def test_virtualbox_is_asked_only_where_it_and_vagrant_are(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "gather", lambda *_, **__: GOOD)
    labs, root = tmp_path / "labs", tmp_path / "root"
    assert usable.virtualbox(labs, {}, root=root) == NO_VBOX
    install(programs, "VBoxManage")
    assert usable.virtualbox(labs, {}, root=root) == Usable(False, "VirtualBox is here, and no Vagrant")
    install(programs, "vagrant")
    assert usable.virtualbox(labs, {}, root=root).why == "VirtualBox is here, and no /dev/vboxdrv", (
        "a container"
    )
    (root / "dev").mkdir(parents=True)
    (root / "dev/vboxdrv").touch()
    assert usable.virtualbox(labs, {}, root=root).works


def test_roots_virtualbox_is_not_that_of_the_user_behind_sudo(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(programs, "VBoxManage")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    found = usable.virtualbox(tmp_path, {"SUDO_USER": "ann"}, root=tmp_path)
    assert found == Usable(False, "VMs of VirtualBox would be root's and not ann's")
    for environ in ({}, {"SUDO_USER": "root"}):
        assert "Vagrant" in usable.virtualbox(tmp_path, environ, root=tmp_path).why, "root, and nobody else"


def test_kvm_counts_when_a_guest_has_run_and_vagrant_knows_it(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The file is no proof, and what cannot be tried is none: emulated VMs are never chosen."""
    device, cpuinfo = tmp_path / "kvm", tmp_path / "proc/cpuinfo"
    seen = lambda: usable.kvm(root=tmp_path, device=device)  # noqa: E731
    works = Kvm(False, "a guest did not count to fifty million within 5s")
    monkeypatch.setattr(usable, "probe", lambda **_: works)
    monkeypatch.setattr(host, "plugins", frozenset)
    assert seen() == NO_KVM
    device.touch()
    assert seen() == Usable(False, "KVM is here, and no Vagrant", there=False)
    install(programs, "vagrant")
    cpuinfo.parent.mkdir()
    cpuinfo.write_text("flags\t\t: fpu sse\n")
    assert seen() == Usable(False, "KVM does not work: the processor offers no virtualisation")
    cpuinfo.write_text("flags\t\t: fpu vmx\n")
    assert "to try it with" in seen().why
    install(programs, "qemu-system-x86_64")
    assert "no libvirtd that this user may ask" in seen().why
    monkeypatch.setattr(usable, "running_socket", lambda: Path("/run/libvirt/libvirt-sock"))
    assert "did not count" in seen().why
    works = Kvm(True, "a guest counted to fifty million in 0.1s")
    assert seen().why == "KVM works, and Vagrant has no vagrant-libvirt"
    monkeypatch.setattr(host, "plugins", lambda: frozenset(("vagrant-libvirt",)))
    assert seen() == Usable(True, "KVM works: a guest counted to fifty million in 0.1s")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not seen().works


def test_as_root_a_libvirtd_of_the_labs_own_will_do(
    programs: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(usable, "probe", lambda **_: Kvm(True, "it counted"))
    monkeypatch.setattr(host, "plugins", lambda: frozenset(("vagrant-libvirt",)))
    install(programs, "vagrant", "qemu-system-x86_64")
    found = usable.kvm(root=tmp_path, device=device)
    assert "no libvirtd, virsh" in found.why
    install(programs, *(name for name, _ in usable.NEEDED))
    assert shutil.which("libvirtd")
    assert usable.kvm(root=tmp_path, device=device).works
