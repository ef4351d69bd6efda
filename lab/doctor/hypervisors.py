"""Can this host run the plan as VMs of VirtualBox's or libvirt's?  The checks; pure.

`vmhost` gathers what they judge.  What other VMs and networks are in the way is judged in
`lab.providers.vagrant.obstacles`, by which `up` refuses too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lab.doctor.finding import Finding, Verdict, good
from lab.furnishing.guest import KERNEL, SYSTEMD
from lab.providers.vagrant import obstacles
from lab.providers.vagrant.adapter import OLDEST
from lab.providers.vagrant.hypervisor import OFF
from lab.providers.vagrant.obstacles import Around, Obstacle, Version
from lab.providers.vagrant.plan import PREFIX
from lab.topology import Topology

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
CROWD = 4  # virtual processors for each of this host's before a lab becomes too slow for its leases


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


Check = Callable[[VmHost, Topology], Finding]


def check_vagrant(host: VmHost, _: Topology) -> Finding:
    """Vagrant itself."""
    wanted = f"{dotted(OLDEST)} or later"
    if host.vagrant is None:
        remedy = "apt-get install vagrant, or https://developer.hashicorp.com/vagrant/install"
        return Finding("vagrant", Verdict.MISSING, "not installed", wanted, remedy, ("vagrant",))
    if host.vagrant < OLDEST:
        return Finding("vagrant", Verdict.MISSING, dotted(host.vagrant), wanted, "update Vagrant")
    return good("vagrant", dotted(host.vagrant))


def check_box(host: VmHost, _: Topology) -> Finding:
    """A box on which this cluster can run; the guide's own is ten years old."""
    if (old := TOO_OLD.get(host.box)) is None:
        return good("box", host.box or ("built here" if host.private else "the Vagrantfile's"))
    found = (
        f"{host.box} is {old}: its VMs boot, and neither containerd, kubelet nor the lab's units run on them"
    )
    needed = f"kernel {dotted(KERNEL)}, systemd {SYSTEMD}, cgroup v2, or later"
    return Finding("box", Verdict.MISSING, found, needed, "unset THWLAB_BOX, or name a Debian 12 there")


def check_pair(host: VmHost, _: Topology) -> Finding:
    """A VirtualBox that this Vagrant knows: each series needs a Vagrant that was made after it."""
    what = "VirtualBox and Vagrant"
    if host.kind != "virtualbox":
        return good(what, "not needed, the VMs are libvirt's")
    if host.virtualbox is None:
        remedy = "install VirtualBox: https://www.virtualbox.org/wiki/Downloads"
        return Finding(what, Verdict.MISSING, "no VBoxManage answers", "VirtualBox 6.1 or later", remedy)
    series, found = host.virtualbox[:2], dotted(host.virtualbox)
    if series > max(FIRST):
        return Finding(
            what, Verdict.WARNING, f"VirtualBox {found}", "one that a Vagrant is known for", "update Vagrant"
        )
    needed = FIRST.get(series, OLDEST)
    if host.vagrant is not None and host.vagrant < needed:
        remedy = f"update Vagrant, or install VirtualBox {best_for(host.vagrant)}"
        said = f"VirtualBox {found} with Vagrant {dotted(host.vagrant)}"
        return Finding(what, Verdict.MISSING, said, f"Vagrant {dotted(needed)} or later", remedy)
    return good(what, f"VirtualBox {found}")


def check_plugin(host: VmHost, _: Topology) -> Finding:
    """Vagrant learns libvirt from a plugin."""
    if host.kind != "libvirt":
        return good("vagrant-libvirt", "not needed, the VMs are VirtualBox's")
    if "vagrant-libvirt" in host.plugins:
        return good("vagrant-libvirt", "installed")
    remedy = "apt-get install vagrant-libvirt, or vagrant plugin install vagrant-libvirt"
    return Finding(
        "vagrant-libvirt", Verdict.MISSING, "not installed", "the plugin", remedy, ("vagrant-libvirt",)
    )


def check_answers(host: VmHost, topology: Topology) -> Finding:
    """A libvirtd that runs already has to answer this user."""
    said = "answers" if host.kind == "libvirt" and not host.private else "not needed"
    return _told(obstacles.of_silence(host, topology)) or good("libvirtd's answer", said)


def check_host_only(host: VmHost, topology: Topology) -> Finding:
    """VirtualBox makes a network for the lab only in the ranges that a file of root's allows."""
    found = obstacles.of_host_only(host, topology)
    return _told(found) or good("host-only network", f"{topology.networks.nodes} is allowed here")


def check_modules(host: VmHost, _: Topology) -> Finding:
    """VirtualBox's modules, without which no VM starts and there is no host-only network."""
    what = "VirtualBox's modules"
    if host.kind != "virtualbox" or host.modules is None or host.virtualbox is None:
        return good(what, "not needed" if host.kind != "virtualbox" else "this system has none")
    if not (lacking := [name for name in MODULES if name not in host.modules]):
        return good(what, "loaded")
    remedy = (
        f"sudo modprobe -a {' '.join(lacking)}; if that fails: sudo /sbin/vboxconfig, or dkms of your system"
    )
    return Finding(what, Verdict.MISSING, f"not loaded: {', '.join(lacking)}", ", ".join(MODULES), remedy)


def check_kvm(host: VmHost, _: Topology) -> Finding:
    """KVM and VirtualBox cannot both have the processor."""
    what = "KVM and VirtualBox"
    if host.kind == "libvirt":
        if not host.vbox_runs:
            return good(what, "neither is in the other's way")
        names, remedy = ", ".join(host.vbox_runs), f"VBoxManage controlvm '{host.vbox_runs[0]}' savestate"
        return Finding(what, Verdict.WARNING, f"VirtualBox runs {names}", "none while KVM runs", remedy)
    if host.virtualisation is False:
        remedy = "switch it on in the firmware; in a VM without it: --lab-provider=incus"
        return Finding(what, Verdict.MISSING, "the processor offers none", "VT-x or AMD-V", remedy)
    if host.kvm and (host.virtualbox or ASKS_KVM) >= ASKS_KVM:
        return _beside_kvm(what, host)
    if host.kvm and host.kvm_holds:
        remedy = (
            f"end KVM's guests, then: sudo modprobe -r {host.kvm}; for good: "
            "echo 'options kvm enable_virt_at_load=0' | sudo tee /etc/modprobe.d/thwlab-kvm.conf"
        )
        return Finding(what, Verdict.MISSING, f"{host.kvm} holds the processor", "it free", remedy)
    return good(what, "neither is in the other's way")


def _beside_kvm(what: str, host: VmHost) -> Finding:
    """For a VirtualBox that asks KVM for the processor: KVM must have it, and no guests."""
    if host.kvm_guests:
        remedy = "end KVM's guests; `virsh list --all` shows libvirt's"
        return Finding(what, Verdict.MISSING, f"{host.kvm} runs guests", "none while VirtualBox runs", remedy)
    if host.kvm_at_load is False:
        needed = f"VirtualBox {dotted(ASKS_KVM)} and later, but for Linux 6.12, need it at load"
        remedy = (
            "remove `options kvm enable_virt_at_load=0` from /etc/modprobe.d, then: "
            f"sudo modprobe -r {host.kvm} kvm; sudo modprobe {host.kvm}"
        )
        return Finding(what, Verdict.WARNING, f"{host.kvm} does not take the processor", needed, remedy)
    return good(what, "neither is in the other's way")


def check_memory(host: VmHost, topology: Topology) -> Finding:
    """Room for all VMs at once."""
    planned = sum(node.memory_mib + OVERHEAD_MIB for node in topology.nodes)
    biggest = max(topology.nodes, key=lambda node: node.memory_mib)
    if host.memory_mib is None:
        return Finding("memory", Verdict.UNTRIED, "this system does not tell", f"{planned} MiB available")
    if host.memory_mib >= planned or _runs(host, topology):
        return good("memory", f"{host.memory_mib} MiB available, {planned} planned")
    needed = f"{planned} MiB for {len(topology.nodes)} VMs; {biggest.name} alone {biggest.memory_mib} MiB"
    remedy = "less `memory` in the plan, end what else runs, or docs/plans/small.yaml"
    return Finding("memory", Verdict.MISSING, f"{host.memory_mib} MiB available", needed, remedy)


def check_cpus(host: VmHost, topology: Topology) -> Finding:
    """Processors for the plan: VirtualBox gives no VM more than there are."""
    planned = sum(node.cpus for node in topology.nodes)
    biggest = max(topology.nodes, key=lambda node: node.cpus)
    if host.cpus is None:
        return Finding("processors", Verdict.UNTRIED, "this system does not tell", f"{planned} planned")
    if biggest.cpus > host.cpus:
        remedy = f"at most `cpus: {host.cpus}` for {biggest.name}"
        needed = f"{biggest.cpus} for {biggest.name}"
        return Finding("processors", Verdict.MISSING, f"{host.cpus} here", needed, remedy)
    if planned > CROWD * host.cpus:
        remedy = "less `cpus` in the plan, or fewer machines: leases may be lost under load"
        needed = f"{planned} planned in all"
        return Finding("processors", Verdict.WARNING, f"{host.cpus} here", needed, remedy)
    return good("processors", f"{host.cpus} here, {planned} planned")


def check_others(host: VmHost, topology: Topology) -> Finding:
    """Other running VMs that have addresses of this plan's, or may have, being called like its machines."""
    if found := _told(obstacles.of_others(host, topology)):
        return found
    if not (names := obstacles.alike(host, topology)):
        return good("other labs' VMs", "none in the way")
    wanted = topology.networks.nodes
    remedy = f"if they have addresses in {wanted}, another `network: cidr` in the plan"
    said = f"{', '.join(names)} run, called like this plan's machines"
    return Finding("other labs' VMs", Verdict.WARNING, said, f"{wanted} free", remedy)


def check_nat(host: VmHost, topology: Topology) -> Finding:
    """The network that each VM has beside the lab's hides what lies in the same range."""
    return _told(obstacles.of_nat(host, topology)) or good("NAT network", "overlaps nothing of the plan")


def check_subnet(host: VmHost, topology: Topology) -> Finding:
    """The lab's network is this host's too: no other interface may be in it."""
    where = "in a network namespace of its own" if host.private else "free"
    found = obstacles.of_subnet(host, topology)
    return _told(found) or good("subnet", f"{topology.networks.nodes} is {where}")


def _told(found: Obstacle | None) -> Finding | None:
    """As `up` refuses by it."""
    if found is None:
        return None
    return Finding(found.what, Verdict.MISSING, found.found, found.needed, found.remedy)


def diagnose(host: VmHost, topology: Topology) -> list[Finding]:
    """Every check's finding.  Pure."""
    return [check(host, topology) for check in CHECKS]


def best_for(vagrant: Version) -> str:
    """The newest series of VirtualBox that a Vagrant knows.  Pure."""
    known: Sequence[Version] = [series for series, first in FIRST.items() if first <= vagrant]
    return dotted(max(known, default=(6, 1)))


def dotted(version: Version) -> str:
    """A version as one writes it.  Pure."""
    return ".".join(map(str, version))


def _runs(host: VmHost, topology: Topology) -> bool:
    """Whether the lab itself runs already, and has the memory."""
    ours = f"{PREFIX}{topology.name}_"
    return any(name.startswith(ours) and state not in OFF for name, state in host.vms.items())


CHECKS: tuple[Check, ...] = (
    check_vagrant,
    check_box,
    check_pair,
    check_plugin,
    check_answers,
    check_modules,
    check_host_only,
    check_kvm,
    check_memory,
    check_cpus,
    check_others,
    check_nat,
    check_subnet,
)
