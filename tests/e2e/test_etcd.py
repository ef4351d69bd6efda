"""Chapter "etcd": healthy members by TLS, one leader, the same data everywhere, and nobody else gets in."""

import json
import re
from typing import Any

import pytest
from support_etcd import (
    ALERTS,
    absent,
    alarms,
    call,
    gateway_call,
    member,
    refused_handshakes,
    shown_to_itself,
    strangers,
    unlike,
)
from support_eventually import eventually
from support_visits import Outcome, visit

from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT, PEER_PORT, client_url, peer_url
from lab.machine import on_each
from lab.signatures import recognised
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
Answers = dict[tuple[str, int, str], Outcome]


def statuses(lab_etcd: Cluster) -> dict[str, dict[str, Any]]:
    """`endpoint status` of every member, by its client URL."""
    done = lab_etcd.etcdctl("endpoint", "status", "-w", "json")
    assert done.ok, f"endpoint status failed: {done.stderr}\n" + "\n".join(absent(lab_etcd))
    return {each["Endpoint"]: each["Status"] for each in json.loads(done.stdout)}


def members(lab_etcd: Cluster) -> list[dict[str, Any]]:
    done = lab_etcd.etcdctl("member", "list", "-w", "json")
    assert done.ok, f"member list failed: {done.stderr}\n" + "\n".join(absent(lab_etcd))
    return list(json.loads(done.stdout)["members"])


@pytest.fixture(scope="module")
def answers(lab_etcd: Cluster) -> Answers:
    """How each member answered each kind of client on both ports, all of them over fresh connections."""
    kinds = strangers(lab_etcd)
    asked = [
        (machine.name, port, kind, call(lab_etcd, str(machine.node.address), port, pair, "/version"))
        for machine in lab_etcd.of(Role.ETCD)
        for port in (CLIENT_PORT, PEER_PORT)
        for kind, pair in kinds.items()
    ]
    outcomes = visit(lab_etcd, [each[3] for each in asked])
    return {each[:3]: outcome for each, outcome in zip(asked, outcomes, strict=True)}


def test_every_planned_member_is_healthy(lab_etcd: Cluster) -> None:
    report = absent(lab_etcd)
    assert not report, "\n".join(report)


def test_the_guides_health_command_says_that_every_member_committed(lab_etcd: Cluster) -> None:
    done = lab_etcd.etcdctl("endpoint", "health")
    said = done.stdout + done.stderr
    committed = set(re.findall(r"^(\S+) is healthy: successfully committed proposal: took = ", said, re.M))
    assert committed == {client_url(node) for node in lab_etcd.topology.of(Role.ETCD)}, said


def test_there_is_one_leader_and_everyone_knows_it(lab_etcd: Cluster) -> None:
    found = statuses(lab_etcd)
    seen = {url: status["leader"] for url, status in found.items()}
    leaders = set(seen.values())
    assert len(leaders) == 1, f"members name different leaders: {seen}"
    ids = {status["header"]["member_id"] for status in found.values()}
    assert leaders <= ids, f"the leader {leaders} is none of the members that answer: {sorted(ids)}"


def test_every_member_belongs_to_one_cluster(lab_etcd: Cluster) -> None:
    seen = {url: status["header"]["cluster_id"] for url, status in statuses(lab_etcd).items()}
    assert seen.keys() == {client_url(node) for node in lab_etcd.topology.of(Role.ETCD)}
    assert len(set(seen.values())) == 1, f"members name different cluster ids: {seen}"


def test_the_members_are_the_planned_ones_and_none_is_a_learner(lab_etcd: Cluster) -> None:
    found = members(lab_etcd)
    plan = lab_etcd.topology
    planned = {plan.etcd_name(n): ([peer_url(n)], [client_url(n)]) for n in plan.of(Role.ETCD)}
    listed = {each.get("name", ""): (each["peerURLs"], each.get("clientURLs", [])) for each in found}
    assert listed == planned, (
        f"members are {listed}, not {planned}; one without name or client URL was added and never started: "
        f"`etcdctl member remove` it, or start it: {_strangers(found)}"
    )
    learners = [each["name"] for each in found if each.get("isLearner")]
    assert not learners, f"still learning, and without a vote: {learners}"


def _strangers(found: list[dict[str, Any]]) -> str:
    return ", ".join(f"{each['ID']:x} at {each['peerURLs']}" for each in found if not each.get("name"))


def test_no_member_raises_an_alarm(lab_etcd: Cluster) -> None:
    done = lab_etcd.etcdctl("alarm", "list")
    assert done.ok, done.stderr
    said = done.stdout.strip()
    assert not said, f"{'; '.join(alarms(lab_etcd, said)) or said}\n  remedy: {remedy_of(said)}"


def remedy_of(said: str) -> str:
    known = recognised(said)
    return known.remedy if known else "etcdctl endpoint hashkv tells who differs, then etcdctl alarm disarm"


def test_every_member_holds_the_same_data_at_the_same_revision(lab_etcd: Cluster) -> None:
    """Writes go on meanwhile, so all are asked about one revision, which each must have reached.

    No defect is seeded, for whoever makes one member's data another's must mend it byte by byte:
    `unit/test_support_etcd.py` proves that a member which differs is named.
    """
    first = lab_etcd.etcdctl("get", "/registry", "--limit=1", "--keys-only", "-w", "json")
    assert first.ok, first.stderr
    revision = json.loads(first.stdout)["header"]["revision"]

    def hashes() -> dict[str, int]:
        done = lab_etcd.etcdctl("endpoint", "hashkv", f"--rev={revision}", "-w", "json")
        if not done.ok:
            raise NotYet(done.stderr.strip()[-300:])
        return {each["Endpoint"]: each["HashKV"]["hash"] for each in json.loads(done.stdout)}

    seen = eventually(f"every member to have revision {revision}", hashes, timeout=10)
    assert seen.keys() == {client_url(node) for node in lab_etcd.topology.of(Role.ETCD)}
    assert not unlike(seen), f"at revision {revision} {', '.join(unlike(seen))} differs from the rest: {seen}"


@pytest.mark.parametrize("kind", list(ALERTS))
@pytest.mark.parametrize("port", [CLIENT_PORT, PEER_PORT])
def test_a_client_is_refused_whose_certificate_is(answers: Answers, port: int, kind: str) -> None:
    """Each for its own reason; a port that serves nobody is no proof."""
    seen = {name: outcome for (name, at, what), outcome in answers.items() if (at, what) == (port, kind)}
    wrong = [
        f"{name}:{port} with certificate {kind!r}: {outcome}; wanted the alert {ALERTS[kind]}"
        for name, outcome in seen.items()
        if outcome.kind != "refused" or not outcome.reason.endswith(ALERTS[kind])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("port", [CLIENT_PORT, PEER_PORT])
def test_a_client_with_a_certificate_of_etcds_ca_is_served(answers: Answers, port: int) -> None:
    seen = {name: outcome for (name, at, what), outcome in answers.items() if (at, what) == (port, "right")}
    wrong = [f"{name}:{port}: {outcome}" for name, outcome in seen.items() if outcome.status != 200]
    assert not wrong, "\n".join(wrong)


def test_the_json_gateway_of_each_member_answers(lab_etcd: Cluster) -> None:
    """Health may be green while this fails: the gateway calls its own member, and needs client use for it."""
    machines = lab_etcd.of(Role.ETCD)
    pair = strangers(lab_etcd)["right"]
    assert pair is not None
    outcomes = visit(lab_etcd, [gateway_call(lab_etcd, machine, pair) for machine in machines])
    wrong = [
        f"{member(lab_etcd, machine)}: its JSON gateway {outcome} {outcome.body[:300]}\n"
        f"  it calls itself with {shown_to_itself(machine)}; it needs TLS Web Client Authentication"
        for machine, outcome in zip(machines, outcomes, strict=True)
        if outcome.status != 200 or "cluster_id" not in outcome.body
    ]
    assert not wrong, "\n".join(wrong)


def test_no_member_has_refused_a_handshake_of_its_own_machine(lab_etcd: Cluster) -> None:
    found = on_each(lab_etcd.of(Role.ETCD), refused_handshakes)
    wrong = [f"{name}: {len(seen)} refused, the last {seen[-1]}" for name, seen in found.items() if seen]
    assert not wrong, "\n".join(wrong)
