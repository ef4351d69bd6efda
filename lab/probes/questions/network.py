"""What users of the cluster's network feel: Services and names."""

from collections.abc import Iterator
from typing import Any

from lab.probes.question import BRISK, FAST, UNHURRIED, Probe, Question, https_to
from lab.probes.workload import Workload
from lab.topology import Role, Topology

KEPT_PORT = 10053  # of a client that keeps its own; below those that the kernel gives out


def _cluster_ip(topology: Topology, workload: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = _plain(workload.cluster_ip, 80)
        yield Probe(f"cluster-ip@{node.name}", "cluster-ip", FAST, plan, node.name)


def _node_port(topology: Topology, workload: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = _plain(str(node.address), workload.node_port)
        yield Probe(f"node-port@{node.name}", "node-port", 0.5, plan, target=node.name)


def _plain(address: str, port: int) -> dict[str, Any]:
    return {**https_to(address, port), "requests": [{"method": "GET", "path": "/hostname", "accept": [200]}]}


def _dns(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        yield Probe(f"dns@{node.name}", "dns", FAST, _name(topology), node.name)


def _dns_pod(topology: Topology, workload: Workload) -> Iterator[Probe]:
    """The pods that are there when a run begins: one that comes later has an address nobody knows yet."""
    for node in topology.of(Role.WORKER):
        for number, (machine, address) in enumerate(workload.resolvers, 1):
            plan = {**_name(topology), "address": address}
            name = f"dns-pod{number}@{node.name}"
            yield Probe(name, "dns-pod", UNHURRIED, plan, node.name, target=machine)


def _dns_kept(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = {**_name(topology), "source": KEPT_PORT}
        yield Probe(f"dns-kept@{node.name}", "dns-kept", BRISK, plan, node.name)


def _name(topology: Topology) -> dict[str, Any]:
    networks = topology.networks
    name = f"kubernetes.default.svc.{networks.domain}"
    return {"ask": "dns", "address": str(networks.dns), "port": 53, "name": name}


QUESTIONS = (
    Question("cluster-ip", "HTTP to a Service's address, from each worker", _cluster_ip),
    Question("node-port", "HTTP to a Service's port on each worker, from outside", _node_port),
    Question("dns", "a name of the cluster, from each worker", _dns),
    Question(
        "dns-pod",
        "the same, of each CoreDNS pod by itself",
        _dns_pod,
    ),
    Question(
        "dns-kept",
        "the same by the Service, always from the same port, so that connection tracking sends it where it"
        " went before; only where it is named",
        _dns_kept,
        rare=True,
    ),
)
