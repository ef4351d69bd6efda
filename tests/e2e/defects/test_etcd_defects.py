"""Seeded defects of etcd: members that refuse themselves, are open to all, or lack data, votes or room."""

import json
import re
from collections.abc import Callable

import pytest
import test_etcd
from support_dropin import drop_in, insist_green
from support_etcd import absent, call, healths, strangers
from support_eventually import eventually
from support_visits import Outcome, visit

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT, DATA, PEER_PORT, client_url
from lab.machine import Machine
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.defects
UNIT = "etcd.service"


@pytest.fixture
def victim(lab: Cluster) -> Machine:
    members = lab.of(Role.ETCD)
    if len(members) < 3:
        pytest.skip("without a quorum to spare, a broken member breaks the cluster")
    return members[1]


def started_without(machine: Machine, *flags: str) -> tuple[str, str]:
    """Lines for a drop-in: the unit's own command without these flags."""
    unit = machine.check("cat", f"/etc/systemd/system/{UNIT}")
    command = re.search(r"^ExecStart=(.*)$", unit, re.M)
    assert command, unit
    kept = [word for word in command[1].split() if not word.startswith(tuple(f"--{flag}=" for flag in flags))]
    assert len(kept) == len(command[1].split()) - len(flags), f"{machine.name} has not all of {flags}"
    return "ExecStart=", f"ExecStart={' '.join(kept)}"


def await_members(cluster: Cluster) -> None:
    def all_serve() -> None:
        if report := absent(cluster):
            raise NotYet("; ".join(report))

    eventually("every member to serve", all_serve, timeout=60)


def test_a_gateway_that_shows_a_servers_certificate(
    lab: Cluster, victim: Machine, turns_red: Callable[..., None]
) -> None:
    """Case A3: the member's health stays green, and its gateway refuses itself."""
    name = lab.topology.etcd_name(victim.node)
    try:
        with drop_in(victim, UNIT, *started_without(victim, "client-cert-file", "client-key-file")):
            await_members(lab)
            gateway = "test_etcd.py::test_the_json_gateway_of_each_member_answers"
            turns_red(gateway, name, victim.name, "TLS Web Server Auth", "needs TLS Web Client Auth")
            turns_red("test_etcd.py::test_no_member_has_refused_a_handshake_of_its_own_machine", victim.name)
            assert not absent(lab), "health was expected to stay green, which is what makes this hard to see"
    finally:
        await_members(lab)
    insist_green(lab, "test_etcd.py")


def test_a_member_that_asks_nobody_for_a_certificate(
    lab: Cluster, victim: Machine, turns_red: Callable[..., None]
) -> None:
    try:
        with drop_in(victim, UNIT, *started_without(victim, "client-cert-auth", "trusted-ca-file")):
            await_members(lab)
            test = "test_etcd.py::test_a_client_is_refused_whose_certificate_is"
            turns_red(f"{test}[2379-none]", f"{victim.name}:2379", "answered 200")
    finally:
        await_members(lab)
    insist_green(lab, "test_etcd.py")


def test_a_member_without_its_data_is_reported_and_not_repaired(lab: Cluster, victim: Machine) -> None:
    """Case A4: its data is gone and its unit is started unchanged; the data is put back afterwards."""
    aside = f"{DATA}.thwlab-defect"
    others = len(lab.of(Role.ETCD)) - 1
    try:
        victim.check("sh", "-c", 'systemctl stop "$0" && mv "$1" "$2"', UNIT, DATA, aside)
        victim.check("systemctl", "start", "--no-block", UNIT)

        def gives_up() -> str:
            (report,) = absent(lab) or ("",)
            if "already been bootstrapped" not in report:
                raise NotYet(report or "every member is healthy")
            return report

        report = eventually("the member to give up", gives_up, timeout=30)
        assert f"{lab.topology.etcd_name(victim.node)} on {victim.name} did not come back" in report
        assert f"{others} of {others + 1} members serve" in report
        assert 'ETCD_INITIAL_CLUSTER_STATE="existing"' in report
        assert sum(each.ok for each in healths(lab).values()) == others
    finally:
        victim.check("sh", "-c", _PUT_BACK, UNIT, DATA, aside)
        await_members(lab)
    insist_green(lab, "test_etcd.py")


def test_a_learner_that_nobody_starts(lab: Cluster, victim: Machine, turns_red: Callable[..., None]) -> None:
    """It has no vote, so that everything goes on as before."""
    taken = {node.address for node in lab.topology.nodes}
    free = next(each for each in reversed([*lab.topology.networks.nodes.hosts()]) if each not in taken)
    peer = f"https://{free}:{PEER_PORT}"
    added = lab.etcdctl("member", "add", "learner", "--learner", f"--peer-urls={peer}", "-w", "json")
    assert added.ok, added.stderr
    number = f"{json.loads(added.stdout)['member']['ID']:x}"
    try:
        test = "test_etcd.py::test_the_members_are_the_planned_ones_and_none_is_a_learner"
        turns_red(test, "never started", f"{number} at", peer, "etcdctl member remove")
    finally:
        gone = lab.etcdctl("member", "remove", number)
        assert gone.ok, f"`etcdctl member remove {number}` must be tried again: {gone.stderr}"
    insist_green(lab, "test_etcd.py")


def test_a_member_that_has_no_room(lab: Cluster, victim: Machine) -> None:
    """The alarm is raised by hand and judged here: as long as it lasts, nobody in the cluster can write."""
    number = next(
        each["header"]["member_id"]
        for url, each in test_etcd.statuses(lab).items()
        if url == client_url(victim.node)
    )
    raised = alarm(lab, victim, number, "ACTIVATE")
    try:
        assert raised.status == 200, raised.body
        with pytest.raises(AssertionError) as said:
            test_etcd.test_no_member_raises_an_alarm(lab)
    finally:
        gone = lab.etcdctl("alarm", "disarm")
    assert gone.ok, gone.stderr
    name = lab.topology.etcd_name(victim.node)
    assert f"NOSPACE of {name} on {victim.name}" in str(said.value), said.value
    assert "defrag" in str(said.value), said.value
    await_members(lab)
    insist_green(lab, "test_etcd.py")


def alarm(lab: Cluster, machine: Machine, number: int, action: str) -> Outcome:
    """What a member says to a call that etcdctl does not have."""
    body = json.dumps({"action": action, "memberID": str(number), "alarm": "NOSPACE"})
    pair = strangers(lab)["right"]
    address, path = str(machine.node.address), "/v3/maintenance/alarm"
    return visit(lab, [call(lab, address, CLIENT_PORT, pair, path, body)])[0]


_PUT_BACK = """\
systemctl stop "$0"
[ ! -d "$2" ] || { rm -rf "$1" && mv "$2" "$1"; }
systemctl start "$0"
"""
