"""Gather what VMs need to know of a host.  Reads files and asks programs; changes nothing.

To find out whether KVM works it starts one tiny guest, and ends it.
"""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from lab.errors import LabError
from lab.providers.memory import available_mib
from lab.providers.vagrant.hypervisor import RUNNING, Hypervisor
from lab.providers.vagrant.libvirt.kvm import tried
from lab.providers.vagrant.needs import MODULES, VmHost
from lab.providers.vagrant.obstacles import ROOT, Version, answer_or, look, numbers, text_of
from lab.providers.vagrant.plan import MORE, Box
from lab.providers.vagrant.process import Call, carry_out
from lab.providers.vagrant.virtualbox import VirtualBox

ASK = 20.0
KVM = ("kvm_intel", "kvm_amd")
RUNNING_AT_LOAD = "module/kvm/parameters/enable_virt_at_load"  # Linux 6.12 and later


def gather(
    hypervisor: Hypervisor,
    labs: Path,
    *,
    private: bool,
    enclosed: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> VmHost:
    """This host, for VMs of this hypervisor's.  What cannot be read is left out, never an error.

    ``labs`` is the folder of all labs.  ``private`` VMs have a network of their own, that nothing of this
    host's can be in; those that are there already are the ``enclosed``.
    """
    root, kind = root or ROOT, hypervisor.name
    kvm = next((name for name in KVM if (root / "sys/module" / name).is_dir()), "")
    nothing: Mapping[str, str] = {}
    vbox_vms = answer_or(VirtualBox().states, nothing) if kind == "libvirt" else nothing
    around = look(hypervisor, labs, private=private, root=root)
    more = os.environ.get(MORE, "")
    return VmHost(
        **{each.name: getattr(around, each.name) for each in fields(around)},
        vagrant=version_of(["vagrant", "--version"]),
        kvm=kvm,
        kvm_holds=bool(kvm) and kvm_holds(root / "sys", kvm),
        kvm_guests=bool(kvm) and kvm_guests(root / "sys", kvm),
        kvm_at_load=kvm_at_load(root / "sys"),
        modules=modules(root / "sys") if platform.system() == "Linux" else None,
        vbox_runs=tuple(name for name, state in vbox_vms.items() if state == RUNNING),
        virtualisation=virtualisation(text_of(root / "proc/cpuinfo")),
        memory_mib=available_mib(text_of(root / "proc/meminfo") or ""),
        cpus=os.cpu_count(),
        box=Box.chosen(os.environ).name,
        more=more,
        probed=tried() if kind == "libvirt" and not private and not more else None,
        enclosed=enclosed or nothing,
    )


def version_of(argv: Sequence[str]) -> Version | None:
    """The first version a program prints of itself; None where there is no such program."""
    try:
        ended = carry_out(Call(argv, ASK))
    except LabError:
        return None
    return numbers(ended.out) if ended.status == 0 else None


def plugins() -> frozenset[str]:
    """Vagrant's, of this user."""
    try:
        ended = carry_out(Call(["vagrant", "plugin", "list", "--machine-readable"], ASK))
    except LabError:
        return frozenset()
    return frozenset(re.findall(r",plugin-name,([\w.-]+)", ended.out))


def kvm_holds(sys: Path, module: str) -> bool:
    """Whether KVM has the processor: it runs guests, or took it when it was loaded."""
    return bool(kvm_at_load(sys)) or kvm_guests(sys, module)


def kvm_guests(sys: Path, module: str) -> bool:
    """Whether anybody uses KVM."""
    return (text_of(sys / "module" / module / "refcnt") or "0").strip() != "0"


def kvm_at_load(sys: Path) -> bool | None:
    """Whether KVM takes the processor when it is loaded; None of a kernel that has no such setting."""
    said = text_of(sys / RUNNING_AT_LOAD)
    return None if said is None else said.strip() in ("Y", "1")


def modules(sys: Path) -> frozenset[str]:
    """Which of VirtualBox's are loaded."""
    return frozenset(name for name in MODULES if (sys / "module" / name).is_dir())


def virtualisation(cpuinfo: str | None) -> bool | None:
    """Whether an x86 processor offers it; None where there is no such line.  Pure."""
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo or "", re.MULTILINE)
    return bool(re.search(r"\b(vmx|svm)\b", flags[1])) if flags else None
