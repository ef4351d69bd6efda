"""Seeded defects of machines: a name that leads elsewhere, a disk without room, a link that is too narrow."""

from collections.abc import Callable

import pytest
import support_interface
import test_machines
from support_dropin import FOLDER, insist_green
from support_host import thwlab, tried

from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.machine import Machine
from lab.topology import Role

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
ROOM = "test_machines.py::test_no_file_system_of_a_machine_is_full"
ONE_WAY_OUT = "test_machines.py::test_no_machine_has_two_ways_out"
WHOLE = "test_network.py::test_packets_as_large_as_the_pods_link_allows_arrive_unfragmented"


@pytest.fixture
def two(lab: Cluster) -> tuple[Machine, Machine]:
    """The first and the last worker."""
    workers = lab.of(Role.WORKER)
    if len(workers) < 2:
        pytest.skip("one worker has no way to another")
    return workers[0], workers[-1]


def test_a_name_that_leads_to_another_machine(lab: Cluster) -> None:
    """Judged here, for a session of its own would write /etc/hosts anew before it looks."""
    victim, other, *_ = lab.machines.values()
    last = lab.topology.nodes[-1]
    swap = ("sed", "-i", f"s/^{last.address} {last.name}$/{other.node.address} {last.name}/")
    back = ("sed", "-i", f"s/^{other.node.address} {last.name}$/{last.address} {last.name}/")
    try:
        victim.check(*swap, "/etc/hosts")
        with pytest.raises(ClusterError) as said:
            test_machines.test_every_machine_knows_every_other_by_name(lab)
    finally:
        victim.check(*back, "/etc/hosts")
    wrong = f"{victim.name} takes {last.name} for {other.node.address}, not {last.address}"
    assert wrong in str(said.value), said.value
    test_machines.test_every_machine_knows_every_other_by_name(lab)


@pytest.mark.parametrize(
    ("damage", "undo", "said"),
    [
        ("systemctl disable", "systemctl enable", "kube-proxy.service is disabled"),
        (
            'd=/etc/systemd/system/$1.d; mkdir $d; echo "[Service]" >$d/x.conf; systemctl daemon-reload #',
            'rm -r "/etc/systemd/system/$1.d"; systemctl daemon-reload #',
            "kube-proxy.service is changed by /etc/systemd/system/kube-proxy.service.d/x.conf",
        ),
    ],
    ids=["disabled", "drop-in"],
)
def test_a_unit_that_is_not_what_its_file_says(
    lab: Cluster, two: tuple[Machine, Machine], damage: str, undo: str, said: str
) -> None:
    """Judged here, for a session of its own would enable the unit before it looks."""
    victim, unit = two[-1], "kube-proxy.service"
    try:
        victim.check("sh", "-c", f'{damage} "$1"', "sh", unit)
        with pytest.raises(ClusterError) as told:
            test_machines.test_every_unit_comes_back_with_its_machine_and_is_what_its_file_says(lab)
    finally:
        victim.check("sh", "-c", f'{undo} "$1"', "sh", unit)
    assert f"{victim.name}: {said}" in str(told.value), told.value
    test_machines.test_every_unit_comes_back_with_its_machine_and_is_what_its_file_says(lab)


def test_status_names_a_disabled_unit_and_up_mends_it(
    lab: Cluster, two: tuple[Machine, Machine], flags: list[str]
) -> None:
    victim, unit = two[-1], "kube-proxy.service"
    victim.check("systemctl", "disable", unit)
    seen = tried(*flags, "status")
    assert seen.returncode == 1, seen.stdout + seen.stderr
    assert f"{unit} on {victim.name}: does not start at boot: `thwlab " in seen.stdout, seen.stdout
    thwlab(*flags, "up")
    assert "does not start" not in thwlab(*flags, "status")


def test_a_second_default_route(lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed) -> None:
    machine, other = two
    route = ("default", "via", str(other.node.address), "metric", "7")
    try:
        machine.check("ip", "route", "add", *route)
        turns_red(ONE_WAY_OUT, f"{machine.name} has 2 default routes", f"via {other.node.address}")
    finally:
        machine.check("ip", "route", "del", *route)
    insist_green(lab, ONE_WAY_OUT)


def test_a_file_system_without_room(lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed) -> None:
    """A small one of its own, for the machines share their host's disk."""
    victim = two[-1]
    fill = 'mkdir -p "$0" && mount -t tmpfs -o size=64k full "$0" && head -c 63000 /dev/zero >"$0/fill"'
    try:
        victim.check("sh", "-c", fill, FOLDER)
        turns_red(ROOM, f"{victim.name}: {FOLDER} is full to", "(room)")
    finally:
        victim.check("sh", "-c", 'umount "$0"; rmdir "$0"', FOLDER)
    insist_green(lab, ROOM)


def test_a_link_that_is_too_narrow(lab: Cluster, two: tuple[Machine, Machine], turns_red: TurnsRed) -> None:
    """Connections adapt to it, and the cluster works; what may not be cut is lost."""
    victim, other = two
    link = support_interface.of(victim)
    try:
        victim.check("ip", "link", "set", link, "mtu", "1400")
        turns_red(WHOLE, f"from a pod on {victim.name} to a pod on {other.name}: lost with packets of")
    finally:
        victim.check("ip", "link", "set", link, "mtu", "1500")
    insist_green(lab, WHOLE)
