"""What all components of a plan put on each machine, for tests that look at whole machines."""

from ipaddress import IPv4Network

from fixed import fixed_credentials, guide_topology

from lab.components.base import Component
from lab.components.catalogue import components, pod_network
from lab.machine import File, Platform, Substrate
from lab.topology import Node, Topology

POD_CIDRS = {"k8s-worker1": IPv4Network("10.10.0.0/24"), "k8s-worker2": IPv4Network("10.10.1.0/24")}
CONTAINER, VM = Platform(Substrate.CONTAINER, 1), Platform(Substrate.VM, 2)
NODES = [node.name for node in guide_topology().nodes]


def everything(topology: Topology, platform: Platform) -> tuple[Component, ...]:
    """Every component, the pod network included."""
    return (*components(topology, platform), *pod_network(topology, platform, POD_CIDRS))


def files_of(topology: Topology, platform: Platform, node: Node) -> dict[str, File]:
    """The files of one machine by path; two components may share a file, but not differ on it."""
    found: dict[str, File] = {}
    for component in everything(topology, platform):
        if node in component.nodes():
            for file in component.files(node, fixed_credentials()):
                assert found.setdefault(file.path, file) == file, f"two components differ on {file.path}"
    return found
