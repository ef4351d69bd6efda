"""Rules for packets: as text that a person has read, and with real packets between two namespaces."""

import os
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from fault_network import PEER, PLAN, VICTIM, Namespace, can_make_namespaces, cluster_of, wired

from lab.faults.base import rebuilt
from lab.faults.catalogue import FAULTS
from lab.faults.network import NetworkFault, OneWay, Partition, Reject, Silent
from lab.faults.packets import Cut, Peer, counted, install, marking, render, table_of
from lab.wait import NotYet

GOLDEN = Path(__file__).parent / "golden/faults"
BOTH = (Peer(PEER, IPv4Address("192.168.100.12")), Peer("k8s-lb", IPv4Address("192.168.100.100")))
CUTS = {
    "silent": Cut(served=True),
    "silent-vm": Cut(served=True, spared=IPv4Address("192.168.100.1")),
    "silent-ports": Cut(served=True, ports=(53,), inside=True),
    "reject": Cut(rejects=True, direction="in", ports=(6443,)),
    "reject-out": Cut(rejects=True, direction="out", peers=BOTH[:1], ports=(2379, 2380)),
    "reject-inside": Cut(rejects=True, direction="in", ports=(53,), inside=True),
    "one-way-in": Cut(direction="in", peers=BOTH),
    "one-way-out": Cut(direction="out", ports=(2380,), bigger_than=1000),
    "partition": Cut(peers=BOTH, ports=(2379, 2380)),
}
needs_namespaces = pytest.mark.skipif(not can_make_namespaces(), reason="needs root, ip and nft")


@pytest.mark.parametrize("name", CUTS)
def test_rules_are_those_a_person_has_read(name: str) -> None:
    path = GOLDEN / f"{name}.nft"
    text = render("thwlab-test", CUTS[name])
    if os.environ.get("THWLAB_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@needs_namespaces
@pytest.mark.parametrize("name", CUTS)
def test_nft_takes_the_rules(name: str) -> None:
    defined = (
        'define dev = "eth0"\ndefine peer0 = { 192.168.100.12, 10.10.1.0/24 }\ndefine peer1 = { 1.2.3.4 }\n'
    )
    text = defined + 2 * render("thwlab-test", CUTS[name])
    argv = ["unshare", "-n", "nft", "-f", "-"]
    subprocess.run(argv, input=text, text=True, check=True, timeout=10)


@pytest.mark.parametrize(
    "script", [install("t", CUTS["partition"]), marking("t", CUTS["partition"], "7417:1")]
)
def test_scripts_are_shell(script: str) -> None:
    subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=10)


def test_a_table_is_named_after_the_words_and_not_after_the_victims() -> None:
    one, other = Silent(("a",), ports=(53,)), Silent(("b",), ports=(53,))
    assert table_of(one) == table_of(other) != table_of(Silent(("a",), ports=(54,)))
    assert table_of(rebuilt(FAULTS, one.record())) == table_of(one)


# -- who is cut from whom ----------------------------------------------------------------------------------

THREE = ("k8s-master1", "k8s-master2", "k8s-lb")
OTHERS = ("k8s-master2", "k8s-worker1", "k8s-worker2", "k8s-lb")


@pytest.mark.parametrize(
    ("fault", "unheard"),
    [
        (Partition(("k8s-master1",)), OTHERS),
        (Partition(("k8s-master1", "k8s-master2"), shape="one"), OTHERS),
        (Partition(("k8s-master1", "k8s-master2"), shape="halves"), OTHERS[1:]),
        (Partition(THREE[:2], shape="bridge"), ("k8s-master2",)),
        (Partition(("k8s-master1",), peers=THREE), THREE[1:]),
    ],
)
def test_shapes_say_who_does_not_hear_whom(fault: Partition, unheard: tuple[str, ...]) -> None:
    assert fault.unheard(cluster_of({}), "k8s-master1") == unheard


def test_a_bridge_of_one_has_no_sides() -> None:
    assert "k8s-lb would be cut from nobody" in Partition(("k8s-lb",), shape="bridge").unavailable(
        cluster_of({})
    )
    assert not Partition(THREE, shape="bridge").unavailable(cluster_of({}))


def test_loopback_as_a_whole_is_never_cut() -> None:
    assert Silent((VICTIM,), inside=True).unavailable(cluster_of({}))
    assert Reject((VICTIM,), inside=True).unavailable(cluster_of({}))


# -- with real packets -------------------------------------------------------------------------------------

SERVE = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = socket.create_server((sys.argv[1], int(sys.argv[2])), family=family)
print("up", flush=True)
while True:
    connection, _ = server.accept()
    connection.sendall(b"x" * 4000)
"""
CALL = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.4) as connection:
        got = 0
        while got < 4000:
            got += len(connection.recv(4000)) or 9999
    print("answered")
except TimeoutError:
    print("silent")
except ConnectionError:
    print("refused")
"""
PORT, OTHER = "2380", "6443"


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Any]:
    with wired(tmp_path) as machines:
        servers = [
            subprocess.Popen(
                ["ip", "netns", "exec", machine.namespace, "python3", "-I", "-c", SERVE, "0.0.0.0", port],
                stdout=subprocess.PIPE,
            )
            for machine in machines.values()
            for port in (PORT, OTHER)
        ]
        try:
            for server in servers:
                assert server.stdout.readline() == b"up\n"
            yield cluster_of(machines)
        finally:
            for server in servers:
                server.kill()
                server.wait()
                server.stdout.close()


def call(caller: Namespace, callee: Namespace, port: str = PORT) -> str:
    return caller.python(CALL, str(callee.node.address), port)


def calls(cluster: Any) -> dict[str, str]:
    """What each of the two gets from the other, and from itself, at the port and at another one."""
    victim, peer = cluster.machines[VICTIM], cluster.machines[PEER]
    return {
        "in": call(peer, victim),
        "out": call(victim, peer),
        "own": call(victim, victim),
        "in-other": call(peer, victim, OTHER),
        "out-other": call(victim, peer, OTHER),
    }


WELL = dict.fromkeys(("in", "out", "own", "in-other", "out-other"), "answered")
CASES = [
    (Silent((VICTIM,)), {"in": "silent", "out": "silent", "in-other": "silent", "out-other": "silent"}),
    (Silent((VICTIM,), ports=(2380,)), {"in": "silent"}),
    (Silent((VICTIM,), ports=(2380,), inside=True), {"in": "silent", "own": "silent"}),
    (Reject((VICTIM,), ports=(2380,)), {"in": "refused"}),
    (Reject((VICTIM,), ports=(2380,), inside=True), {"in": "refused", "own": "refused"}),
    (Reject((VICTIM,), ports=(2380,), direction="out", peers=(PEER,)), {"out": "refused"}),
    (Reject((VICTIM,), peers=("k8s-worker1",)), {}),
    (OneWay((VICTIM,), peers=(PEER,)), dict.fromkeys(("in", "out", "in-other", "out-other"), "silent")),
    (OneWay((VICTIM,), direction="out", ports=(2380,)), {"in": "silent", "out": "silent"}),
    (Partition((VICTIM,), ports=(2380,)), {"in": "silent", "out": "silent"}),
    (Partition((VICTIM, PEER), shape="bridge"), {k: "silent" for k in WELL if k != "own"}),
    (Partition((VICTIM,), shape="halves", peers=("k8s-worker1",)), {}),
    (
        Partition((VICTIM,), bigger_than=1000),
        {"in": "silent", "out": "silent", "in-other": "silent", "out-other": "silent"},
    ),
]


@needs_namespaces
@pytest.mark.parametrize(("fault", "seen"), CASES, ids=lambda value: getattr(value, "word", ""))
def test_packets_meet_the_rules(wire: Any, fault: NetworkFault, seen: dict[str, str]) -> None:
    fault.heal(wire)
    fault.check_healed(wire)
    for _ in range(2):
        fault.inject(wire)
        with pytest.raises(NotYet, match="still there"):
            fault.check_healed(wire)
        assert calls(wire) == WELL | seen
        if seen:
            assert "packets" in fault.in_force(wire)
        else:
            with pytest.raises(NotYet, match="met no packet"):
                fault.in_force(wire)
        fault.heal(wire)
        fault.check_healed(wire)
        with pytest.raises(NotYet, match="no table"):
            fault.in_force(wire)
    assert calls(wire) == WELL


@needs_namespaces
def test_established_connections_are_refused_too_and_the_server_hears_of_it(wire: Any) -> None:
    victim, peer = wire.machines[VICTIM], wire.machines[PEER]
    fault = Reject((VICTIM,), ports=(int(PORT),))
    client = subprocess.Popen(
        [
            "ip",
            "netns",
            "exec",
            peer.namespace,
            "python3",
            "-I",
            "-c",
            LASTING,
            str(victim.node.address),
            PORT,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert client.stdout.readline() == b"connected\n"
        fault.inject(wire)
        client.stdin.write(b"go\n")
        client.stdin.close()
        assert client.stdout.readline() == b"reset\n"
    finally:
        fault.heal(wire)
        client.kill()
        client.wait()
        client.stdout.close()


LASTING = """
import socket, sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])))
print("connected", flush=True)
sys.stdin.readline()
try:
    for _ in range(50):
        connection.send(b"x")
        connection.settimeout(0.1)
        try:
            while connection.recv(9999): pass
        except TimeoutError: pass
    print("still there", flush=True)
except ConnectionError:
    print("reset", flush=True)
"""


@needs_namespaces
def test_silence_is_for_ipv6_too(wire: Any) -> None:
    victim, peer = wire.machines[VICTIM], wire.machines[PEER]
    for machine, address in ((victim, "fd00::1"), (peer, "fd00::2")):
        machine.check("ip", "addr", "add", f"{address}/64", "dev", "eth0", "nodad")
    server = subprocess.Popen(
        ["ip", "netns", "exec", victim.namespace, "python3", "-I", "-c", SERVE, "fd00::1", "7000"],
        stdout=subprocess.PIPE,
    )
    fault = Silent((VICTIM,))
    try:
        assert server.stdout.readline() == b"up\n"
        assert peer.python(CALL, "fd00::1", "7000") == "answered"
        fault.inject(wire)
        assert peer.python(CALL, "fd00::1", "7000") == "silent"
        assert "in from anybody" in fault.in_force(wire)
    finally:
        fault.heal(wire)
        server.kill()
        server.wait()
        server.stdout.close()


@needs_namespaces
def test_on_vms_the_harness_still_reaches_ssh_and_nothing_else(tmp_path: Path) -> None:
    """The peer stands for this host: it has the gateway's address."""
    with wired(tmp_path) as machines:
        victim, peer = machines[VICTIM], machines[PEER]
        peer.check("ip", "addr", "add", f"{PLAN.networks.gateway}/24", "dev", "eth0")
        victim.check("sh", "-c", install("thwlab-test", CUTS["silent-vm"]), "sh", VICTIM)
        servers = [
            subprocess.Popen(
                ["ip", "netns", "exec", victim.namespace, "python3", "-I", "-c", SERVE, "0.0.0.0", port],
                stdout=subprocess.PIPE,
            )
            for port in ("22", PORT)
        ]
        try:
            for server in servers:
                assert server.stdout.readline() == b"up\n"
            from_gateway = CALL.replace(
                "timeout=0.4", f"timeout=0.4, source_address=('{PLAN.networks.gateway}', 0)"
            )
            asked = [peer.python(from_gateway, str(victim.node.address), port) for port in ("22", PORT)]
            assert asked == ["answered", "silent"]
            assert call(peer, victim, "22") == "silent", "only this host's address is let through"
        finally:
            for server in servers:
                server.kill()
                server.wait()
                server.stdout.close()


@needs_namespaces
def test_what_pods_send_through_the_machine_is_met(wire: Any) -> None:
    """The peer's pods have addresses that are routed to it; so they stand for it."""
    victim, peer = wire.machines[VICTIM], wire.machines[PEER]
    peer.check("ip", "addr", "add", "10.10.1.5/32", "dev", "lo")
    victim.check("ip", "route", "add", "10.10.1.0/24", "via", str(peer.node.address))
    fault = Partition((VICTIM,), peers=(PEER,))
    fault.inject(wire)
    try:
        assert victim.python(CALL, "10.10.1.5", PORT) == "silent"
        assert f"out to {PEER}" in fault.in_force(wire)
    finally:
        fault.heal(wire)


def test_counters_are_told_by_rule() -> None:
    listing = (
        '{"nftables": [{"metainfo": {}}, {"rule": {"comment": "in", "expr": [{"counter": {"packets": 3}}]}},'
        '{"rule": {"comment": "in", "expr": [{"counter": {"packets": 4}}]}}, '
        '{"rule": {"expr": [{"accept": null}]}}]}'
    )
    assert counted(listing) == {"in": 7}


@needs_namespaces
def test_what_others_own_stays(wire: Any) -> None:
    victim = wire.machines[VICTIM]
    victim.check("nft", "add", "table", "inet", "kube-proxy")
    fault = Silent((VICTIM,))
    fault.inject(wire)
    fault.heal(wire)
    assert victim.check("nft", "list", "tables").split("\n")[0] == "table inet kube-proxy"
