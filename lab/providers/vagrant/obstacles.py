"""What is in the way of a lab's VMs on this host: its networks, other labs' VMs, VirtualBox's own rules.

The one place that knows: `up` refuses by it, and `thwlab doctor` tells of it.
"""

import json
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import TypeAlias, TypeVar

from lab.errors import LabError
from lab.providers.subnets import free_network, networks_of_host
from lab.providers.vagrant.hypervisor import OFF, Hypervisor, of_prefix
from lab.providers.vagrant.plan import PREFIX, UNSAID
from lab.providers.vagrant.virtualbox import VirtualBox
from lab.topology import VIRTUALBOX_NAT, Topology, overlaps_nat

T = TypeVar("T")
Version: TypeAlias = tuple[int, ...]

# VirtualBox' default, and since when it insists; Vagrant's providers/virtualbox/action/network.rb
HOST_ONLY = IPv4Network("192.168.56.0/21")
INSISTS: Version = (6, 1, 28)
MACOS_DOES_NOT: Version = (7, 0, 0)
NETWORKS_CONF = "/etc/vbox/networks.conf"
HOST_ONLY_INTERFACE = "vboxnet"  # Vagrant takes whichever has the plan's network
MANAGEMENT = IPv4Network("192.168.121.0/24")  # vagrant-libvirt's own, for SSH
ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Around:
    """What a lab's VMs find on a host.  None means that this host does not tell."""

    kind: str  # virtualbox or libvirt
    private: bool = False  # of a libvirtd of the lab's own, in a network namespace
    system: str = "Linux"
    virtualbox: Version | None = None
    networks_conf: str | None = None
    vms: Mapping[str, str] = field(default_factory=dict)
    strange: frozenset[str] = frozenset()  # VMs called as a lab's that none of this folder's labs began
    silence: str = ""  # why the hypervisor did not tell of its VMs
    labs: Mapping[str, IPv4Network] = field(default_factory=dict)
    networks: tuple[tuple[str, IPv4Network], ...] = ()
    bridges: Mapping[str, str] = field(default_factory=dict)  # libvirt's networks, by their interfaces


@dataclass(frozen=True, slots=True)
class Obstacle:
    """What was looked for, what was found, what is needed, and what makes up the difference."""

    what: str
    found: str
    needed: str
    remedy: str


def look(hypervisor: Hypervisor, labs: Path, *, private: bool, root: Path = ROOT) -> Around:
    """This host.  ``labs`` is the folder of all labs; what cannot be read is left out, never an error.

    ``private`` VMs have a network of their own, that nothing of this host's can be in.
    """
    vms, silence = ({}, "") if private else _vms(hypervisor)
    begun = labs_begun(labs)
    nothing: Mapping[str, str] = {}
    version = hypervisor.version if isinstance(hypervisor, VirtualBox) else None
    return Around(
        hypervisor.name,
        private=private,
        system=platform.system(),
        virtualbox=numbers(answer_or(version, "")) if version else None,
        networks_conf=text_of(root / NETWORKS_CONF.lstrip("/")),
        vms=vms,
        strange=frozenset(name for name in vms if name.startswith(PREFIX) and _lab(name) not in begun),
        silence=silence,
        labs=networks_of_labs(labs),
        networks=() if private else tuple(networks_of_host().items()),
        bridges=nothing if private else answer_or(hypervisor.bridges, nothing),
    )


def of_host_only(around: Around, topology: Topology) -> Obstacle | None:
    """VirtualBox makes a network for the lab only in the ranges that a file of root's allows."""
    wanted = topology.networks.nodes
    if around.kind != "virtualbox" or not _insists(around):
        return None
    if wrong := mistakes_in(around.networks_conf or ""):
        remedy = f"correct it: sudoedit {NETWORKS_CONF}"
        return Obstacle("host-only network", "; ".join(wrong), "networks, such as 192.168.56.0/21", remedy)
    allowed = allowed_ranges(around.networks_conf)
    if any(wanted.subnet_of(each) for each in allowed):
        return None
    # Once there is a file it is all that counts: the default goes into it too, for other labs.
    line = f"* {wanted}" if around.networks_conf is not None else f"* {HOST_ONLY} {wanted}"
    # The last line of the file may have no end: ours would be glued to it.
    remedy = f"sudo mkdir -p /etc/vbox && printf '\\n%s\\n' '{line}' | sudo tee -a {NETWORKS_CONF}"
    found = f"allowed: {', '.join(map(str, allowed)) or 'none'}"
    return Obstacle("host-only network", found, f"the line `{line}` in {NETWORKS_CONF}", remedy)


def of_silence(around: Around, _: Topology) -> Obstacle | None:
    """A libvirtd that this user may ask; what is wrong with VirtualBox its modules and version tell."""
    if around.kind != "libvirt" or not around.silence:
        return None
    remedy = (
        "sudo systemctl start libvirtd, and for whom it does not answer: sudo usermod -aG libvirt $USER; "
        "or one of the lab's own, as root: --lab-provider=vagrant:libvirt:private"
    )
    return Obstacle("libvirtd", around.silence, "one that runs and that you may use", remedy)


def of_namesakes(around: Around, topology: Topology) -> Obstacle | None:
    """VMs called as this lab's, and not begun by it: they would be taken for half-made ones and removed."""
    found = {name: state for name, state in around.vms.items() if name in around.strange}
    ours = of_prefix(found, f"{PREFIX}{topology.name}_")
    return namesakes(topology.name, ours) if ours else None


def namesakes(lab: str, vms: Mapping[str, str]) -> Obstacle:
    """What is said of VMs that are called as this lab's, though it was not begun here.  Pure."""
    named = ", ".join(f"{name} ({state})" for name, state in vms.items())
    found = f"{named}, begun by another user or with another THWLAB_STATE"
    remedy = f"another name: --lab-name; if they are yours: thwlab --name {lab} down --force"
    return Obstacle("a lab of this name", found, f"no VM of a lab {lab} that was not begun here", remedy)


def of_others(around: Around, topology: Topology) -> Obstacle | None:
    """Running VMs of another lab's, or of `vagrant up` alone, that have addresses of this plan's network."""
    what, wanted = "other labs' VMs", topology.networks.nodes
    running = [name for name, state in around.vms.items() if state not in OFF]
    for lab, network in around.labs.items():
        theirs = [name for name in running if name.startswith(f"{PREFIX}{lab}_")]
        if lab != topology.name and theirs and network.overlaps(wanted):
            found = f"lab {lab} runs {len(theirs)} VMs in {network}"
            remedy = f"thwlab down --name {lab}, or {_another(around, topology)}"
            return Obstacle(what, found, f"{wanted} free", remedy)
    by_this_plan = [name for name in alike(around, topology) if name in _named_alone(topology)]
    if by_this_plan:
        found = f"{', '.join(by_this_plan)} run, made from a plan of this name by `vagrant up` alone"
        return Obstacle(
            what, found, f"{wanted} free", "`vagrant halt` or `vagrant destroy` where they were made"
        )
    by_another = alike(around, topology) if wanted.overlaps(UNSAID) else []
    if by_another:
        found = (
            f"{', '.join(by_another)} run; by `vagrant up` alone they are in {UNSAID}, unless their plan says"
        )
        remedy = f"{_another(around, topology)}, or `vagrant halt` where they were made"
        return Obstacle(what, found, f"{wanted} free", remedy)
    return None


def alike(around: Around, topology: Topology) -> list[str]:
    """Running VMs that are called as `vagrant up` alone calls this plan's machines, by a plan of any name.

    A name says nothing of an address: whoever refuses by it must know more.  Pure.
    """
    names, own = {node.name for node in topology.nodes}, _named_alone(topology)
    running = [name for name, state in around.vms.items() if state not in OFF]
    fitting = [name for name in running if name in own or _machine(name) in names]
    return [name for name in fitting if not name.startswith(PREFIX)]


def of_nat(around: Around, topology: Topology) -> Obstacle | None:
    """The network that each VM has beside the lab's hides what lies in the same range."""
    nets = topology.networks
    named = {"nodes": nets.nodes, "pods": nets.pods, "services": nets.services}
    clashes = overlaps_nat(topology) if around.kind == "virtualbox" else []
    if around.kind == "libvirt":
        clashes = [
            f"{name} {net} overlaps {MANAGEMENT}, vagrant-libvirt's management network"
            for name, net in named.items()
            if net.overlaps(MANAGEMENT)
        ]
    if not clashes:
        return None
    return Obstacle(
        "NAT network", "; ".join(clashes), "ranges of their own", "another range in the plan's `network:`"
    )


def of_subnet(around: Around, topology: Topology) -> Obstacle | None:
    """The lab's network is this host's too: no other interface may be in it."""
    wanted = topology.networks.nodes
    if around.private:
        return None
    foreign = [(name, net) for name, net in around.networks if not _is_ours(name, around, topology)]
    taken = [f"{net} of {_called(name, around)}" for name, net in foreign if net.overlaps(wanted)]
    if not taken:
        return None
    return Obstacle("subnet", ", ".join(taken), f"{wanted} free", _another(around, topology))


LOOKED_FOR = (of_silence, of_host_only, of_namesakes, of_others, of_nat, of_subnet)


def obstacles(around: Around, topology: Topology) -> list[Obstacle]:
    """All that is in the way.  Pure."""
    found = (look_for(around, topology) for look_for in LOOKED_FOR)
    return [each for each in found if each is not None]


def allowed_ranges(text: str | None) -> list[IPv4Network]:
    """The IPv4 ranges of networks.conf; its lines begin with an asterisk, the rest are comments.  Pure."""
    if text is None:
        return [HOST_ONLY]
    ranges = (_range(word) for _, word in _words(text))
    return [each for each in ranges if isinstance(each, IPv4Network)]


def mistakes_in(text: str) -> list[str]:
    """Words of networks.conf that are no range, with their lines; by each of them Vagrant ends.  Pure."""
    return [
        f"{NETWORKS_CONF}:{number}: {word!r} is no network"
        for number, word in _words(text)
        if _range(word) is None
    ]


def networks_of_labs(root: Path) -> dict[str, IPv4Network]:
    """The network of each lab that was made of VMs, by what its folder in ``root`` has of it."""
    found = {}
    for plan in sorted(root.glob("*/vagrant/plan.yaml")) if root.is_dir() else []:
        try:
            found[plan.parents[1].name] = IPv4Network(json.loads(plan.read_text())["network"]["cidr"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def labs_begun(root: Path) -> set[str]:
    """The labs of which a folder in ``root`` has a plan of VMs, or a VM that was made to its end.

    What a killed run of theirs left has a plan.
    """
    found = [*root.glob("*/vagrant/plan.yaml"), *root.glob("*/vagrant/whole/*")] if root.is_dir() else []
    return {path.relative_to(root).parts[0] for path in found}


def numbers(text: str) -> Version | None:
    """The first version in a text.  Pure."""
    match = re.search(r"\d+\.\d+(\.\d+)?", text)
    return tuple(map(int, match[0].split("."))) if match else None


def answer_or(ask: Callable[[], T], otherwise: T) -> T:
    """What a program says, where it is there and can."""
    try:
        return ask()
    except LabError:
        return otherwise


def text_of(path: Path) -> str | None:
    """The file's text; None where there is none that may be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return None


def _vms(hypervisor: Hypervisor) -> tuple[Mapping[str, str], str]:
    """All VMs with their states, or why nobody knows them."""
    try:
        return hypervisor.states(), ""
    except LabError as error:
        return {}, str(error).splitlines()[0]


def _insists(around: Around) -> bool:
    version = around.virtualbox or INSISTS
    if around.system == "Darwin":
        return INSISTS <= version < MACOS_DOES_NOT
    return around.system == "Linux" and version >= INSISTS


def _words(text: str) -> list[tuple[int, str]]:
    """Each word of a line with an asterisk, with the line's number."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    return [(number, word) for number, line in lines if line.startswith("*") for word in line[1:].split()]


def _range(word: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(word, strict=False)
    except ValueError:
        return None


def _is_ours(interface: str, around: Around, topology: Topology) -> bool:
    """Of libvirt's interfaces only the lab's own: the others are somebody's networks."""
    if around.kind == "virtualbox":
        return interface.startswith(HOST_ONLY_INTERFACE)
    return around.bridges.get(interface) == f"{PREFIX}{topology.name}_net"


def _called(interface: str, around: Around) -> str:
    network = around.bridges.get(interface)
    return f"{interface}, libvirt's network {network}" if network else interface


def _another(around: Around, topology: Topology) -> str:
    """Another network for the plan's machines, with one that nobody has."""
    nets = topology.networks
    busy = [*(net for _, net in around.networks), *around.labs.values(), nets.pods, nets.services]
    free = free_network(nets.nodes.prefixlen, [*busy, UNSAID, MANAGEMENT, VIRTUALBOX_NAT])
    return f"another `network: cidr` in the plan, such as {free}"


def _named_alone(topology: Topology) -> set[str]:
    return {f"{topology.name}-{node.name}" for node in topology.nodes}


def _lab(domain: str) -> str:
    """The lab of a VM that is called as a lab's."""
    return domain.removeprefix(PREFIX).partition("_")[0]


def _machine(domain: str) -> str:
    """The machine of a VM that `vagrant up` alone made: the plan's name, a dash, the machine's."""
    return domain.partition("-")[2]
