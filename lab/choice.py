"""Which provider a user named, and whether what a lab was made of outlived this host's last boot."""

import os
import shutil
from enum import StrEnum

from lab.automatic import AUTO, CONTAINERS, DEFAULT_PROVIDER, HYPERVISORS, chosen
from lab.errors import ConfigError, LabError
from lab.mistakes import nearest
from lab.providers.base import Provider
from lab.providers.incus import IncusProvider, IncusVmProvider
from lab.providers.vagrant.libvirt.daemon import running_socket
from lab.providers.vagrant.libvirt.private import PrivateLibvirtProvider
from lab.providers.vagrant.plan import Box, Project
from lab.providers.vagrant.provider import VagrantProvider
from lab.providers.vagrant.virsh import Virsh
from lab.providers.vagrant.virtualbox import MANAGE, VirtualBox
from lab.state import Intent, StateFolder, boot_id, state_root

DAEMONS = ("auto", "running", "private", "incusd", "lxd")
LIBVIRT = "vagrant:libvirt"  # whichever libvirtd there is; these two say whose
LIBVIRT_PRIVATE, LIBVIRT_RUNNING = f"{LIBVIRT}:private", f"{LIBVIRT}:running"


class Made(StrEnum):
    """What machines are made of: a container's root, Vagrant's box, or the disk of a daemon's VM."""

    ROOT = "root"
    BOX = "box"
    DISK = "disk"


WORDS = (
    AUTO,
    CONTAINERS,
    *(f"incus:{each}" for each in DAEMONS[1:]),
    "incus-vm",
    *(f"incus-vm:{each}" for each in DAEMONS[1:]),
    "vagrant",
    *(f"vagrant:{each}" for each in HYPERVISORS),
    LIBVIRT_PRIVATE,
    LIBVIRT_RUNNING,
)


def provider_of(word: str, name: str) -> Provider:
    """The provider by one of `WORDS`, for the lab of this name.  Touches nothing.

    `incus` are containers; `incus-vm` are VMs of the same daemons.
    """
    state = StateFolder(state_root() / name)
    word = decided(word, state)
    kind, _, which = word.partition(":")
    if kind != "vagrant":
        incus = IncusVmProvider if kind == "incus-vm" else IncusProvider
        return incus(name, state.path, daemon=which or "auto")
    box, log = Box.plain(os.environ), state.path / "vagrant/vagrant.log"
    if which == "virtualbox":
        return VagrantProvider(name, state.path, VirtualBox(log), box=box)
    if word == LIBVIRT_PRIVATE:
        return PrivateLibvirtProvider(name, state.path)
    return VagrantProvider(name, state.path, Virsh(log), box=box)


def kept_for(state: StateFolder) -> str:
    """The provider's word, by what a lab's folder has of it; empty if nothing."""
    project = Project(state.name, state.path / "vagrant", "")
    if (state.path / "libvirt").exists():
        return LIBVIRT_PRIVATE
    made = {path.name for path in project.data.glob("machines/*/*")}
    return next((f"vagrant:{each}" for each in HYPERVISORS if each in made), "")


def settled(word: str) -> str:
    """The word, for `vagrant` alone with its hypervisor; `ConfigError` if it is no provider's.

    For `auto` what would be chosen here for a new lab; what a lab was begun with is `decided`'s to know.
    """
    if problem := mistake_in(word):
        raise ConfigError("--lab-provider", [problem])
    if word == AUTO:
        return chosen().word
    return f"vagrant:{_preferred()}" if word == "vagrant" else word


def decided(word: str, state: StateFolder) -> str:
    """`settled`; and `vagrant:libvirt` is the libvirtd that runs and may be used, else one of the lab's own.

    A lab keeps to the one it was begun with: a package may start a libvirtd at any time, and `auto` of a
    host on which VirtualBox was installed since would be another provider.
    """
    word = (_begun_with(state) if word == AUTO else "") or settled(word)
    if word != LIBVIRT:
        return word
    return LIBVIRT_PRIVATE if owns_libvirt(state) else LIBVIRT_RUNNING


def why_of(word: str, state: StateFolder) -> str:
    """Why `auto` is what `decided` says, for a lab that is not there yet; empty for whatever was named."""
    return chosen().why if word == AUTO and not _begun_with(state) else ""


def mistake_in(word: str) -> str:
    """Why the word is no provider's, with the nearest that is; empty if it is one.  Pure."""
    if word in (*WORDS, "incus:auto", "incus-vm:auto"):
        return ""
    close = nearest(word, WORDS)
    meant = f"; did you mean {close}?" if close else ""
    return f"{word!r} is no provider here{meant} (there are {', '.join(WORDS)})"


def owns_libvirt(state: StateFolder) -> bool:
    """Whether the lab in this folder has, or would get, a libvirtd of its own.

    One that noted networks and has no such daemon was made with the running one, also if that is off now.
    """
    if (state.path / "libvirt").exists():
        return True
    return not Project(state.name, state.path / "vagrant", "libvirt").networks_before.exists() and (
        running_socket() is None
    )


def is_vagrants(word: str) -> bool:
    """Whether its machines are VMs of a hypervisor's, by Vagrant."""
    return settled(word).startswith("vagrant")


def hypervisor_of(word: str) -> str:
    """Vagrant's name for the hypervisor of one of its words; empty for others."""
    return settled(word).split(":")[1] if is_vagrants(word) else ""


def made_of(word: str) -> Made:
    """What has to be built for its machines."""
    if is_vagrants(word):
        return Made.BOX
    return Made.DISK if settled(word).startswith("incus-vm") else Made.ROOT


def same_kind(word: str, other: str) -> bool:
    """Whether two words may name the same machines.  Pure but for what `vagrant` alone means here."""
    kinds = {_kind(settled(word)), _kind(settled(other))}
    return len(kinds) == 1 or kinds in ({LIBVIRT, LIBVIRT_PRIVATE}, {LIBVIRT, LIBVIRT_RUNNING})


def is_stale(state: StateFolder, intent: Intent) -> bool:
    """Whether this host was booted since the lab was built, and its machines are gone with that."""
    return intent.boot != boot_id() and provider_of(intent.provider, state.name).ends_with_boot


def _begun_with(state: StateFolder) -> str:
    """What a lab is made with, for who does not name it; empty if it is not there."""
    try:
        intent = state.intent()
    except LabError:  # a file that cannot be read: its folder still tells
        intent = None
    if intent:  # older versions wrote down `auto`, which was containers then
        return CONTAINERS if intent.provider == AUTO else intent.provider
    return kept_for(state) or (CONTAINERS if (state.path / "incus").exists() else "")


def _kind(word: str) -> str:
    if word.startswith("vagrant"):
        return word
    return "incus-vm" if word.startswith("incus-vm") else "incus"


def _preferred() -> str:
    """As Vagrant itself would choose: what the user says, else VirtualBox where there is one.

    `ConfigError` where they say what no lab runs on: another in its place would be a surprise.
    """
    if said := os.environ.get(DEFAULT_PROVIDER, ""):
        if said in HYPERVISORS:
            return said
        close = nearest(said, HYPERVISORS)
        meant = f"did you mean {close}? " if close else ""
        there = f"{said!r} is none that a lab's VMs run on; {meant}there are {', '.join(HYPERVISORS)}"
        raise ConfigError(
            DEFAULT_PROVIDER, [f"{there}, also as --provider vagrant:{close or HYPERVISORS[0]}"]
        )
    return "virtualbox" if shutil.which(MANAGE) else "libvirt"
