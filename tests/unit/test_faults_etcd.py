"""Faults of etcd on three real members; whoever has not built etcd yet skips them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import real_etcd
from fault_machines import MEMBERS, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.components.etcd import DATA
from lab.errors import LabError
from lab.faults import quorum, space, targets
from lab.faults.etcd import Defrag, Disarm, MoveLeader, QuorumLost
from lab.faults.members import MemberReplaced, MemberWiped, rejoin_lost
from lab.faults.space import MIB, SpaceAlarm
from lab.kubeapi import Refused
from lab.wait import NotYet, wait_until

needs_etcd = pytest.mark.skipif(real_etcd.program() is None, reason="etcd is not built on this host yet")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Any]:
    with real_etcd.members(tmp_path) as cluster:
        yield cluster


def await_(check: Any, what: str = "") -> Any:
    return wait_until(what or "it", check, timeout=30)


@needs_etcd
def test_roles_are_looked_up(etcd: Any) -> None:
    (leader,) = targets.resolve(etcd, "etcd:leader")
    followers = targets.resolve(etcd, "etcd:followers")
    assert {leader, *followers} == set(MEMBERS)
    assert targets.resolve(etcd, "etcd:follower") == followers[:1]
    assert targets.resolve(etcd, "etcd:majority") == (leader, followers[0])
    assert targets.resolve(etcd, "etcd:leader-and-follower") == (leader, followers[0])


@needs_etcd
def test_leadership_is_moved_twice(etcd: Any) -> None:
    for _ in range(2):
        fault = MoveLeader(targets.resolve(etcd, "etcd:leader"))
        assert not fault.unavailable(etcd)
        fault.heal(etcd)
        with pytest.raises(NotYet, match="unknown"):
            fault.in_force(etcd)
        fault.inject(etcd)
        assert f"{fault.machines[0]} led in term" in await_(lambda f=fault: f.in_force(etcd))
        fault.heal(etcd)
        await_(lambda f=fault: f.check_healed(etcd))
    with pytest.raises(LabError, match="does not lead"):
        MoveLeader(targets.resolve(etcd, "etcd:follower")).inject(etcd)


@needs_etcd
def test_a_database_is_written_anew(etcd: Any) -> None:
    fault = Defrag(tuple(MEMBERS))
    with pytest.raises(NotYet):
        fault.in_force(etcd)
    fault.inject(etcd)
    assert fault.in_force(etcd).count("written anew") == 3
    fault.heal(etcd)
    fault.check_healed(etcd)
    assert etcd.machines[MEMBERS[0]].left() == []


@needs_etcd
def test_a_member_is_replaced_and_the_cluster_is_whole(etcd: Any) -> None:
    name = targets.resolve(etcd, "etcd:leader")[0]
    put(etcd, "kept", "value")
    before = {each["ID"] for each in quorum.listed(etcd)}
    fault = MemberReplaced((name,))
    assert not fault.unavailable(etcd)
    with pytest.raises(NotYet):
        fault.in_force(etcd)
    fault.inject(etcd)
    assert "in the place of" in fault.in_force(etcd)
    fault.heal(etcd)
    await_(lambda: fault.check_healed(etcd))
    assert len(before & {each["ID"] for each in quorum.listed(etcd)}) == 2
    assert etcd.machines[name].left() == []
    own = quorum.own(etcd, etcd.machines[name], "get", "kept", "--consistency=s")
    assert own.stdout.split() == ["kept", "value"], "the new member has the others' data"


@needs_etcd
def test_a_wiped_member_does_not_come_back_until_it_is_healed(etcd: Any) -> None:
    name = targets.resolve(etcd, "etcd:follower")[0]
    fault = MemberWiped((name,))
    fault.heal(etcd)
    await_(lambda: fault.check_healed(etcd))
    with pytest.raises(NotYet, match="answers"):
        fault.in_force(etcd)
    with pytest.raises(NotYet, match="its member serves"):
        fault.still_in_force(etcd)
    fault.inject(etcd)
    told = await_(lambda: fault.in_force(etcd))
    assert "did not come back" in told
    assert "fatal" in told
    assert "its member does not serve" in fault.still_in_force(etcd)
    with pytest.raises(NotYet):
        fault.check_healed(etcd)
    fault.heal(etcd)
    await_(lambda: fault.check_healed(etcd))
    assert etcd.machines[name].left() == []


@needs_etcd
def test_a_member_that_the_others_removed_is_given_a_new_one(etcd: Any) -> None:
    name = targets.resolve(etcd, "etcd:follower")[0]
    machine = etcd.machines[name]
    put(etcd, "kept", "value")
    assert not rejoin_lost(etcd, machine), "it serves"
    number = next(f"{each['ID']:x}" for each in quorum.listed(etcd) if each["name"] == etcd_name(etcd, name))
    # "unhealthy cluster", while a member has not seen the others for long.
    await_(lambda: quorum.from_anybody(etcd, "member", "remove", number, but=name), "the order to be taken")
    await_(lambda: check_silent(etcd, name), f"{name} to be gone")
    assert rejoin_lost(etcd, machine)
    await_(lambda: quorum.check_healthy(etcd))
    assert quorum.own(etcd, machine, "get", "kept", "--consistency=s").stdout.split() == ["kept", "value"]
    assert machine.left() == []


@needs_etcd
def test_what_may_be_the_last_data_is_not_deleted(etcd: Any) -> None:
    """Two of three are silent: whoever gives one of them a new member deletes half of what is left."""
    gone, also, _ = MEMBERS
    for name in (gone, also):
        etcd.machines[name].run("systemctl", "stop", "etcd.service")
    with pytest.raises(LabError, match="nothing was done, for 0 of the others serve and 1 are a quorum"):
        rejoin_lost(etcd, etcd.machines[gone])
    assert etcd.machines[gone].run("sh", "-c", f"ls {DATA}").stdout.split() == ["member"]
    with pytest.raises(LabError, match="has no member of etcd"):
        rejoin_lost(etcd, SimpleNamespace(name="k8s-worker1"))  # type: ignore[arg-type]


@needs_etcd
def test_a_member_that_runs_and_does_not_answer_is_not_replaced(
    etcd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen or slow, it comes back with its data."""
    silent = MEMBERS[0]
    told = quorum.statuses
    monkeypatch.setattr(
        quorum, "statuses", lambda cluster: {n: s for n, s in told(cluster).items() if n != silent}
    )
    with pytest.raises(LabError, match="its member runs and does not answer") as refused:
        rejoin_lost(etcd, etcd.machines[silent])
    assert "systemctl stop etcd" in str(refused.value.remedy)
    assert etcd.machines[silent].run("sh", "-c", f"ls {DATA}").stdout.split() == ["member"]


def etcd_name(cluster: Any, machine: str) -> str:
    name: str = cluster.topology.etcd_name(cluster.topology.node(machine))
    return name


def check_silent(cluster: Any, name: str) -> None:
    if name in quorum.statuses(cluster):
        raise NotYet(f"{name} answers")


@needs_etcd
def test_without_a_quorum_no_leader_is_known(etcd: Any) -> None:
    fault = QuorumLost(targets.resolve(etcd, "etcd:majority"))
    assert not fault.unavailable(etcd)
    (left,) = set(MEMBERS) - set(fault.machines)
    for look in (fault.in_force, fault.still_in_force):
        with pytest.raises(NotYet):
            look(etcd)
    fault.inject(etcd)
    assert await_(lambda: fault.in_force(etcd)).endswith(f"no leader is known to {left}")
    assert "has no main process" in fault.still_in_force(etcd)


@needs_etcd
@pytest.mark.parametrize("disarm", [True, False])
def test_a_full_database_refuses_writes_until_it_is_disarmed(
    etcd: Any, disarm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_without_tls(etcd, monkeypatch)
    fault = SpaceAlarm(tuple(MEMBERS), room=MIB, disarm=disarm)
    assert not fault.unavailable(etcd)
    if disarm:
        leave_room_in_the_file(etcd)
    fault.heal(etcd)
    await_(lambda: fault.check_healed(etcd))
    for look in (fault.in_force, fault.still_in_force):
        with pytest.raises(NotYet, match="alarms: none"):
            look(etcd)
    ready = Ready()
    etcd.api = ready.of
    fault.inject(etcd)
    assert ready.asked == ["k8s-master1", "k8s-master1", "k8s-master2"]
    assert "database space exceeded" in await_(lambda: fault.in_force(etcd))
    assert "NOSPACE" in fault.still_in_force(etcd)
    with pytest.raises(NotYet):
        fault.check_healed(etcd)
    fault.heal(etcd)
    if not disarm:
        with pytest.raises(NotYet, match="etcdctl alarm disarm"):
            fault.check_healed(etcd)
        with pytest.raises(NotYet, match="NOSPACE"):
            Disarm(()).in_force(etcd)
        Disarm(()).inject(etcd)
        assert Disarm(()).in_force(etcd)
        with pytest.raises(NotYet, match="is still there"):
            fault.check_healed(etcd)
        etcd.machines[MEMBERS[0]].calls()
        fault.heal(etcd)
        orders = etcd.machines[MEMBERS[0]].calls()
        assert "restart --no-block etcd.service" in orders, "its quota is still small"
    await_(lambda: fault.check_healed(etcd))
    put(etcd, "again", "x")
    assert etcd.machines[MEMBERS[0]].left() == []


class Ready:
    """Apiservers of which one is not ready when it is first asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def of(self, name: str) -> Any:
        self.asked.append(name)
        return SimpleNamespace(text=self.text)

    def text(self, path: str) -> str:
        if len(self.asked) < 2:
            raise Refused(f"GET {path}", 500, "[-]etcd failed")
        return "ok"


def leave_room_in_the_file(cluster: Any) -> None:
    """As a cluster that has served for a while: much of its file is free, and is filled before it grows."""
    for number in range(100):
        put(cluster, f"old{number}", "x" * 100_000)
    assert quorum.from_anybody(cluster, "del", "--prefix", "old").ok
    revision = max(status.revision for status in quorum.statuses(cluster).values())
    assert quorum.from_anybody(cluster, "compact", "--physical", str(revision)).ok


def fill_without_tls(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "etcdctl", lambda: str(real_etcd.program() / "etcdctl"))
    renamed = dict(cluster.renamed)
    monkeypatch.setattr(space, "client_url", lambda node: renamed[quorum.client_url(node)])


def put(cluster: Any, key: str, value: str) -> None:
    assert quorum.from_anybody(cluster, "put", key, value).ok


# -- what needs no member ----------------------------------------------------------------------------------


def silent_lab(folder: Path) -> Any:
    def refuse(*_: str, **__: Any) -> Any:
        raise LabError("off")

    return cluster_of(sandboxes(folder, *MEMBERS), etcdctl=refuse)


def test_without_members_there_is_no_leader_to_aim_at(tmp_path: Path) -> None:
    lab = silent_lab(tmp_path)
    for role in ("etcd:leader", "etcd:followers", "etcd:majority"):
        with pytest.raises(NotYet, match="no member of etcd says that it leads"):
            targets.resolve(lab, role)
    with pytest.raises(NotYet, match="not to be asked"):
        quorum.check_healthy(lab)


def test_members_that_cannot_be_asked_do_not_disprove_an_alarm(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not to be asked"):
        SpaceAlarm(tuple(MEMBERS)).still_in_force(silent_lab(tmp_path))


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (QuorumLost(("k8s-lb",)), "2 of 3 members would be left"),
        (MemberWiped(("k8s-lb", "k8s-master1")), "one member of three or more"),
        (MemberReplaced(("k8s-worker1",)), "k8s-worker1 has no member"),
        (MoveLeader(("k8s-lb", "k8s-master1")), "from one member to another"),
        (Defrag(("k8s-worker1",)), "no member"),
        (SpaceAlarm(("k8s-lb",)), "aim at etcd:all"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_reason(tmp_path: Path, fault: Any, reason: str) -> None:
    assert reason in fault.unavailable(silent_lab(tmp_path))


def test_an_alarm_that_is_meant_to_stay_has_the_command_that_ends_it(tmp_path: Path) -> None:
    """Healing once more never does."""
    lab = silent_lab(tmp_path)
    kept = SpaceAlarm(tuple(MEMBERS), disarm=False).remedy(lab)
    assert kept.startswith(f"thwlab --name {lab.topology.name} exec {MEMBERS[0]} -- /opt/etcd/bin/etcdctl ")
    assert " alarm disarm; then thwlab --name " in kept
    assert "disarm" not in SpaceAlarm(tuple(MEMBERS)).remedy(lab)
