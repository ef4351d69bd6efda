"""Which provider a word names, and whether a lab outlived a reboot of its host."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from lab import automatic, choice, opening
from lab.automatic import Here
from lab.choice import WORDS, Made, is_stale, is_vagrants, made_of, provider_of, same_kind, settled
from lab.debts import debts, owe
from lab.doctor import Verdict, examine
from lab.errors import ConfigError, LabError
from lab.machine import Substrate
from lab.opening import open_lab, remove_lab, state_of
from lab.plan import load_topology
from lab.providers.base import Missing
from lab.providers.incus import IncusProvider
from lab.providers.vagrant.libvirt import daemon
from lab.providers.vagrant.libvirt.private import PrivateLibvirtProvider
from lab.providers.vagrant.plan import DEFAULT_BOX, Box
from lab.providers.vagrant.provider import VagrantProvider
from lab.providers.vagrant.usable import Usable
from lab.providers.vagrant.virsh import Virsh
from lab.providers.vagrant.virtualbox import VirtualBox
from lab.settings import BOX
from lab.state import StateFolder


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateFolder:
    """No libvirtd runs, none says what it prefers, and there is no VirtualBox."""
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path))
    monkeypatch.delenv("VAGRANT_DEFAULT_PROVIDER", raising=False)
    for name in BOX:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(daemon, "RUNNING_SOCKETS", ("/no/such/socket",))
    return StateFolder(tmp_path / "thw")


def running(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "running_socket", lambda: Path("/run/libvirt/libvirt-sock"))


@pytest.mark.parametrize("word", WORDS)
def test_every_word_names_a_provider_and_nothing_is_touched(word: str, state: StateFolder) -> None:
    kind = VagrantProvider if is_vagrants(word) else IncusProvider
    assert isinstance(provider_of(word, "thw"), kind)
    assert not state.path.exists()


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("vagrant:libvrt", "vagrant:libvirt"),
        ("vargant", "vagrant"),
        ("incus:privat", "incus:private"),
        ("incus-vm:privat", "incus-vm:private"),
    ],
)
def test_a_wrong_word_is_told_with_the_nearest(word: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=rf"'{word}' is no provider here; did you mean {meant}\?"):
        provider_of(word, "thw")


def test_a_libvirtd_of_ones_own_is_only_for_who_has_none(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(provider_of("vagrant:libvirt", "thw"), PrivateLibvirtProvider)
    running(monkeypatch)
    theirs = provider_of("vagrant:libvirt", "thw")
    assert not isinstance(theirs, PrivateLibvirtProvider)
    assert isinstance(theirs, VagrantProvider)
    assert isinstance(theirs.hypervisor, Virsh)
    (state.path / "libvirt").mkdir(parents=True)
    assert isinstance(provider_of("vagrant:libvirt", "thw"), PrivateLibvirtProvider), "it was begun with one"


def test_a_word_says_whose_libvirtd_it_is_whatever_runs(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's package starts one, and the lab's own was asked for all the same."""
    for runs in (False, True):
        if runs:
            running(monkeypatch)
        assert isinstance(provider_of("vagrant:libvirt:private", "thw"), PrivateLibvirtProvider)
        theirs = provider_of("vagrant:libvirt:running", "thw")
        assert isinstance(theirs, VagrantProvider)
        assert not isinstance(theirs, PrivateLibvirtProvider)
        assert theirs.hypervisor.network is None


def test_a_lab_keeps_to_the_libvirtd_it_was_begun_with(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert choice.decided("vagrant:libvirt", state) == "vagrant:libvirt:private"
    running(monkeypatch)
    assert choice.decided("vagrant:libvirt", state) == "vagrant:libvirt:running"
    assert choice.decided("vagrant:libvirt:private", state) == "vagrant:libvirt:private"
    assert choice.decided("vagrant", state) == "vagrant:libvirt:running"
    assert choice.decided("incus:private", state) == "incus:private"


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        ("vagrant:libvirt:private", "vagrant:libvirt:running"),
        ("vagrant:libvirt:running", "vagrant:libvirt:private"),
        ("vagrant:libvirt", "vagrant:libvirt:running"),
    ],
)
def test_a_lab_in_another_libvirtd_is_not_taken_for_the_one_asked_for(
    state: StateFolder, made: str, asked: str
) -> None:
    state.intend(made, load_topology().digest())
    with pytest.raises(LabError, match=f"runs with provider vagrant:libvirt:.*, not {asked}"):
        open_lab(load_topology(), asked, lambda _: None)


def test_what_is_written_down_says_whose_libvirtd_it_was(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package may start one before the next command comes."""
    monkeypatch.setattr(PrivateLibvirtProvider, "preflight", lambda *_: [])
    monkeypatch.setattr(PrivateLibvirtProvider, "prepare", lambda *_: None)
    open_lab(load_topology(), "vagrant:libvirt", lambda _: None)
    intent = state.intent()
    assert intent is not None
    assert intent.provider == "vagrant:libvirt:private"
    running(monkeypatch)
    lab = open_lab(load_topology(), "vagrant:libvirt", lambda _: None)
    assert isinstance(lab.provider, PrivateLibvirtProvider)


def test_vagrant_alone_is_what_vagrant_would_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settled("vagrant") == "vagrant:libvirt"
    program = tmp_path / "VBoxManage"
    program.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert settled("vagrant") == "vagrant:virtualbox"
    found = provider_of("vagrant", "thw")
    assert isinstance(found, VagrantProvider)
    assert isinstance(found.hypervisor, VirtualBox)
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "libvirt")
    assert settled("vagrant") == "vagrant:libvirt"
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "")
    assert settled("vagrant") == "vagrant:virtualbox"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("hyperv", "'hyperv' is none that a lab's VMs run on; there are virtualbox, libvirt"),
        ("virtualbx", "did you mean virtualbox?"),
        ("Libvirt", "did you mean libvirt?"),
    ],
)
def test_a_preference_that_cannot_be_met_is_not_passed_over(
    said: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", said)
    with pytest.raises(ConfigError, match="VAGRANT_DEFAULT_PROVIDER") as caught:
        settled("vagrant")
    assert told in str(caught.value)
    assert settled("vagrant:libvirt") == "vagrant:libvirt", "who names one is not asked"
    assert settled("auto") == "incus", "nor is who leaves the choice to us"


@pytest.mark.parametrize("word", ["vagrant:virtualbox", "vagrant:libvirt"])
def test_plain_machines_have_their_box_named_so_that_it_is_fetched_before_them(
    word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the download is a part of `vagrant up`, without a word and within the machines' deadline."""
    running(monkeypatch)
    assert box_of(word) == Box(DEFAULT_BOX)
    monkeypatch.setenv("THWLAB_BOX_VERSION", "12.1")
    assert box_of(word) == Box(DEFAULT_BOX, version="12.1")
    monkeypatch.setenv("THWLAB_BOX", "my/debian")
    monkeypatch.setenv("THWLAB_BOX_URL", "/x/my.box")
    assert box_of(word) == Box("my/debian", version="12.1", url="/x/my.box")


def box_of(word: str) -> Box:
    found = provider_of(word, "thw")
    assert isinstance(found, VagrantProvider)
    return found.project.box


def test_kinds_of_machines() -> None:
    assert same_kind("auto", "incus:private")
    assert same_kind("vagrant", "vagrant:libvirt")
    assert not same_kind("vagrant:virtualbox", "vagrant:libvirt")
    assert same_kind("vagrant:libvirt:private", "vagrant:libvirt")
    assert same_kind("vagrant:libvirt", "vagrant:libvirt:running")
    assert not same_kind("vagrant:libvirt:private", "vagrant:libvirt:running")
    assert not same_kind("vagrant:libvirt:private", "vagrant:virtualbox")
    assert not same_kind("incus", "vagrant:libvirt")
    assert same_kind("incus-vm", "incus-vm:private")
    assert not same_kind("incus", "incus-vm")
    assert not same_kind("incus-vm", "vagrant:libvirt")


@pytest.mark.parametrize(
    ("word", "made"),
    [
        ("auto", Made.ROOT),
        ("incus:lxd", Made.ROOT),
        ("incus-vm", Made.DISK),
        ("incus-vm:private", Made.DISK),
        ("vagrant:libvirt", Made.BOX),
        ("vagrant:libvirt:private", Made.BOX),
    ],
)
def test_what_is_built_for_a_words_machines(word: str, made: Made) -> None:
    assert made_of(word) is made


def test_vms_of_a_daemon_are_asked_for_by_a_word_of_their_own() -> None:
    vms, containers = provider_of("incus-vm:private", "thw"), provider_of("incus:private", "thw")
    assert isinstance(vms, IncusProvider)
    assert isinstance(containers, IncusProvider)
    assert (vms.platform.substrate, vms.platform.cgroup) == (Substrate.VM, 2)
    assert containers.platform.container
    assert vms.capabilities > containers.capabilities


@pytest.mark.parametrize(
    ("word", "theirs", "stale"),
    [
        ("incus:private", False, True),
        ("vagrant:libvirt", False, True),
        ("vagrant:libvirt:private", True, True),
        ("vagrant:libvirt:running", False, False),
        ("vagrant:libvirt", True, False),
        ("vagrant:virtualbox", False, False),
    ],
)
def test_after_a_reboot_only_what_ran_privately_is_gone(
    word: str, theirs: bool, stale: bool, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.intend(word, "digest")
    if theirs:
        running(monkeypatch)
    intent = state.intent()
    assert intent is not None
    assert not is_stale(state, intent)
    assert is_stale(state, replace(intent, boot="another")) is stale


def test_a_lab_of_other_machines_is_refused_before_anything_is_asked(state: StateFolder) -> None:
    state.intend("incus:private", load_topology().digest())
    with pytest.raises(LabError, match="lab thw runs with provider incus:private, not vagrant:libvirt"):
        open_lab(load_topology(), "vagrant:libvirt", lambda _: None)


def test_the_name_of_a_socket_is_no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sock"
    monkeypatch.setattr(daemon, "RUNNING_SOCKETS", ("/no/such/socket", str(path)))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        assert daemon.running_socket() is None, "nobody listens yet"
        listener.listen()
        assert daemon.running_socket() == path
    assert daemon.running_socket() is None


def test_vms_of_a_running_libvirtd_that_is_off_are_not_taken_for_a_daemons_of_their_own(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state.path / "vagrant").mkdir(parents=True)
    assert choice.owns_libvirt(state), "nothing was made yet"
    (state.path / "vagrant/networks-before").touch()
    assert not choice.owns_libvirt(state)
    assert not isinstance(provider_of("vagrant:libvirt", "thw"), PrivateLibvirtProvider)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        ("libvirt/etc", "vagrant:libvirt:private"),
        ("vagrant/dot/machines/k8s-lb/libvirt", "vagrant:libvirt"),
        ("vagrant/dot/machines/k8s-lb/virtualbox", "vagrant:virtualbox"),
        ("incus", ""),
        ("pki", ""),
    ],
)
def test_a_lost_state_file_leaves_the_folder_to_tell_what_made_the_lab(
    state: StateFolder, made: str, word: str
) -> None:
    (state.path / made).mkdir(parents=True)
    assert choice.kept_for(state) == word


# -- what nobody named ---------------------------------------------------------------------------------


@pytest.fixture
def virtualbox(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that can be used, so that `auto` is VMs."""
    works = {"virtualbox": lambda: Usable(True, "VirtualBox 7.0.6 can be used")}
    monkeypatch.setattr(automatic, "look", lambda: Here("Linux", False, True, "", works))
    automatic.chosen.cache_clear()


def test_auto_is_what_is_chosen_here(virtualbox: None, state: StateFolder) -> None:
    assert choice.decided("auto", state) == "vagrant:virtualbox"
    assert is_vagrants("auto")
    found = provider_of("auto", "thw")
    assert isinstance(found, VagrantProvider)
    assert isinstance(found.hypervisor, VirtualBox)
    assert choice.why_of("auto", state) == "VirtualBox 7.0.6 can be used"
    assert choice.why_of("vagrant:virtualbox", state) == "", "that one was named"


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("incus:private", "incus:private"),
        ("auto", "incus"),
        ("vagrant:libvirt:private", "vagrant:libvirt:private"),
    ],
)
def test_a_lab_that_runs_is_not_chosen_anew(
    written: str, kept: str, virtualbox: None, state: StateFolder
) -> None:
    """Older versions wrote down `auto`, and had made containers."""
    state.intend(written, load_topology().digest())
    assert choice.decided("auto", state) == kept
    assert choice.why_of("auto", state) == ""
    intent = state.intent()
    assert intent is not None
    assert isinstance(provider_of(intent.provider, "thw"), IncusProvider) is kept.startswith("incus")


def test_a_private_daemon_tells_what_a_lost_state_file_does_not(virtualbox: None, state: StateFolder) -> None:
    (state.path / "incus").mkdir(parents=True)
    assert choice.decided("auto", state) == "incus"


def test_up_says_what_was_chosen_and_why_and_writes_that_down(
    virtualbox: None, state: StateFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VagrantProvider, "preflight", lambda *_: [])
    monkeypatch.setattr(VagrantProvider, "prepare", lambda *_: None)
    monkeypatch.setattr(VagrantProvider, "attach", lambda *_: {})
    said: list[str] = []
    open_lab(load_topology(), "auto", said.append)
    assert said == ["provider vagrant:virtualbox, by itself: VirtualBox 7.0.6 can be used"]
    intent = state.intent()
    assert intent is not None
    assert intent.provider == "vagrant:virtualbox"
    said.clear()
    open_lab(load_topology(), "auto", said.append)
    assert said == [], "it is there already"


def test_a_host_that_lacks_something_for_what_was_chosen_is_told_of_containers(
    virtualbox: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VagrantProvider, "preflight", lambda *_: [Missing("host-only network", "a line")])
    with pytest.raises(
        LabError, match="nobody named the provider vagrant:virtualbox: --lab-provider=incus"
    ) as told:
        open_lab(load_topology(), "auto", lambda _: None)
    assert "host-only network: a line" in str(told.value)
    with pytest.raises(LabError) as named:
        open_lab(load_topology(), "vagrant:virtualbox", lambda _: None)
    assert "nobody named" not in str(named.value)


def test_down_finds_containers_that_nothing_tells_of_also_where_vms_would_be_chosen(
    virtualbox: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed run may leave them without a state folder."""
    removed: list[object] = []
    monkeypatch.setattr(VagrantProvider, "is_there", lambda _: False)
    monkeypatch.setattr(IncusProvider, "is_there", lambda _: True)
    monkeypatch.setattr(IncusProvider, "destroy", lambda it: removed.append(it))
    monkeypatch.setattr(opening, "sweep", lambda _: None)
    assert remove_lab("thw")
    assert len(removed) == 1
    assert isinstance(removed[0], IncusProvider)


def test_what_somebody_else_began_is_removed_only_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    def theirs(_: object) -> None:
        raise LabError("begun by another user", remedy="down --force")

    removed: list[object] = []
    monkeypatch.setattr(VagrantProvider, "is_there", lambda _: True)
    monkeypatch.setattr(VagrantProvider, "insist_ours", theirs)
    monkeypatch.setattr(VagrantProvider, "destroy", lambda it: removed.append(it))
    monkeypatch.setattr(opening, "sweep", lambda _: None)
    with pytest.raises(LabError, match="begun by another user"):
        remove_lab("thw", word="vagrant:virtualbox")
    assert removed == []
    assert remove_lab("thw", word="vagrant:virtualbox", force=True)
    assert len(removed) == 1


def test_nobody_heals_what_is_being_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog would boot machines while they are removed, or those of the next lab of that name."""
    state, owed = state_of("thw"), []
    state.path.mkdir(parents=True)
    owe(state.path, {"fault": "power-cut", "machines": ["k8s-lb"]}, 60)
    monkeypatch.setattr(IncusProvider, "is_there", lambda _: True)
    monkeypatch.setattr(IncusProvider, "destroy", lambda _: owed.extend(debts(state.path)))
    monkeypatch.setattr(opening, "sweep", lambda _: None)
    assert remove_lab("thw", word="incus")
    assert owed == []


def test_the_doctor_says_first_what_was_chosen_and_only_where_nobody_named_it() -> None:
    first = examine(load_topology(), "auto")[0]
    assert (first.what, first.verdict) == ("provider", Verdict.GOOD)
    assert first.found.startswith("incus, by itself: containers, for CI=true")
    assert "provider" not in [each.what for each in examine(load_topology(), "incus")]
