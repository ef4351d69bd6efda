"""What the daemon is asked for: project, pool, network, instances.  Pure."""

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.topology import Node, Topology

BEGUN = "user.thwlab.state"
POOL_SIZE = "40GiB"  # a sparse file; a five-machine lab fills about 2 GiB of it
UNFLUSHED = "user_subvol_rm_allowed,nobarrier"  # btrfs(5); the first is what the daemon itself sets
PROJECT_FEATURES = {
    "features.images": "true",
    "features.profiles": "true",
    "features.storage.volumes": "true",
}
# Kubernetes in a container needs the host's proc, sys and cgroups, and every capability.
PRIVILEGES = {"security.privileged": "true", "security.nesting": "true"}
RAW_LXC = ("lxc.cap.drop=", "lxc.mount.auto=proc:rw sys:rw cgroup:rw")
DEVICES_ALLOWED = {1: "lxc.cgroup.devices.allow=a", 2: "lxc.cgroup2.devices.allow=a"}

Json = dict[str, Any]


def project_name(lab: str) -> str:
    """Of the project that holds all of a lab's instances and its image."""
    return f"thwlab-{lab}"


def project_of(lab: str, state: Path) -> Json:
    """The lab's project, which says from which folder it was begun."""
    return {"name": project_name(lab), "config": {**PROJECT_FEATURES, BEGUN: str(state)}}


def pool_of(lab: str, *, lasting: bool = True) -> Json:
    """The lab's own pool, so that nothing of it stays in a daemon that others use.

    One that does not outlive this host's boot need not be flushed to its disk: what a machine's power cut
    would take from it, a container's page cache keeps anyway.  See also `EnclosedDaemon.cache_disks`.
    """
    options = {} if lasting else {"btrfs.mount_options": UNFLUSHED}
    return {"name": f"thwlab-{lab}", "driver": "btrfs", "config": {"size": POOL_SIZE, **options}}


def bridge_of(lab: str) -> str:
    """The bridge's name, unique on a host that has several and short enough for the kernel."""
    return "thw" + hashlib.sha256(lab.encode()).hexdigest()[:8]


def network_of(topology: Topology) -> Json:
    """A bridge without DHCP, DNS, NAT or IPv6: addresses are planned, and nothing leaves."""
    networks = topology.networks
    config = {
        "ipv4.address": f"{networks.gateway}/{networks.nodes.prefixlen}",
        "ipv4.nat": "false",
        "ipv4.dhcp": "false",
        "ipv6.address": "none",
        "dns.mode": "none",
    }
    return {"name": bridge_of(topology.name), "type": "bridge", "config": config}


def instance_of(topology: Topology, node: Node, fingerprint: str, cgroup: int) -> Json:
    """A system container for the node, from the image with this fingerprint."""
    privileges = {**PRIVILEGES, "raw.lxc": "\n".join((*RAW_LXC, DEVICES_ALLOWED[cgroup]))}
    kmsg = {"type": "unix-char", "path": "/dev/kmsg", "source": "/dev/kmsg"}
    made = _instance(topology, node, fingerprint, privileges)
    return {**made, "type": "container", "devices": {**made["devices"], "kmsg": kmsg}}


def vm_of(topology: Topology, node: Node, fingerprint: str, gib: int) -> Json:
    """A virtual machine for the node; its disk has `gib`, as the image does, so that nothing has to grow.

    Its boot loader is not signed, so there is no Secure Boot.
    """
    hardware = {
        "limits.cpu": str(node.cpus),
        "limits.memory": f"{node.memory_mib}MiB",
        "security.secureboot": "false",
    }
    made = _instance(topology, node, fingerprint, hardware)
    root = {**made["devices"]["root"], "size": f"{gib}GiB"}
    return {**made, "type": "virtual-machine", "devices": {**made["devices"], "root": root}}


def _instance(topology: Topology, node: Node, fingerprint: str, config: Mapping[str, str]) -> Json:
    """What containers and VMs have in common."""
    return {
        "name": node.name,
        "source": {"type": "image", "fingerprint": fingerprint},
        "profiles": [],
        "config": {**config, "user.thwlab.network": _networkd(topology, node)},
        "devices": {
            "root": {"type": "disk", "path": "/", "pool": pool_of(topology.name)["name"]},
            "eth0": {"type": "nic", "nictype": "bridged", "parent": bridge_of(topology.name), "name": "eth0"},
        },
    }


def node_of(instance: Mapping[str, Any]) -> Node:
    """As much of the plan as the daemon knows: name and address."""
    address = instance["config"]["user.thwlab.network"].split("Address=")[1].split("/")[0]
    return Node(instance["name"], IPv4Address(address), frozenset())


def placement(node: Node) -> dict[str, Any]:
    """The member of a clustered daemon that is to hold the node, as a query; empty if any may."""
    return {"query_target": node.place} if node.place else {}


def _networkd(topology: Topology, node: Node) -> str:
    """A static address, and a default route to a gateway that forwards nothing."""
    networks = topology.networks
    return (
        "[Match]\nName=eth0\n[Network]\n"
        f"Address={node.address}/{networks.nodes.prefixlen}\nGateway={networks.gateway}\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )
