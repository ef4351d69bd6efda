"""Checks of what surrounds a lab: rights, disks, networks, leftovers, paths, environment.  Pure."""

import shlex

from lab.disks import CACHE, STATE
from lab.doctor.facts import Disk, Facts
from lab.doctor.finding import Check, Finding, Verdict, good
from lab.providers.subnets import free_network
from lab.topology import Topology

STATE_MIB = 3 * 1024  # five machines with a full cluster
CACHE_MIB = 6 * 1024  # cold: module sources, build cache, programs, image
FEW = 3
AS_ROOT = 'sudo -E env "PATH=$PATH" thwlab'  # sudo has a PATH of its own
ODD = {'"': "a double quote", "\n": "a newline"}


def check_rights(facts: Facts, _: Topology) -> Finding:
    """Root, or a running daemon that this user may use and an image that is built already."""
    if facts.uid == 0:
        return good("rights", "root")
    if facts.vms and not facts.private:
        return good("rights", f"user {facts.uid}, with a hypervisor that may be used")
    if facts.private:
        needed = "root, for a daemon of the lab's own; or a running one that you may use"
        join = f"sudo usermod -aG {facts.closed_to} $USER; log in again after that; or "
        remedy = f"{join if facts.closed_to else ''}{AS_ROOT} up"
        return Finding("rights", Verdict.MISSING, f"user {facts.uid}", needed, remedy)
    if not facts.root_is_cached:
        remedy = f"{AS_ROOT} artifacts fetch --image; with THWLAB_CACHE set to your own cache"
        return Finding("rights", Verdict.MISSING, f"user {facts.uid}", "root, to build the image", remedy)
    return good("rights", f"user {facts.uid} may use {facts.daemon}")


def check_sources(facts: Facts, _: Topology) -> Finding:
    """Debian's packages, from which the machines' root is built."""
    if facts.vms and not facts.private:
        return good("package sources", "not needed, the box is fetched")
    if facts.root_is_cached:
        return good("package sources", "not needed, the image is in the cache")
    if facts.sources:
        return good("package sources", "apt has some")
    return Finding(
        "package sources",
        Verdict.MISSING,
        "apt has none" if facts.debian else "no apt here",
        "a mirror of Debian or Ubuntu, to build the machines' root",
        "build it once on a Debian or Ubuntu host and copy its cache folder here (THWLAB_CACHE)",
    )


def check_disks(facts: Facts, _: Topology) -> Finding:
    """Space where labs and where verified programs are kept; added up if that is one disk."""
    if shut := {name: disk for name, disk in _named_disks(facts).items() if disk.trouble}:
        return Finding(
            "disk",
            Verdict.MISSING,
            ", ".join(f"{disk.path} cannot be written ({disk.trouble})" for disk in shut.values()),
            "folders that may be written, for labs and for verified programs",
            "; ".join(f'export {name}="$(mktemp -d)", or another folder of your own' for name in shut),
        )
    wanted = [
        (disk, need)
        for disk, need in ((facts.state, STATE_MIB), (facts.cache, CACHE_MIB))
        if disk and not (disk is facts.state and facts.running)
        if not (disk is facts.cache and facts.root_is_cached)
    ]
    needs: dict[int, int] = {}
    for disk, need in wanted:
        needs[disk.device] = needs.get(disk.device, 0) + need
    short = [disk for disk, _ in wanted if disk.free_mib < needs[disk.device]]
    if not short:
        return good("disk", ", ".join(_space(disk) for disk in (facts.state, facts.cache) if disk))
    return Finding(
        "disk",
        Verdict.MISSING,
        ", ".join(_space(disk) for disk in short),
        f"{max(needs[disk.device] for disk in short)} MiB",
        "free some (`thwlab artifacts gc`), or set THWLAB_STATE and THWLAB_CACHE to another disk",
    )


def _named_disks(facts: Facts) -> dict[str, Disk]:
    named = {STATE: facts.state, CACHE: facts.cache}
    return {name: disk for name, disk in named.items() if disk}


def check_subnet(facts: Facts, topology: Topology) -> Finding:
    """With the running daemon the lab's network is this host's too, and must be nobody else's."""
    wanted = topology.networks.nodes
    if facts.private:
        return good("subnet", f"{wanted} is in a network namespace of its own")
    taken = [f"{net} of {name}" for name, net in facts.networks if net.overlaps(wanted) and not facts.running]
    if not taken:
        return good("subnet", f"{wanted} is free")
    nets = topology.networks
    busy = [*(net for _, net in facts.networks), nets.pods, nets.services]
    free = free_network(wanted.prefixlen, busy)
    remedy = f"another `network: cidr` in the plan, such as {free}; or --provider=incus:private as root"
    return Finding("subnet", Verdict.MISSING, ", ".join(taken), f"{wanted} free", remedy)


def check_ports(facts: Facts, _: Topology) -> Finding:
    """The loopback ports behind which this lab was reached before."""
    if not facts.taken_ports:
        return good("ports", "none that this lab had is taken")
    ports = ", ".join(map(str, facts.taken_ports))
    remedy = f"`ss -lptn 'sport = :{facts.taken_ports[0]}'` shows who; end it, or thwlab down first"
    return Finding("ports", Verdict.WARNING, f"another program has {ports}", "this lab's forwarder", remedy)


def check_stale(facts: Facts, topology: Topology) -> Finding:
    """Labs that were built before this host's last boot: their machines are gone, their folders not."""
    if not facts.stale:
        return good("stale labs", "none")
    verdict = Verdict.MISSING if topology.name in facts.stale else Verdict.WARNING
    remedy = "; ".join(f"thwlab down --name {shlex.quote(name)}" for name in facts.stale)
    found = f"{', '.join(facts.stale)}: built before this host's last boot"
    return Finding("stale labs", verdict, found, "none of this name", remedy)


def check_leftovers(facts: Facts, _: Topology) -> Finding:
    """What a run as another user left in the checkout, where its owner cannot remove it."""
    if not facts.foreign:
        return good("leftovers", "everything in the checkout belongs to its owner")
    owner = f"{facts.owner[0]}:{facts.owner[1]}"
    few, more = facts.foreign[:FEW], len(facts.foreign) - FEW
    found = f"not owned by {facts.owner[0]}: {', '.join(few)}" + (f" and {more} more" if more > 0 else "")
    remedy = f"sudo chown -hR {owner} -- {' '.join(map(shlex.quote, few))}"
    if more > 0:
        checkout = shlex.quote(str(facts.checkout))
        remedy = f"sudo find {checkout} -not -user {facts.owner[0]} -exec chown -h {owner} {{}} +"
    return Finding("leftovers", Verdict.WARNING, found, "files of the checkout's owner", remedy)


def check_paths(facts: Facts, _: Topology) -> Finding:
    """Folders whose names other programs' files cannot hold."""
    paths = [facts.checkout, *(disk.path for disk in (facts.state, facts.cache) if disk)]
    odd = [f"{str(path)!r} has {ODD[char]}" for path in paths for char in ODD if char in str(path)]
    if not odd:
        return good("paths", "nothing odd in them")
    return Finding("paths", Verdict.MISSING, "; ".join(odd), "paths without", "move the folder")


def check_proxies(facts: Facts, _: Topology) -> Finding:
    """Traffic of the lab ignores proxies; downloads use them."""
    if not facts.proxies:
        return good("proxies", "none in the environment")
    return good("proxies", f"downloads use {', '.join(facts.proxies)}; the lab's own traffic does not")


def check_encoding(facts: Facts, _: Topology) -> Finding:
    """Names and logs are UTF-8; elsewhere they are shown with replacement marks."""
    if facts.encoding.lower().replace("-", "") == "utf8":
        return good("locale", "UTF-8")
    return good("locale", f"{facts.encoding}: some characters are shown as ?; LANG=C.UTF-8 shows them all")


def check_ipv4(facts: Facts, _: Topology) -> Finding:
    """Some download sources have IPv4 addresses only; the lab itself needs no route."""
    if facts.ipv4 is None:
        return Finding("IPv4", Verdict.UNTRIED, "this system does not tell")
    if facts.ipv4:
        return good("IPv4", "there is a default route")
    if facts.root_is_cached:
        return good("IPv4", "no default route, and everything needed is in the cache")
    return Finding(
        "IPv4",
        Verdict.WARNING,
        "no default route",
        "to reach download sources that have no IPv6 address",
        "fetch elsewhere (`thwlab artifacts fetch`) and copy the cache, or set a proxy",
    )


def _space(disk: Disk) -> str:
    return f"{disk.free_mib} MiB free for {disk.path}"


CHECKS: tuple[Check, ...] = (
    check_rights,
    check_sources,
    check_disks,
    check_subnet,
    check_ports,
    check_stale,
    check_leftovers,
    check_paths,
    check_proxies,
    check_encoding,
    check_ipv4,
)
# Their network is the hypervisor's, which `hypervisors` looks at.
VM_CHECKS: tuple[Check, ...] = tuple(each for each in CHECKS if each not in (check_subnet, check_ipv4))
