"""Can this host run the plan as VMs of VirtualBox's or libvirt's?  The checks; pure.

What is missing or in the way is judged in `lab.providers.vagrant.needs` and `obstacles`, by which `up`
refuses too; here are the words for what is well, and what is only worth a warning.
"""

from collections.abc import Callable

from lab.doctor.finding import Finding, Verdict, good
from lab.providers.vagrant import needs, obstacles
from lab.providers.vagrant.adapter import OLDEST
from lab.providers.vagrant.needs import ASKS_KVM, FIRST, VmHost, dotted
from lab.providers.vagrant.obstacles import Obstacle
from lab.providers.vagrant.programs import NEEDED, PLUGIN, installing
from lab.topology import Topology

CROWD = 4  # virtual processors for each of this host's before a lab becomes too slow for its leases

Check = Callable[[VmHost, Topology], Finding]


def check_vagrant(host: VmHost, _: Topology) -> Finding:
    """Vagrant itself."""
    wanted = NEEDED
    if host.vagrant is None:
        return Finding(
            "vagrant", Verdict.MISSING, "not installed", wanted, installing("vagrant"), ("vagrant",)
        )
    if host.vagrant < OLDEST:
        return Finding("vagrant", Verdict.MISSING, dotted(host.vagrant), wanted, "update Vagrant")
    return good("vagrant", dotted(host.vagrant))


def check_box(host: VmHost, topology: Topology) -> Finding:
    """A box on which this cluster can run; the guide's own is ten years old."""
    said = host.box or ("built here" if host.private else "the Vagrantfile's")
    return _told(needs.of_box(host, topology)) or good("box", said)


def check_pair(host: VmHost, topology: Topology) -> Finding:
    """A VirtualBox that this Vagrant knows: each series needs a Vagrant that was made after it."""
    what = "VirtualBox and Vagrant"
    if found := _told(needs.of_pair(host, topology)):
        return found
    if host.virtualbox is None or host.kind != "virtualbox":
        return good(what, "not needed, the VMs are libvirt's")
    said = f"VirtualBox {dotted(host.virtualbox)}"
    if host.virtualbox[:2] > max(FIRST):
        return Finding(what, Verdict.WARNING, said, "one that a Vagrant is known for", "update Vagrant")
    return good(what, said)


def check_plugin(host: VmHost, _: Topology) -> Finding:
    """Vagrant learns libvirt from a plugin."""
    if host.kind != "libvirt":
        return good("vagrant-libvirt", "not needed, the VMs are VirtualBox's")
    if PLUGIN in host.plugins:
        return good(PLUGIN, "installed")
    return Finding(PLUGIN, Verdict.MISSING, "not installed", "the plugin", installing(PLUGIN), (PLUGIN,))


def check_answers(host: VmHost, topology: Topology) -> Finding:
    """A libvirtd that runs already has to answer this user."""
    said = "answers" if host.kind == "libvirt" and not host.private else "not needed"
    return _told(obstacles.of_silence(host, topology)) or good("libvirtd", said)


def check_host_only(host: VmHost, topology: Topology) -> Finding:
    """VirtualBox makes a network for the lab only in the ranges that a file of root's allows."""
    found = obstacles.of_host_only(host, topology)
    return _told(found) or good("host-only network", f"{topology.networks.nodes} is allowed here")


def check_modules(host: VmHost, topology: Topology) -> Finding:
    """VirtualBox's modules, without which no VM starts and there is no host-only network."""
    what = "VirtualBox's modules"
    if found := _told(needs.of_modules(host, topology)):
        return found
    if host.kind != "virtualbox" or host.modules is None or host.virtualbox is None:
        return good(what, "not needed" if host.kind != "virtualbox" else "this system has none")
    return good(what, "loaded")


def check_kvm(host: VmHost, topology: Topology) -> Finding:
    """KVM and VirtualBox cannot both have the processor."""
    what = "KVM and VirtualBox"
    if found := _told(needs.of_kvm(host, topology)):
        return found
    if host.kind == "libvirt" and host.vbox_runs:
        names, remedy = ", ".join(host.vbox_runs), f"VBoxManage controlvm '{host.vbox_runs[0]}' savestate"
        return Finding(what, Verdict.WARNING, f"VirtualBox runs {names}", "none while KVM runs", remedy)
    waits = host.kind == "virtualbox" and host.kvm and needs.asks_kvm(host) and host.kvm_at_load is False
    if waits:
        needed = f"VirtualBox {dotted(ASKS_KVM)} and later, but for Linux 6.12, need it at load"
        remedy = (
            "remove `options kvm enable_virt_at_load=0` from /etc/modprobe.d, then: "
            f"sudo modprobe -r {host.kvm} kvm; sudo modprobe {host.kvm}"
        )
        return Finding(what, Verdict.WARNING, f"{host.kvm} does not take the processor", needed, remedy)
    return good(what, "neither is in the other's way")


def check_guests(host: VmHost, topology: Topology) -> Finding:
    """KVM for the VMs of a libvirtd that runs already; one of the lab's own emulates where there is none."""
    if found := _told(needs.of_guests(host, topology)):
        return found
    if host.probed is None:
        return good("KVM", "found out by `up`, which does without" if host.private else "not needed here")
    return good("KVM", host.probed.why if host.probed.works else f"{host.probed.why}; {host.more} decides")


def check_memory(host: VmHost, topology: Topology) -> Finding:
    """Room for all VMs at once."""
    planned = sum(map(needs.memory_of, topology.nodes))
    if host.memory_mib is None:
        return Finding("memory", Verdict.UNTRIED, "this system does not tell", f"{planned} MiB available")
    said = f"{host.memory_mib} MiB available, {planned} planned"
    return _told(needs.of_memory(host, topology)) or good("memory", said)


def check_cpus(host: VmHost, topology: Topology) -> Finding:
    """Processors for the plan: VirtualBox gives no VM more than there are."""
    planned = sum(node.cpus for node in topology.nodes)
    if host.cpus is None:
        return Finding("processors", Verdict.UNTRIED, "this system does not tell", f"{planned} planned")
    if found := _told(needs.of_cpus(host, topology)):
        return found
    if planned > CROWD * host.cpus:
        remedy = "less `cpus` in the plan, or fewer machines: leases may be lost under load"
        needed = f"{planned} planned in all"
        return Finding("processors", Verdict.WARNING, f"{host.cpus} here", needed, remedy)
    return good("processors", f"{host.cpus} here, {planned} planned")


def check_namesakes(host: VmHost, topology: Topology) -> Finding:
    """No VMs of another user's, or of another state folder's, that are called as this lab's."""
    found = obstacles.of_namesakes(host, topology)
    return _told(found) or good("a lab of this name", "nobody else's")


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


CHECKS: tuple[Check, ...] = (
    check_vagrant,
    check_box,
    check_pair,
    check_plugin,
    check_answers,
    check_modules,
    check_host_only,
    check_kvm,
    check_guests,
    check_memory,
    check_cpus,
    check_namesakes,
    check_others,
    check_nat,
    check_subnet,
)
