"""Checks of what the kernel offers and how much of it is left.  Pure."""

from lab.doctor.facts import Facts
from lab.doctor.finding import Check, Finding, Verdict, good
from lab.topology import Cni, Role, Topology

FEATURES = {
    "overlay": "containers in the machines",
    "btrfs": "the machines' disks",
    "bridge": "the lab's network",
    "veth": "the machines' links",
    "loop": "the file that holds the machines' disks",
    "vxlan": "flannel",
}
CONTROLLERS = {"1": ("cpu", "cpuset", "devices", "freezer", "memory", "pids"), "2": ("cpu", "memory", "pids")}
NEWER_SYSTEMD = ("trixie", "forky", "sid", "plucky", "questing")  # 256 and later refuse cgroup v1
MIB_OF_FIVE = 2048  # five containers with all of a cluster, measured 1.4 GiB
INSTANCES = "fs.inotify.max_user_instances"
KEYS = "kernel.keys.maxkeys"
# inotify instances of root's, counted in a running lab: systemd and its services, then what a role adds
INSTANCES_EACH = 8
INSTANCES_OF = {Role.CONTROL_PLANE: 14, Role.WORKER: 10}
KEYS_EACH = 4  # of each user that runs services in every machine; a session keyring each


def check_system(facts: Facts, _: Topology) -> Finding:
    """Linux, for the machines share its kernel."""
    if facts.linux:
        return good("system", f"Linux, {facts.codename or 'release unknown'}")
    return Finding(
        "system",
        Verdict.MISSING,
        facts.system or "unknown",
        "Linux: containers share their host's kernel",
        "run thwlab in a Linux VM",
    )


def check_features(facts: Facts, topology: Topology) -> Finding:
    """File systems and devices, built in or as modules."""
    wanted = [name for name in FEATURES if name != "vxlan" or topology.cni is Cni.FLANNEL]
    lacking = [name for name in wanted if facts.kernel.get(name) is False]
    unsure = [name for name in wanted if facts.kernel.get(name) is None]
    if lacking:
        needed = "; ".join(f"{name}: {FEATURES[name]}" for name in lacking)
        remedy = f"{facts.sudo}modprobe -a {' '.join(lacking)}, or a kernel that has them"
        return Finding("kernel", Verdict.MISSING, f"no {', '.join(lacking)}", needed, remedy)
    if unsure:
        found = f"this kernel does not tell about {', '.join(unsure)}"
        return Finding("kernel", Verdict.UNTRIED, found, remedy=f"modprobe -n {' '.join(unsure)} would tell")
    return good("kernel", f"has {', '.join(wanted)}")


def check_cgroup(facts: Facts, _: Topology) -> Finding:
    """A hierarchy whose controllers can be handed to machines, and a guest systemd that accepts it."""
    version = {"1": "v1", "hybrid": "v1 (hybrid)", "2": "v2"}.get(facts.cgroup, "")
    if not version:
        return Finding("cgroup", Verdict.MISSING, "not mounted", "/sys/fs/cgroup", _mount(facts))
    lacking = sorted(set(CONTROLLERS["2" if facts.cgroup == "2" else "1"]) - facts.controllers)
    if lacking:
        remedy = f"boot with cgroup_enable={lacking[0]}, or hand the controllers to this container"
        return Finding(
            "cgroup", Verdict.MISSING, f"{version} without {', '.join(lacking)}", "containers", remedy
        )
    if facts.cgroup != "2" and facts.codename in NEWER_SYSTEMD:
        needed = f"v2: machines run {facts.codename}, whose systemd does not start on v1"
        return Finding(
            "cgroup", Verdict.MISSING, version, needed, "boot with systemd.unified_cgroup_hierarchy=1"
        )
    return good("cgroup", version)


def check_memory(facts: Facts, topology: Topology) -> Finding:
    """Room for the plan's machines."""
    need = MIB_OF_FIVE * len(topology.nodes) // 5
    biggest = max(topology.nodes, key=lambda node: node.memory_mib)
    planned = sum(node.memory_mib for node in topology.nodes)
    as_vms = f"as VMs they would need {planned} MiB, {biggest.name} alone {biggest.memory_mib}"
    if facts.memory_mib is None:
        return Finding("memory", Verdict.UNTRIED, "this system does not tell", f"{need} MiB available")
    if facts.running or facts.memory_mib >= need:
        return good("memory", f"{facts.memory_mib} MiB available, {need} needed as containers; {as_vms}")
    return Finding(
        "memory",
        Verdict.MISSING,
        f"{facts.memory_mib} MiB available",
        f"{need} MiB for {len(topology.nodes)} containers",
        "end what else runs, or a smaller plan: docs/plans/small.yaml",
    )


def check_limits(facts: Facts, topology: Topology) -> Finding:
    """Limits that all containers of a host share: used up, they look like anything but their cause."""
    needs = {INSTANCES: instances_needed(topology), KEYS: KEYS_EACH * len(topology.nodes)}
    known = {name: need for name, need in needs.items() if name in facts.limits}
    short = {
        name: facts.in_use.get(name, 0) + need
        for name, need in known.items()
        if facts.in_use.get(name, 0) + need > facts.limits[name] and not facts.running
    }
    if not short:
        return good("limits", ", ".join(f"{name} {facts.limits[name]}" for name in known) or "none known")
    found = "; ".join(f"{name} is {facts.limits[name]}, {facts.in_use.get(name, 0)} in use" for name in short)
    needed = "; ".join(f"{needs[name]} more for {len(topology.nodes)} machines" for name in short)
    lines = tuple(f"sysctl -w {name}={_rounded(total)}" for name, total in sorted(short.items()))
    remedy = " && ".join(f"{facts.sudo}{line}" for line in lines)
    return Finding("limits", Verdict.MISSING, found, needed, remedy, sysctls=lines)


def check_kvm(facts: Facts, _: Topology) -> Finding:
    """Virtual machines: a device that opens may still hang, so only a started one would prove it."""
    found = "/dev/kvm is there, no VM was started to prove it" if facts.kvm else "no /dev/kvm"
    return Finding("kvm", Verdict.UNTRIED, f"{found}; containers do not need it")


def instances_needed(topology: Topology) -> int:
    """How many inotify instances the plan's machines take from their host's user root."""
    extra = (count for role, count in INSTANCES_OF.items() for _ in topology.of(role))
    return INSTANCES_EACH * len(topology.nodes) + sum(extra)


def _rounded(total: int) -> int:
    """Twice what is needed, as a power of two: the next lab should not need another word."""
    return 1 << (2 * total - 1).bit_length()


def _mount(facts: Facts) -> str:
    return f"{facts.sudo}mount -t cgroup2 none /sys/fs/cgroup" if facts.linux else "run thwlab on Linux"


CHECKS: tuple[Check, ...] = (
    check_system,
    check_features,
    check_cgroup,
    check_memory,
    check_limits,
    check_kvm,
)
