"""What `auto` means on this host: VirtualBox, else KVM, else containers; with the reason.

In three cases it is not that order.  In CI containers come first: which hypervisor happens to be installed
on a runner would decide what its figures mean.  Where there are no containers but Linux', VMs are all there
is.  And a hypervisor that could not start a VM this moment is passed over while there is something else.
"""

import functools
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lab.providers.incus.daemon import running_socket
from lab.providers.vagrant import usable
from lab.providers.vagrant.usable import Usable
from lab.state import state_root

AUTO, CONTAINERS, VIRTUALBOX = "auto", "incus", "vagrant:virtualbox"
DEFAULT_PROVIDER = "VAGRANT_DEFAULT_PROVIDER"  # Vagrant's own variable
HYPERVISORS = ("virtualbox", "libvirt")  # in the order of preference


@dataclass(frozen=True, slots=True)
class Chosen:
    """One of the provider's words, and why it is that one."""

    word: str
    why: str


@dataclass(frozen=True, slots=True)
class Here:
    """A host, as far as the choice depends on it.  Hypervisors are asked one by one, and only if needed."""

    system: str
    ci: bool
    containers: bool  # root, or a daemon of Incus' or LXD's that this user may use
    preferred: str  # by the user, for Vagrant
    hypervisors: Mapping[str, Callable[[], Usable]]


@functools.cache
def chosen() -> Chosen:
    """The choice for this host.  Made once: a process keeps to it."""
    return choose(look())


def look() -> Here:
    """This host; no hypervisor is asked yet."""
    return Here(
        platform.system(),
        ci=os.environ.get("CI") == "true",
        containers=os.geteuid() == 0 or running_socket() is not None,
        preferred=os.environ.get(DEFAULT_PROVIDER, ""),
        hypervisors={
            "virtualbox": lambda: usable.virtualbox(state_root(), os.environ),
            "libvirt": usable.kvm,
        },
    )


def choose(here: Here) -> Chosen:
    """The first that can be used; if none can, the one whose remedy the user needs.  Pure but for asking."""
    if here.system != "Linux":
        word = f"vagrant:{here.preferred}" if here.preferred in HYPERVISORS else VIRTUALBOX
        return Chosen(word, f"on {here.system} a lab is made of VMs")
    if here.ci and here.containers:
        return Chosen(CONTAINERS, "containers, for CI=true; VMs of a runner have to be named")
    wanted = [here.preferred] if here.preferred else list(HYPERVISORS)
    if strange := set(wanted) - set(HYPERVISORS):
        return Chosen(CONTAINERS, f"{DEFAULT_PROVIDER} is {strange.pop()}, on which no lab runs")
    passed: dict[str, Usable] = {}
    for name in wanted:
        passed[name] = here.hypervisors[name]()
        if passed[name].works:
            return Chosen(f"vagrant:{name}", _because(passed))
    if not here.containers and (installed := [name for name in passed if passed[name].there]):
        why = f"{_because(passed)}; and for containers neither root's rights nor a daemon"
        return Chosen(f"vagrant:{installed[0]}", why)
    return Chosen(CONTAINERS, f"containers: {_because(passed)}")


def _because(passed: Mapping[str, Usable]) -> str:
    return "; ".join(seen.why for seen in passed.values())
