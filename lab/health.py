"""Whether a cluster serves, asked of every component itself.  Repairs nothing, as a bring-up would."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network
from typing import Any, TypeVar

from lab.acts import check_leaders
from lab.cluster import Cluster
from lab.components.base import Component
from lab.components.catalogue import components, pod_network
from lab.errors import ClusterError, WaitExpired
from lab.kubeapi import Refused
from lab.machine import Machine, on_each
from lab.topology import Role
from lab.wait import NotYet, stretched, wait_until

T = TypeVar("T")
SERVE_SECONDS = 120
NODES = "/api/v1/nodes"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"


def insist(what: str, check: Callable[[], T], timeout: float = SERVE_SECONDS, every: float = 0.2) -> T:
    """Wait for a truth about the cluster; that it does not come is the cluster's failure."""
    try:
        return wait_until(what, check, timeout=timeout, every=every)
    except WaitExpired as error:
        raise ClusterError(str(error)) from error


def planned(cluster: Cluster, machine: Machine) -> list[Component]:
    """Every component of the plan on this machine."""
    platform = cluster.lab.provider.platform
    network = pod_network(cluster.topology, platform, pod_cidrs(cluster))
    every = (*components(cluster.topology, platform), *network)
    return [component for component in every if machine.node in component.nodes()]


def pod_cidrs(cluster: Cluster) -> dict[str, IPv4Network]:
    """By node, the range that the API gave it."""
    return {node["metadata"]["name"]: IPv4Network(node["spec"]["podCIDR"]) for node in nodes(cluster)}


def nodes(cluster: Cluster) -> list[dict[str, Any]]:
    """The cluster's nodes, as soon as the API tells them."""
    return insist("the API to list nodes", lambda: answered(lambda: cluster.api().items(NODES)))


def answered(ask: Callable[[], T]) -> T:
    """What the API says; an error of its own is no answer yet."""
    try:
        return ask()
    except Refused as error:
        raise NotYet(str(error)) from error


def await_units(cluster: Cluster, machine: Machine, timeout: float = SERVE_SECONDS) -> None:
    """Every planned unit of the machine is active, will be after the next boot, and serves."""
    every = planned(cluster, machine)
    units = [component.unit for component in every if component.unit]
    insist(f"{machine.name}: units {', '.join(units)}", partial(_check_units, machine, units), timeout)
    for component in every:
        insist(f"{component.name} on {machine.name}", partial(component.check_ready, machine), timeout)


def _check_units(machine: Machine, units: Sequence[str]) -> None:
    seen = machine.run("sh", "-c", _STATES, "sh", *units, timeout=20)
    states = [line.split() for line in seen.stdout.splitlines()]
    if never := [" ".join(state) for state in states if state[2:] == ["disabled"]]:
        raise ClusterError(f"{machine.name}: nothing starts these units at boot: {'; '.join(never)}")
    bad = [" ".join(state) for state in states if state[1:] != ["active", "enabled"]]
    if bad or len(states) != len(units):
        raise NotYet(f"{machine.name}: {'; '.join(bad) or seen.stderr.strip() or 'no answer'}")


def await_etcd(cluster: Cluster, timeout: float = SERVE_SECONDS) -> None:
    """Every planned member answers for a healthy member."""
    members = cluster.topology.of(Role.ETCD)
    insist(f"{len(members)} of {len(members)} etcd members healthy", partial(_check_etcd, cluster), timeout)


def _check_etcd(cluster: Cluster) -> None:
    done = cluster.etcdctl("endpoint", "health", "-w", "json")
    told = json.loads(done.out) if done.out.strip().startswith(b"[") else []
    sick = {each["endpoint"]: each.get("error", "") for each in told if not each["health"]}
    healthy = len(told) - len(sick)
    if healthy != len(cluster.topology.of(Role.ETCD)):
        raise NotYet(f"{healthy} healthy; {sick or done.stderr.strip()[-500:]}")


def await_nodes(cluster: Cluster, since: float = 0.0, only: str | None = None) -> None:
    """Nodes are Ready and their kubelets have said so after ``since``, seconds of the nodes' own clock."""
    insist("every node to be Ready", partial(_check_nodes, cluster, since, only))


def _check_nodes(cluster: Cluster, since: float, only: str | None) -> None:
    workers = [node.name for node in cluster.topology.of(Role.WORKER) if only in (None, node.name)]
    found = {node["metadata"]["name"]: node for node in answered(lambda: cluster.api().items(NODES))}
    leases = {each["metadata"]["name"]: each for each in answered(lambda: cluster.api().items(LEASES))}
    for name in workers:
        if name not in found or name not in leases:
            raise NotYet(f"{name} has no Node or no lease")
        ready = next(each for each in found[name]["status"]["conditions"] if each["type"] == "Ready")
        if ready["status"] != "True":
            raise NotYet(f"{name} is not Ready: {ready['reason']} {ready['message']}")
        renewed = leases[name]["spec"]["renewTime"]
        if _seconds(renewed) < since:
            raise NotYet(
                f"{name}: its kubelet renewed its lease last at {renewed}, before the machine was up"
            )


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def await_leaders(cluster: Cluster, timeout: float = SERVE_SECONDS) -> None:
    """Controller-manager and scheduler are led by a master each, which has renewed its lease in time."""
    insist("controllers and schedulers to be led", partial(_check_leaders, cluster), timeout)


def _check_leaders(cluster: Cluster) -> None:
    leases = answered(lambda: check_leaders(cluster.lab))
    if late := [why for name, lease in leases.items() if (why := _not_renewed(cluster, name, lease))]:
        raise NotYet("; ".join(late))


def _not_renewed(cluster: Cluster, name: str, lease: Mapping[str, Any]) -> str:
    """By the clock of the machine that holds it, for that one wrote the time; nothing where it is good."""
    holder, lasts = lease["holderIdentity"], lease["leaseDurationSeconds"]
    clock = cluster.lab.machine(holder.split("_")[0]).run("date", "+%s.%N", timeout=10)
    if not clock.ok:
        return f"{name}: {holder} leads, and its machine does not tell the time"
    ago = float(clock.stdout) - _seconds(lease["renewTime"])
    if abs(ago) <= lasts:
        return ""
    return f"{name}: {holder} renewed its lease last {ago:.0f} s ago, and it is good for {lasts} s"


def await_apiservers(cluster: Cluster, timeout: float = SERVE_SECONDS) -> None:
    """/readyz of each apiserver, and through the address that users have."""
    for name in [*(node.name for node in cluster.topology.of(Role.CONTROL_PLANE)), None]:
        api = cluster.api(name)
        insist(
            f"/readyz of {name or cluster.topology.api_url}",
            partial(answered, partial(api.text, "/readyz")),
            timeout,
        )


def api_addresses(cluster: Cluster, through: str | None = None) -> frozenset[str]:
    """The masters that clients inside the cluster are sent to."""
    found = answered(
        lambda: cluster.api(through).items(SLICES, labelSelector="kubernetes.io/service-name=kubernetes")
    )
    ends = (end for each in found for end in each.get("endpoints") or ())
    return frozenset(address for end in ends for address in end["addresses"])


def await_api_addresses(
    cluster: Cluster, timeout: float, *, without: str | None = None, through: str | None = None
) -> None:
    """The EndpointSlice `kubernetes` lists every master but one, or all of them."""
    masters = cluster.topology.of(Role.CONTROL_PLANE)
    wanted = {str(node.address) for node in masters if node.name != without}

    def check() -> None:
        seen = api_addresses(cluster, through)
        if seen != wanted:
            raise NotYet(f"EndpointSlice kubernetes lists {sorted(seen)}, not {sorted(wanted)}")

    what = (
        f"EndpointSlice kubernetes to drop {without}" if without else "EndpointSlice kubernetes to list all"
    )
    insist(what, check, timeout)


def await_dns(cluster: Cluster, timeout: float = 60) -> None:
    """Every worker resolves names of the cluster and of the API, by UDP and TCP."""
    networks = cluster.topology.networks
    name, right = f"kubernetes.default.svc.{networks.domain}", str(networks.kubernetes_service)

    def check(machine: Machine) -> None:
        patience = f"{stretched(2):.0f}"
        seen = machine.run("sh", "-c", _DIG, str(networks.dns), name, patience, timeout=15)
        if seen.stdout.split() != [right, right]:
            raise NotYet(
                f"{machine.name}: {networks.dns} said {seen.stdout.split()} to {name}, not {right} twice"
            )

    def each(machine: Machine) -> None:
        insist(f"DNS from {machine.name}", partial(check, machine), timeout)

    on_each(cluster.of(Role.WORKER), each)


def await_whole(cluster: Cluster, timeout: float = SERVE_SECONDS) -> None:
    """All of it serves: units everywhere, etcd, apiservers, who leads controllers, nodes, DNS."""
    on_each(list(cluster.machines.values()), lambda machine: await_units(cluster, machine, timeout))
    await_etcd(cluster, timeout)
    await_apiservers(cluster, timeout)
    await_api_addresses(cluster, timeout)
    await_leaders(cluster, timeout)
    await_nodes(cluster)
    await_dns(cluster, timeout)


_STATES = """\
for unit; do
  echo "$unit" $(systemctl is-active "$unit") $(systemctl is-enabled "$unit" 2>&1)
done
"""
_DIG = """\
dig +short "+time=$2" +tries=1 +notcp "@$0" "$1"
dig +short "+time=$2" +tries=1 +tcp "@$0" "$1"
"""
