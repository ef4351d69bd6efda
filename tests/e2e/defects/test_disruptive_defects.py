"""Seeded defects of reboots, power cuts, pauses, restores and growth, and of the lab that does them."""

from collections.abc import Callable
from pathlib import Path

import pytest
import support_writes
from support_dropin import FOLDER, apiserver_runs, drop_in

from lab import health
from lab.cluster import Cluster
from lab.components.etcd import client_url
from lab.components.rendering import CFG
from lab.machine import File, Machine
from lab.topology import Role

pytestmark = pytest.mark.defects
TurnsRed = Callable[..., None]
Breaks = Callable[[str], None]
CONF = f"{CFG}/kube-apiserver.conf"
REBOOT = "test_reboot.py::test_everything_is_back_after_a_reboot"
PAUSE = "test_pause.py::test_a_paused_machine_stands_still_and_goes_on_where_it_was"
POWER = "test_power_cut.py"


@pytest.fixture
def breaks(monkeypatch: pytest.MonkeyPatch) -> Breaks:
    """`breaks("no_pause")`: sessions started from now on have this defect in their laboratory."""

    def choose(name: str) -> None:
        monkeypatch.setenv("THWLAB_DEFECT", name)
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p broken_lab")
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    return choose


@pytest.fixture
def masters(lab: Cluster) -> list[Machine]:
    found = lab.of(Role.CONTROL_PLANE)
    if len(found) < 2 or len(lab.topology.of(Role.ETCD)) < 3:
        pytest.skip("the plan has no machine to spare")
    return found


@pytest.fixture
def member(lab: Cluster) -> Machine:
    return lab.of(Role.ETCD)[-1]


def test_a_unit_that_nothing_starts_at_boot(
    lab: Cluster, masters: list[Machine], turns_red: TurnsRed
) -> None:
    victim, unit = masters[-1], "kube-scheduler.service"
    try:
        victim.check("systemctl", "disable", unit)
        turns_red(f"{REBOOT}[{victim.name}]", victim.name, unit)
    finally:
        victim.check("systemctl", "enable", "--now", unit)
    health.await_whole(lab)


def test_routes_that_are_typed_once(lab: Cluster, turns_red: TurnsRed) -> None:
    victim, unit = lab.of(Role.WORKER)[-1], "thwlab-routes.service"
    try:
        victim.check("systemctl", "disable", unit)
        turns_red(f"{REBOOT}[{victim.name}]", victim.name, unit)
    finally:
        victim.check("systemctl", "enable", "--now", unit)
    health.await_whole(lab)


def test_a_machine_that_was_not_rebooted(member: Machine, turns_red: TurnsRed, breaks: Breaks) -> None:
    breaks("rebooting_into_nothing")
    turns_red(f"{REBOOT}[{member.name}]", member.name, "was not rebooted")


def test_apiservers_that_all_ask_one_members_machine(
    lab: Cluster, masters: list[Machine], turns_red: TurnsRed
) -> None:
    """The master that stays asks the member of the one that is cut."""
    victim, other = masters[:2]
    conf = other.check("cat", CONF)
    changed = conf.replace(client_url(other.node), client_url(victim.node))
    assert changed != conf, f"{other.name}: {client_url(other.node)} is not in {CONF}"
    file = File(f"{FOLDER}/kube-apiserver.conf", changed.encode())
    settings = ("EnvironmentFile=", f"EnvironmentFile={file.path}")
    try:
        with drop_in(other, "kube-apiserver.service", *settings, files=[file]):
            apiserver_runs(lab, other)
            test = f"{POWER}::test_the_api_takes_writes_again_after_a_power_cut[{victim.name}]"
            turns_red(test, f"{victim.name} cut, api", "acknowledged writes in a row", timeout=400)
    finally:
        lab.lab.close()
        health.await_whole(lab)


def test_a_crash_instead_of_a_power_cut(
    lab: Cluster, member: Machine, masters: list[Machine], turns_red: TurnsRed, breaks: Breaks
) -> None:
    breaks("loud_power_cut")
    turns_red(f"{POWER}::test_a_power_cut_is_silent[{member.name}]", "got FIN or RST from", member.name)
    lab.lab.close()
    health.await_whole(lab)


def test_an_acknowledged_write_that_is_gone(lab: Cluster) -> None:
    members = [node.address for node in lab.topology.of(Role.ETCD)]
    with (
        support_writes.api_writes(lab, [lab.topology.api_address]) as api,
        support_writes.etcd_writes(lab, members) as etcd,
    ):
        api.stop()
        etcd.stop()
        assert (support_writes.lost_of_api(lab, api), support_writes.lost_of_etcd(lab, etcd)) == ([], [])
        one, other = min(api.acknowledged()), min(etcd.acknowledged())
        lab.api().delete(f"/api/v1/namespaces/{api.where}/configmaps/{one}")
        assert lab.etcdctl("del", f"{etcd.where}/{other}").ok
        everywhere = [f"{node.name} lacks {one}" for node in lab.topology.of(Role.CONTROL_PLANE)]
        assert support_writes.lost_of_api(lab, api) == everywhere
        everywhere = [f"{node.name} lacks {other}" for node in lab.topology.of(Role.ETCD)]
        assert support_writes.lost_of_etcd(lab, etcd) == everywhere


def test_a_pause_that_pauses_nothing(member: Machine, turns_red: TurnsRed, breaks: Breaks) -> None:
    breaks("no_pause")
    turns_red(f"{PAUSE}[{member.name}]", f"{member.name} ran a command while it was paused")


def test_a_pause_that_restarts_a_unit(member: Machine, turns_red: TurnsRed, breaks: Breaks) -> None:
    breaks("restarting_pause")
    turns_red(f"{PAUSE}[{member.name}]", f"{member.name}: units were restarted by a pause")


def test_a_restore_that_restores_nothing(lab: Cluster, turns_red: TurnsRed, breaks: Breaks) -> None:
    breaks("idle_restore")
    turns_red("test_snapshot.py", "was made after the snapshot and is still there", *lab.machines)
    mark = "/var/lib/thwlab-after-the-snapshot"
    for machine in lab.machines.values():
        machine.check("rm", "-f", mark)


def test_a_deadline_that_leaves_children_behind(member: Machine, turns_red: TurnsRed, breaks: Breaks) -> None:
    breaks("leaving_children")
    test = "test_machine.py::test_a_command_that_never_ends_is_cut_with_all_its_children"
    turns_red(test, member.name, "sleep 312")
    member.run("pkill", "-x", "-f", "sleep 312")


def test_a_balancer_that_is_restarted_by_growth(
    lab: Cluster, masters: list[Machine], turns_red: TurnsRed, breaks: Breaks
) -> None:
    entrance = lab.topology.balancer
    if entrance is None or len(lab.topology.of(Role.WORKER)) < 2:
        pytest.skip("the plan cannot be made smaller and grow again")
    breaks("restarting_balancer")
    test = "test_growth.py::test_nothing_is_restarted_by_growth"
    turns_red(test, f"{entrance.name}: nginx.service was", timeout=400)
    lab.lab.close()
    health.await_whole(lab)
