"""Whether VMs would start here this moment, for who named no provider.  Asks; changes nothing.

That something is installed proves nothing: VirtualBox without its modules starts no VM, and a /dev/kvm may
be there and not work.  What costs time is asked last.  How to mend it is not told here: who names such a
provider, and `thwlab doctor`, hear that from `needs`.
"""

import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.providers.vagrant import host, needs
from lab.providers.vagrant.adapter import OLDEST
from lab.providers.vagrant.libvirt.daemon import running_socket
from lab.providers.vagrant.libvirt.kvm import DEVICE, EMULATOR, SEARCHED, probe
from lab.providers.vagrant.libvirt.private import NEEDED
from lab.providers.vagrant.needs import VmHost, dotted
from lab.providers.vagrant.obstacles import ROOT, text_of
from lab.providers.vagrant.programs import PLUGIN
from lab.providers.vagrant.virtualbox import MANAGE, VirtualBox

VBOX_DEVICE = "dev/vboxdrv"  # a container sees this host's modules, and not this


@dataclass(frozen=True, slots=True)
class Usable:
    """Whether a kind of VMs can be used, how one knows, and whether the hypervisor is installed at all."""

    works: bool
    why: str
    there: bool = True


def virtualbox(labs: Path, environ: Mapping[str, str], *, root: Path = ROOT) -> Usable:
    """VirtualBox, with its modules, a Vagrant that knows it, and the processor for itself.

    ``labs`` is the folder of all labs.
    """
    if shutil.which(MANAGE) is None:
        return Usable(False, "there is no VirtualBox", there=False)
    if os.geteuid() == 0 and (user := environ.get("SUDO_USER", "root")) != "root":
        return Usable(False, f"VMs of VirtualBox would be root's and not {user}'s")
    if shutil.which("vagrant") is None:
        return Usable(False, "VirtualBox is here, and no Vagrant")
    seen = of_virtualbox(host.gather(VirtualBox(), labs, private=False, root=root))
    if seen.works and platform.system() == "Linux" and not (root / VBOX_DEVICE).exists():
        return Usable(False, f"VirtualBox is here, and no /{VBOX_DEVICE}")
    return seen


def of_virtualbox(here: VmHost) -> Usable:
    """What keeps it from being used, whatever the plan is.  Pure."""
    if here.vagrant is None or here.vagrant < OLDEST:
        found = dotted(here.vagrant) if here.vagrant else "one that does not answer"
        return Usable(False, f"VirtualBox is here, and a Vagrant too old for a lab: {found}")
    for obstacle in (needs.of_pair(here), needs.of_modules(here), needs.of_processor(here)):
        if obstacle is not None:
            return Usable(False, f"{obstacle.what}: {obstacle.found}")
    return Usable(True, f"VirtualBox {dotted(here.virtualbox or ())} can be used")


def kvm(*, root: Path = ROOT, device: Path = DEVICE) -> Usable:
    """KVM that has run a guest, for VMs by Vagrant; a libvirtd that runs, or as root one of the lab's own.

    What cannot be tried does not count: emulated VMs are 20 times slower, and nobody asked for them.
    Almost every Linux has the device: without Vagrant nobody meant to use it for this.
    """
    if not device.exists():
        return Usable(False, "there is no KVM", there=False)
    if shutil.which("vagrant") is None:
        return Usable(False, "KVM is here, and no Vagrant", there=False)
    if lacking := _lacking_for_kvm(device, root):
        return Usable(False, lacking)
    found = probe(device=device)
    if not found.works:
        return Usable(False, f"KVM does not work: {found.why}")
    if PLUGIN not in host.plugins():
        return Usable(False, f"KVM works, and Vagrant has no {PLUGIN}")
    return Usable(True, f"KVM works: {found.why}")


def _lacking_for_kvm(device: Path, root: Path) -> str:
    """Seen without starting anything."""
    if platform.machine() != "x86_64":
        return "KVM is tried out on x86-64 alone"
    if host.virtualisation(text_of(root / "proc/cpuinfo")) is False:
        return "KVM does not work: the processor offers no virtualisation"
    if shutil.which(EMULATOR, path=SEARCHED) is None:
        return f"KVM is here, and no {EMULATOR} to try it with"
    if not os.access(device, os.R_OK | os.W_OK):
        return f"KVM is here, and this user may not open {device}"
    if running_socket() is not None:
        return ""
    if os.geteuid() != 0:
        return "KVM is here, and no libvirtd that this user may ask"
    absent = [name for name, _ in NEEDED if shutil.which(name, path=SEARCHED) is None]
    return f"KVM is here, and no {', '.join(absent)} for a libvirtd of the lab's own" if absent else ""
