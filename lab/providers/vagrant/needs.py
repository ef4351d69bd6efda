"""What this host itself lacks for a lab's VMs: versions that fit, modules, a free processor, memory.

As `obstacles` the one place that knows: `up` refuses by it, and `thwlab doctor` tells of it, and of more
that keeps no lab from running.  Pure; `host` gathers what is judged here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lab.machine import KERNEL, SYSTEMD
from lab.providers.vagrant import obstacles
from lab.providers.vagrant.adapter import OLDEST
from lab.providers.vagrant.hypervisor import OFF
from lab.providers.vagrant.libvirt.kvm import LOADING as LOADING_KVM
from lab.providers.vagrant.libvirt.kvm import Kvm
from lab.providers.vagrant.obstacles import Around, Obstacle, Version
from lab.providers.vagrant.plan import PREFIX
from lab.topology import Node, Topology

# The first Vagrant that knows a series of VirtualBox's, from Vagrant's CHANGELOG.md: GH-12947, 13513, 13709
FIRST: Mapping[Version, Version] = {(7, 0): (2, 3, 2), (7, 1): (2, 4, 2), (7, 2): (2, 4, 9)}
# Since then it leaves the processor to KVM's own code: https://github.com/VirtualBox/virtualbox/issues/711
ASKS_KVM: Version = (7, 2, 10)
MODULES = ("vboxdrv", "vboxnetflt", "vboxnetadp")  # the VMs, and the host-only network
# Boxes of the guide's time, and what they boot; the stage `programs` refuses any such machine by itself.
TOO_OLD: Mapping[str, str] = {
    "ubuntu/trusty64": "Ubuntu 14.04: kernel 3.13, upstart in systemd's place, cgroup v1",
    "ubuntu/xenial64": "Ubuntu 16.04: kernel 4.4, systemd 229, cgroup v1",
    "ubuntu/bionic64": "Ubuntu 18.04: kernel 4.15, systemd 237, cgroup v1",
    "debian/stretch64": "Debian 9: kernel 4.9, systemd 232, cgroup v1",
    "debian/buster64": "Debian 10: kernel 4.19, systemd 241, cgroup v1",
}
OVERHEAD_MIB = 150  # of a VM, beside its guest's memory
EARLIEST: Version = (6, 1)  # of VirtualBox; the Vagrants that knew older ones are too old themselves


@dataclass(frozen=True, slots=True)
class VmHost(Around):
    """A host as far as VMs depend on it.  None means that this host does not tell."""

    vagrant: Version | None = None
    plugins: frozenset[str] = frozenset()
    kvm: str = ""  # the module that is loaded
    kvm_holds: bool = False  # it has guests, or took the processor when it was loaded
    kvm_guests: bool = False
    kvm_at_load: bool | None = None  # whether it takes the processor when it is loaded
    modules: frozenset[str] | None = None  # VirtualBox's own that are loaded
    vbox_runs: tuple[str, ...] = ()
    virtualisation: bool | None = None  # whether the processor offers it
    memory_mib: int | None = None
    cpus: int | None = None
    box: str = ""  # the one that the user names
    more: str = ""  # a Vagrantfile of the user's that comes on top
    probed: Kvm | None = None  # KVM, tried out; None where nobody did
    enclosed: Mapping[str, str] = field(default_factory=dict)  # VMs of a daemon of the lab's own


def of_box(host: VmHost, _: Topology) -> Obstacle | None:
    """A box on which this cluster can run; the guide's own is ten years old."""
    if (old := TOO_OLD.get(host.box)) is None:
        return None
    found = (
        f"{host.box} is {old}: its VMs boot, and neither containerd, kubelet nor the lab's units run on them"
    )
    needed = f"kernel {dotted(KERNEL)}, systemd {SYSTEMD}, cgroup v2, or later"
    return Obstacle("box", found, needed, "unset THWLAB_BOX, or name a Debian 12 there")


def of_pair(host: VmHost, _: Topology | None = None) -> Obstacle | None:
    """A VirtualBox that this Vagrant knows: each series needs a Vagrant that was made after it."""
    what, wanted = "VirtualBox and Vagrant", f"VirtualBox {dotted(EARLIEST)} or later"
    if host.kind != "virtualbox":
        return None
    if host.virtualbox is None:
        remedy = "install VirtualBox: https://www.virtualbox.org/wiki/Downloads"
        return Obstacle(what, "no VBoxManage answers", wanted, remedy)
    series, found = host.virtualbox[:2], dotted(host.virtualbox)
    if series < EARLIEST:
        return Obstacle(
            what, f"VirtualBox {found}", wanted, f"install VirtualBox {best_for(host.vagrant or OLDEST)}"
        )
    needed = FIRST.get(series, OLDEST)
    if host.vagrant is not None and host.vagrant < needed:
        remedy = f"update Vagrant, or install VirtualBox {best_for(host.vagrant)}"
        said = f"VirtualBox {found} with Vagrant {dotted(host.vagrant)}"
        return Obstacle(what, said, f"Vagrant {dotted(needed)} or later", remedy)
    return None


def of_modules(host: VmHost, _: Topology | None = None) -> Obstacle | None:
    """VirtualBox's modules, without which no VM starts and there is no host-only network."""
    if host.kind != "virtualbox" or host.modules is None or host.virtualbox is None:
        return None
    if not (lacking := [name for name in MODULES if name not in host.modules]):
        return None
    remedy = (
        f"sudo modprobe -a {' '.join(lacking)}; if that fails: sudo /sbin/vboxconfig, or dkms of your system"
    )
    return Obstacle("VirtualBox's modules", f"not loaded: {', '.join(lacking)}", ", ".join(MODULES), remedy)


def of_kvm(host: VmHost, topology: Topology) -> Obstacle | None:
    """KVM and VirtualBox cannot both have the processor; VMs of the lab's that run have it already."""
    return None if host.kind != "virtualbox" or on(host, topology) else of_processor(host)


def of_processor(host: VmHost) -> Obstacle | None:
    """A processor that offers virtualisation, and that KVM leaves to VirtualBox."""
    what = "KVM and VirtualBox"
    if host.virtualisation is False:
        remedy = "switch it on in the firmware; in a VM without it: --lab-provider=incus"
        return Obstacle(what, "the processor offers none", "VT-x or AMD-V", remedy)
    if host.kvm and asks_kvm(host):
        if not host.kvm_guests:
            return None
        remedy = "end KVM's guests; `virsh list --all` shows libvirt's"
        return Obstacle(what, f"{host.kvm} runs guests", "none while VirtualBox runs", remedy)
    if host.kvm and host.kvm_holds:
        remedy = (
            f"end KVM's guests, then: sudo modprobe -r {host.kvm}; for good: "
            "echo 'options kvm enable_virt_at_load=0' | sudo tee /etc/modprobe.d/thwlab-kvm.conf"
        )
        return Obstacle(what, f"{host.kvm} holds the processor", "it free", remedy)
    return None


def of_guests(host: VmHost, _: Topology) -> Obstacle | None:
    """VMs of a libvirtd that runs already are KVM's guests; a file of the user's may say otherwise."""
    if host.probed is None or host.probed.works or host.more:
        return None
    remedy = (
        f"{LOADING_KVM}; where there is none, switch virtualisation on in the firmware; "
        "emulated VMs, as root: --lab-provider=vagrant:libvirt:private"
    )
    return Obstacle("KVM", host.probed.why, "KVM, for VMs of the libvirtd that runs here", remedy)


def of_memory(host: VmHost, topology: Topology) -> Obstacle | None:
    """Room at once for all VMs that are not on yet."""
    to_come = [node for node in topology.nodes if node.name not in on(host, topology)]
    planned = sum(map(memory_of, to_come))
    if host.memory_mib is None or host.memory_mib >= planned:
        return None
    biggest = max(to_come, key=lambda node: node.memory_mib)
    needed = f"{planned} MiB for {len(to_come)} VMs; {biggest.name} alone {biggest.memory_mib} MiB"
    remedy = "less `memory` in the plan, end what else runs, or docs/plans/small.yaml"
    return Obstacle("memory", f"{host.memory_mib} MiB available", needed, remedy)


def of_cpus(host: VmHost, topology: Topology) -> Obstacle | None:
    """VirtualBox gives no VM more processors than there are."""
    biggest = max(topology.nodes, key=lambda node: node.cpus)
    if host.cpus is None or biggest.cpus <= host.cpus:
        return None
    remedy = f"at most `cpus: {host.cpus}` for {biggest.name}"
    return Obstacle("processors", f"{host.cpus} here", f"{biggest.cpus} for {biggest.name}", remedy)


LOOKED_FOR = (of_box, of_pair, of_modules, of_kvm, of_guests, of_memory, of_cpus)


def hindering(host: VmHost, topology: Topology) -> list[Obstacle]:
    """All that keeps a lab of this plan from running here, what is in its way too.  Pure."""
    own = [found for look_for in LOOKED_FOR if (found := look_for(host, topology))]
    return [*own, *obstacles.obstacles(host, topology)]


def on(host: VmHost, topology: Topology) -> set[str]:
    """The lab's machines that are on.  Pure."""
    ours = f"{PREFIX}{topology.name}_"
    states = {**host.vms, **host.enclosed}
    return {
        name.removeprefix(ours)
        for name, state in states.items()
        if name.startswith(ours) and state not in OFF
    }


def memory_of(node: Node) -> int:
    """MiB of this host's for a machine's VM.  Pure."""
    return node.memory_mib + OVERHEAD_MIB


def asks_kvm(host: VmHost) -> bool:
    """Whether this VirtualBox leaves the processor to KVM; of an unknown one the newest is thought.  Pure."""
    return (host.virtualbox or ASKS_KVM) >= ASKS_KVM


def best_for(vagrant: Version) -> str:
    """The newest series of VirtualBox that a Vagrant knows.  Pure."""
    known: Sequence[Version] = [series for series, first in FIRST.items() if first <= vagrant]
    return dotted(max(known, default=(6, 1)))


def dotted(version: Version) -> str:
    """A version as one writes it.  Pure."""
    return ".".join(map(str, version))
