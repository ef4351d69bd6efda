"""What makes a well-formed plan a cluster that can work.  Pure: each rule yields (path, what to do).

A value that is None is missing or was refused already; rules that would need it stay silent, so that one
mistake is reported once.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import TypeAlias

from lab.planfile import LABEL, Draft, MachineFile, NetworkFile
from lab.strictyaml import Schema
from lab.topology import Balancer, Profile, Role, Topology
from lab.tuning import unfit
from lab.yamlreader import KeyPath

Finding: TypeAlias = tuple[KeyPath, str]

NAME_RULE = (
    "machine names are host names: 1 to 63 of a-z, 0-9 and '-', beginning and ending with one of a-z, 0-9"
)
API_PORT, OWN_PORTS = 6443, (2379, 2380, 10248, 10249, 10250, 10256, 10257, 10259)
NODE_PREFIX = 24  # what the controller-manager gives each worker of the pod range


def findings(draft: Draft) -> Iterator[Finding]:
    """Everything that keeps this plan from working."""
    for rule in RULES:
        yield from rule(draft)


def missing(draft: Draft) -> Iterator[Finding]:
    """Keys without which there is no plan, each with an example."""
    plan = draft.file
    yield from _missing(draft, (), plan, ("name", "network", "machines", "versions"))
    if plan.network:
        keys = ("cidr", "pods", "services", "dns", "domain")
        yield from _missing(draft, ("network",), plan.network, keys)
    if plan.versions:
        yield from _missing(draft, ("versions",), plan.versions, ("row",))
    for name, machine in (plan.machines or {}).items():
        yield from _missing(draft, ("machines", name), machine or MachineFile(), ("address", "roles"))
    if plan.machines == {} and not draft.is_wrong("machines"):
        yield (
            ("machines",),
            "no machines; write at least one, such as `k8s-master1: {address: …, roles: […]}`",
        )


def _missing(draft: Draft, at: tuple[str, ...], part: Schema, keys: tuple[str, ...]) -> Iterator[Finding]:
    for key in keys:
        if getattr(part, key) is None and not draft.is_wrong(*at, key):
            examples = type(part).model_fields[key].examples or [""]
            inside = f" in {'.'.join(at)}" if at else ""
            yield (*at, key), f"'{key}' is missing{inside}; write for example `{key}: {examples[0]}`"


def machine_names(draft: Draft) -> Iterator[Finding]:
    """Names must be host names; the rule is stated once, the proposal each time."""
    rule = f" ({NAME_RULE})"
    for name in draft.file.machines or {}:
        if LABEL.fullmatch(name) and name != "localhost":
            continue
        yield ("machines", name), f"machine name '{name[:80]}' cannot be used; write {_host_name(name)}{rule}"
        rule = ""


def _host_name(name: str) -> str:
    first = name.lower().split(".")[0]
    return (
        re.sub(r"[^a-z0-9-]+", "-", first)[:63].strip("-").replace("localhost", "k8s-master1")
        or "k8s-worker1"
    )


def ranges(draft: Draft) -> Iterator[Finding]:
    """Node, pod and service networks are disjoint and large enough."""
    net = draft.network
    named = {"cidr": net.cidr, "pods": net.pods, "services": net.services}
    known = {key: network for key, network in named.items() if network}
    for (one, first), (other, second) in combinations(known.items(), 2):
        if first.overlaps(second):
            yield ("network", other), f"{other} {second} overlaps {one} {first}; choose a disjoint range"
    yield from _sizes(net)


def _sizes(net: NetworkFile) -> Iterator[Finding]:
    limits = {"cidr": (8, 29), "pods": (8, NODE_PREFIX), "services": (12, 28)}
    for key, (widest, narrowest) in limits.items():
        network: IPv4Network | None = getattr(net, key)
        if network and not widest <= network.prefixlen <= narrowest:
            size = "small" if network.prefixlen > narrowest else "large"
            yield (
                ("network", key),
                f"{key} {network} is too {size}; write a prefix length of {widest} to {narrowest}",
            )


def pod_ranges(draft: Draft) -> Iterator[Finding]:
    """Each worker takes a /24 of the pod range."""
    pods, workers = draft.network.pods, draft.with_role(Role.WORKER)
    if pods is None or pods.prefixlen > NODE_PREFIX:
        return
    room = 2 ** (NODE_PREFIX - pods.prefixlen)
    if len(workers) > room:
        bits = (len(workers) - 1).bit_length()
        yield (
            ("network", "pods"),
            f"pods {pods} has room for {room} workers, one /{NODE_PREFIX} each, and {len(workers)} are"
            f" planned; write a range of /{NODE_PREFIX - bits} or larger",
        )


def dns(draft: Draft) -> Iterator[Finding]:
    """The DNS address is a service address, but not the API's."""
    address, services = draft.network.dns, draft.network.services
    if address is None or services is None or services.prefixlen > 28:
        return
    path, proposal = ("network", "dns"), f"write for example {services[2]}"
    if address not in services:
        yield path, f"dns {address} is outside services {services}; {proposal}"
    elif address == services[1]:
        yield path, f"dns {address} is the first service address, which is the API's own; {proposal}"
    elif address in (services[0], services[-1]):
        yield path, f"dns {address} is the first or last of services {services}; {proposal}"


def ports(draft: Draft) -> Iterator[Finding]:
    """NodePorts leave the ports alone on which the cluster itself listens."""
    low, high = draft.network.node_ports or (30000, 32767)
    api = draft.network.api_port or API_PORT
    if taken := [str(port) for port in (api, *OWN_PORTS) if low <= port <= high]:
        what = f"node-ports {low}-{high} holds {', '.join(taken)}, where the cluster itself listens"
        yield ("network", "node-ports"), f"{what}; write for example 30000-32767"
    if api in OWN_PORTS:
        yield ("network", "api-port"), f"api-port {api} is taken by another part of the cluster; write 6443"


def addresses(draft: Draft) -> Iterator[Finding]:
    """Machines have addresses of their own inside the network."""
    given = {name: m.address for name, m in draft.machines.items() if m.address}
    first: dict[IPv4Address, str] = {}
    for name, address in given.items():
        path = ("machines", name, "address")
        if address in first:
            yield path, f"{address} is already the address of {first[address]}; give {name} its own"
        first.setdefault(address, name)
        if reason := _unfit(address, draft.network.cidr):
            yield path, f"{name} has {address}, {reason}"


def _unfit(address: IPv4Address, network: IPv4Network | None) -> str:
    if network is None or network.prefixlen > 29:
        return ""
    if address not in network:
        return f"which is outside {network}; write one of {network[2]} to {network[-2]}"
    special = {network[0]: "the network's own address", network[-1]: "the broadcast address"}
    special[network[1]] = "the gateway"
    if what := special.get(address):
        return f"which is {what} of {network}; write one of {network[2]} to {network[-2]}"
    return ""


def roles(draft: Draft) -> Iterator[Finding]:
    """Every machine has a use, and none two that need the same port."""
    for name, machine in draft.machines.items():
        path, given = ("machines", name, "roles"), machine.roles
        if given == ():
            yield path, f"{name} has no role; write for example `roles: [worker]` or remove it"
        for role, times in Counter(given or ()).items():
            if times > 1:
                yield path, f"{name} has the role {role} {times} times; write it once"
        if {Role.LOAD_BALANCER, Role.CONTROL_PLANE} <= set(given or ()):
            what = f"{name} cannot be load-balancer and control-plane: both listen on the API's port"
            yield path, f"{what}; use two machines"


def balancers(draft: Draft) -> Iterator[Finding]:
    """One load balancer at most: several would need a virtual address, which is not supported."""
    several = draft.with_role(Role.LOAD_BALANCER)
    for name in several if len(several) > 1 else ():
        others = ", ".join(other for other in several if other != name)
        yield (
            ("machines", name),
            f"{name} is a load-balancer and so is {others}; only one is supported, for no virtual address"
            " moves between them: keep one",
        )


def counts(draft: Draft) -> Iterator[Finding]:
    """A control plane, an odd number of etcd members, and workers for what runs on them."""
    if not draft.roles_known:
        return
    members = draft.with_role(Role.ETCD)
    if len(members) % 2 == 0:
        yield (
            ("machines",),
            f"etcd needs an odd number of members, not {len(members)} ({', '.join(members) or 'none'});"
            f" {'give one more machine' if members else 'give 1, 3 or 5 machines'} the role etcd"
            + (", or take it from one" if members else ""),
        )
    if not draft.with_role(Role.CONTROL_PLANE):
        yield ("machines",), "no machine has the role control-plane; give it to one"
    if draft.file.addons != () and not draft.with_role(Role.WORKER):
        yield (
            ("machines",),
            "no worker for the addons to run on; give a machine the role worker, or write `addons: []`",
        )


def api_server(draft: Draft) -> Iterator[Finding]:
    """Where kubelets find the API is a machine of the plan, and never a guess."""
    masters = draft.with_role(Role.CONTROL_PLANE)
    wish = draft.file.api_server
    if wish is None and not draft.is_wrong("api-server"):
        if len(masters) > 1 and draft.roles_known and not draft.with_role(Role.LOAD_BALANCER):
            yield (
                ("machines",),
                f"{len(masters)} control planes ({', '.join(masters)}) and no load-balancer: choose where"
                f" kubelets find the API; write `api-server: {_example(draft, masters[0])}`, or add one",
            )
        return
    valid = [*draft.with_role(Role.LOAD_BALANCER), *masters]
    if wish is not None and _is_no_api(draft, wish, valid):
        yield (
            ("api-server",),
            f"api-server {wish[:60]} is no control plane or load balancer of this plan, and a virtual address"
            f" is not supported; write the address of one of {', '.join(valid) or 'its machines'}",
        )


def _is_no_api(draft: Draft, wish: str, valid: list[str]) -> bool:
    """Whether that is certain, whatever else is wrong with the plan."""
    machine = api_machine(draft, wish)
    if machine is None:
        return not any(draft.is_wrong("machines", name, "address") for name in draft.machines)
    return draft.roles_known and machine not in valid


def api_machine(draft: Draft, wish: str) -> str | None:
    """The machine of that name or address."""
    return next((n for n, m in draft.machines.items() if wish in (n, str(m.address))), None)


def _example(draft: Draft, name: str) -> str:
    return str(draft.machines[name].address or name)


def tuning(draft: Draft) -> Iterator[Finding]:
    """Numbers by which something is done, in the profile that has them."""
    given = draft.file.tuning
    if given is None:
        return
    if draft.file.profile is Profile.GUIDE:
        yield ("tuning",), "tuning is of the profile hardened, and guide has the guide's numbers; remove it"
        return
    for key, text in unfit(draft.tuning) if not draft.is_wrong("tuning") else ():
        yield ("tuning", key), text
    default = next(each.default for each in fields(Topology) if each.name == "load_balancer")
    if (draft.file.load_balancer or default) is Balancer.NGINX and not draft.is_wrong("load-balancer"):
        checks = {name: getattr(given, name) for name in given.model_fields_set if name.startswith("check_")}
        for key in [name.replace("_", "-") for name, value in checks.items() if value is not None]:
            yield (
                ("tuning", key),
                f"{key} is of haproxy, for nginx asks nobody; write `load-balancer: haproxy`, or remove it",
            )


RULES: tuple[Callable[[Draft], Iterator[Finding]], ...] = (
    missing,
    machine_names,
    ranges,
    pod_ranges,
    dns,
    ports,
    addresses,
    roles,
    balancers,
    counts,
    api_server,
    tuning,
)
