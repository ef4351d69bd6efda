"""Which IPv4 networks this host already knows, and one that is free."""

import json
import subprocess
from collections.abc import Iterable
from ipaddress import IPv4Interface, IPv4Network

PRIVATE = (IPv4Network("192.168.0.0/16"), IPv4Network("172.16.0.0/12"), IPv4Network("10.0.0.0/8"))


def free_network(prefix: int, busy: Iterable[IPv4Network]) -> IPv4Network | None:
    """A private network of that size which overlaps none of these."""
    taken = list(busy)
    candidates = (
        net for whole in PRIVATE if whole.prefixlen <= prefix for net in whole.subnets(new_prefix=prefix)
    )
    return next((net for net in candidates if not any(net.overlaps(other) for other in taken)), None)


def networks_of_host() -> dict[str, IPv4Network]:
    """The network of each interface that has an IPv4 address; empty where there is no iproute2."""
    try:
        shown = subprocess.run(
            ("ip", "-j", "-4", "addr"), capture_output=True, timeout=10, check=False
        ).stdout
        interfaces = json.loads(shown or b"[]")
    except (FileNotFoundError, subprocess.TimeoutExpired, json.JSONDecodeError):
        return {}
    return {
        interface["ifname"]: IPv4Interface(f"{info['local']}/{info['prefixlen']}").network
        for interface in interfaces
        for info in interface.get("addr_info", ())
        if "local" in info and interface["ifname"] != "lo"
    }
