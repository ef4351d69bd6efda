"""By which interface a machine's traffic leaves, and which address its programs take for the node's.

VirtualBox gives every machine a first interface with the default route and the same address, 10.0.2.15: what
a program sends there, or calls itself by, leads nobody to it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

from lab.machine import Machine
from lab.topology import Node

VXLAN = "flannel.1"
NAT_ADDRESS = "10.0.2.15"
_SHOW = """\
ip -j -4 addr
ip -j -d link show type vxlan | grep . || echo '[]'
for address; do ip -j route get "$address"; done
"""
# Of the process that runs now; a machine's journal goes back further.
_NODE_IPS = r"""
id=$(systemctl show -p InvocationID --value kube-proxy)
journalctl --no-pager -o cat "_SYSTEMD_INVOCATION_ID=$id" | grep -i 'retrieved node \?ip' | tail -n 1
"""


@dataclass(frozen=True, slots=True)
class Ways:
    """What `ip` says on one machine: its addresses, its tunnels, and the way to each address asked for."""

    addresses: Mapping[str, str]  # by interface
    tunnels: Mapping[
        str, tuple[str, str]
    ]  # by interface: the one below it, and the address of its outer packets
    routes: Mapping[str, tuple[str, str]]  # by address: interface and gateway


def ways(machine: Machine, asked: Sequence[str]) -> Ways:
    """The machine's, for these addresses."""
    return parse_ways(machine.check("sh", "-c", _SHOW, "sh", *asked))


def parse_ways(text: str) -> Ways:
    """What `_SHOW` printed, a line of JSON for each command.  Pure."""
    addresses, links, *routes = ([each for each in json.loads(line) if each] for line in text.splitlines())
    return Ways(
        {each["ifname"]: info["local"] for each in addresses for info in each["addr_info"]},
        {each["ifname"]: _tunnel(each) for each in links},
        {each["dst"]: (each["dev"], each.get("gateway", "")) for (each,) in routes},
    )


def astray(node: Node, targets: Mapping[str, Node], seen: Ways, *, overlay: bool) -> list[str]:
    """What is wrong with the node's ways to addresses in other nodes' pod ranges.  Pure."""
    own = next((name for name, has in seen.addresses.items() if has == str(node.address)), None)
    if own is None:
        return [f"{node.name} has no interface with {node.address}: {dict(seen.addresses)}"]
    if overlay:
        found = seen.tunnels.get(VXLAN)
        below = f"{node.name}: {VXLAN} is over {found}, not ({own}, {node.address})"
        wrong = [] if found == (own, str(node.address)) else [below]
        return wrong + [
            f"{node.name} reaches {target.name}'s pods by {seen.routes[address]}, not by {VXLAN}"
            for address, target in targets.items()
            if seen.routes[address][0] != VXLAN
        ]
    planned = {address: (own, str(target.address)) for address, target in targets.items()}
    return [
        f"{node.name} reaches {target.name}'s pods by {seen.routes[address]}, not by {planned[address]}"
        for address, target in targets.items()
        if seen.routes[address] != planned[address]
    ]


def first_pod(cidr: str) -> str:
    """An address of the range that a pod may have."""
    return str(IPv4Network(cidr)[2])


def proxys_addresses(machine: Machine) -> list[str]:
    """Those that the machine's kube-proxy takes for its node's, as it said when it began."""
    return re.findall(r"\d+\.\d+\.\d+\.\d+", machine.run("sh", "-c", _NODE_IPS).stdout)


def _tunnel(link: Mapping[str, Any]) -> tuple[str, str]:
    data = link["linkinfo"]["info_data"]
    return data.get("link", ""), data.get("local", "")
