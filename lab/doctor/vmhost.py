"""Gather what VMs need to know of a host, as doctor asks; see `lab.providers.vagrant.host`."""

from dataclasses import replace
from pathlib import Path

from lab.providers.vagrant import host
from lab.providers.vagrant.hypervisor import Hypervisor
from lab.providers.vagrant.needs import VmHost
from lab.providers.vagrant.virsh import Virsh
from lab.providers.vagrant.virtualbox import VirtualBox
from lab.state import state_root


def gather(
    kind: str, *, private: bool = False, root: Path | None = None, hypervisor: Hypervisor | None = None
) -> VmHost:
    """This host, for VMs of this kind.  What cannot be read is left out, never an error.

    ``private`` ones have a network of their own, that nothing of this host's can be in.
    """
    asked = hypervisor or (VirtualBox() if kind == "virtualbox" else Virsh())
    found = host.gather(asked, state_root(), private=private, root=root)
    return replace(found, plugins=host.plugins()) if kind == "libvirt" else found
