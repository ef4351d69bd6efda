"""Which components a plan needs, in the order in which they may start."""

from collections.abc import Mapping
from ipaddress import IPv4Network

from lab.components.admin import Admin
from lab.components.apiserver import ApiServer
from lab.components.balancer import LayerFourBalancer
from lab.components.base import Component
from lab.components.cni import CniFlannel, CniRouted, PodRoutes
from lab.components.containerd import Containerd
from lab.components.controller_manager import ControllerManager
from lab.components.etcd import Etcd
from lab.components.haproxy import Haproxy
from lab.components.kube_proxy import KubeProxy
from lab.components.kubelet import Kubelet
from lab.components.nginx import Nginx
from lab.components.node_prep import Hosts, NodePrep
from lab.components.scheduler import Scheduler
from lab.machine import Platform
from lab.topology import Balancer, Cni, Topology

BALANCERS: Mapping[Balancer, type[LayerFourBalancer]] = {Balancer.NGINX: Nginx, Balancer.HAPROXY: Haproxy}


def balancer(topology: Topology, platform: Platform) -> LayerFourBalancer:
    """The plan's choice before the apiservers."""
    return BALANCERS[topology.load_balancer](topology, platform)


def pod_network(
    topology: Topology, platform: Platform, pod_cidrs: Mapping[str, IPv4Network]
) -> tuple[Component, ...]:
    """What connects pods, once the API has given each node in ``pod_cidrs`` its range."""
    if topology.cni is Cni.FLANNEL:
        return CniFlannel(topology, platform), PodRoutes(topology, platform, pod_cidrs)
    return (CniRouted(topology, platform, pod_cidrs),)


def components(topology: Topology, platform: Platform) -> tuple[Component, ...]:
    """All but the pod network, which needs to know what the API gave the nodes."""
    kinds = (
        Hosts,
        NodePrep,
        Etcd,
        BALANCERS[topology.load_balancer],
        ApiServer,
        ControllerManager,
        Scheduler,
        Containerd,
        Kubelet,
        KubeProxy,
        Admin,
    )
    every = (kind(topology, platform) for kind in kinds)
    return tuple(component for component in every if component.nodes())
