"""By which interface traffic leaves, as the e2e tests conclude it from what `ip` and kube-proxy say."""

import json
import subprocess
from pathlib import Path

import pytest
import support_interfaces
from fixed import guide_topology
from support_interfaces import Ways, astray, first_pod, parse_ways, proxys_addresses

from lab.machine import Result

PLAN = guide_topology()
NODE, OTHER = PLAN.node("k8s-worker1"), PLAN.node("k8s-worker2")
POD = "10.10.1.2"
TO_OTHER = {POD: OTHER}
ADDRESSES = {"lo": "127.0.0.1", "eth0": "10.0.2.15", "eth2": str(NODE.address)}
SHOWN = [
    [
        {"ifname": "eth0", "addr_info": [{"family": "inet", "local": "10.0.2.15", "prefixlen": 24}]},
        {"ifname": "eth2", "addr_info": [{"family": "inet", "local": "192.168.100.21", "prefixlen": 24}]},
        {},
    ],
    [
        {},
        {
            "ifname": "flannel.1",
            "linkinfo": {
                "info_kind": "vxlan",
                "info_data": {"id": 1, "link": "eth2", "local": "192.168.100.21"},
            },
        },
    ],
    [{"dst": POD, "gateway": "192.168.100.22", "dev": "eth2", "prefsrc": "192.168.100.21", "flags": []}],
]


def test_what_ip_prints_is_read() -> None:
    seen = parse_ways("\n".join(map(json.dumps, SHOWN)))
    assert seen.addresses == {"eth0": "10.0.2.15", "eth2": "192.168.100.21"}
    assert seen.tunnels == {"flannel.1": ("eth2", "192.168.100.21")}
    assert seen.routes == {POD: ("eth2", "192.168.100.22")}


def test_this_hosts_own_ip_is_read() -> None:
    argv = ["sh", "-c", support_interfaces._SHOW, "sh", "127.0.0.1"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no ip that speaks JSON here")
    if "127.0.0.1" not in done.stdout:
        pytest.skip("no ip that speaks JSON here")
    seen = parse_ways(done.stdout)
    assert seen.addresses["lo"] == "127.0.0.1"
    assert seen.routes["127.0.0.1"] == ("lo", "")


@pytest.mark.parametrize(
    ("route", "words"),
    [
        (("eth2", str(OTHER.address)), None),
        (("eth0", "10.0.2.2"), "by ('eth0', '10.0.2.2'), not by ('eth2', '192.168.100.22')"),
        (("eth2", "192.168.100.1"), "not by ('eth2', '192.168.100.22')"),
    ],
)
def test_pods_are_reached_by_the_planned_interface_and_node(
    route: tuple[str, str], words: str | None
) -> None:
    found = astray(NODE, TO_OTHER, Ways(ADDRESSES, {}, {POD: route}), overlay=False)
    assert (found == []) if words is None else (words in found[0])


@pytest.mark.parametrize(
    ("tunnels", "route", "words"),
    [
        ({"flannel.1": ("eth2", str(NODE.address))}, ("flannel.1", "10.10.1.0"), None),
        ({"flannel.1": ("eth0", "10.0.2.15")}, ("flannel.1", "10.10.1.0"), "over ('eth0', '10.0.2.15')"),
        ({}, ("flannel.1", "10.10.1.0"), "flannel.1 is over None"),
        ({"flannel.1": ("eth2", str(NODE.address))}, ("eth0", "10.0.2.2"), "not by flannel.1"),
    ],
)
def test_a_tunnel_is_laid_over_the_planned_interface(
    tunnels: dict[str, tuple[str, str]], route: tuple[str, str], words: str | None
) -> None:
    found = astray(NODE, TO_OTHER, Ways(ADDRESSES, tunnels, {POD: route}), overlay=True)
    assert (found == []) if words is None else (words in found[0])


def test_a_machine_without_its_address_is_said() -> None:
    (said,) = astray(NODE, {}, Ways({"eth0": "10.0.2.15"}, {}, {}), overlay=False)
    assert "has no interface with 192.168.100.21" in said


def test_a_pods_address_is_not_the_nodes_own() -> None:
    assert first_pod("10.10.1.0/24") == "10.10.1.2"


class Journal:
    """A machine whose kube-proxy wrote this."""

    def __init__(self, folder: Path, text: str) -> None:
        (folder / "text").write_text(text)
        for name, body in (("systemctl", "echo 0123"), ("journalctl", f'cat "{folder}/text"')):
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        self.path = f"{folder}:/usr/bin:/bin"

    def run(self, *argv: str) -> Result:
        done = subprocess.run(argv, capture_output=True, env={"PATH": self.path}, timeout=20, check=False)
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            'I1127 1 server.go:228] "Successfully retrieved NodeIPs" NodeIPs=["192.168.100.21"]',
            ["192.168.100.21"],
        ),
        ('I1127 1 server.go:1062] "Successfully retrieved node IP(s)" IPs=["10.0.2.15"]', ["10.0.2.15"]),
        ("nothing of the kind 1.2.3.4", []),
    ],
)
def test_kube_proxys_own_words_tell_its_address(tmp_path: Path, text: str, found: list[str]) -> None:
    journal = Journal(tmp_path, f"first 9.9.9.9\n{text}\nlast 8.8.8.8\n")
    assert proxys_addresses(journal) == found  # type: ignore[arg-type]
