"""What etcd's members say of themselves and of their leader."""

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from lab.cluster import Cluster
from lab.components.etcd import client_url
from lab.errors import LabError
from lab.machine import Machine, Result, on_each
from lab.topology import Role
from lab.wait import NotYet, wait_until

ANSWER = 3.0  # seconds a member has for an answer
ELECTION = 30.0  # seconds for a leader: some elections of which one after the other fails


@dataclass(frozen=True, slots=True)
class Status:
    """One member, as it sees itself; sizes in bytes."""

    machine: str
    member: int
    leader: int
    term: int
    revision: int
    size: int

    @property
    def leads(self) -> bool:
        """Whether it takes itself for the leader."""
        return self.member != 0 and self.member == self.leader


def own(cluster: Cluster, machine: Machine, *args: str, timeout: float = 15) -> Result:
    """`etcdctl ARGS` on a member, about itself alone."""
    return cluster.etcdctl(f"--endpoints={client_url(machine.node)}", *args, member=machine, timeout=timeout)


def statuses(cluster: Cluster) -> dict[str, Status]:
    """The members that answer, in the order of the plan."""
    said = on_each(cluster.of(Role.ETCD), lambda machine: _status(cluster, machine))
    return {name: status for name, status in said.items() if status}


def leading(cluster: Cluster) -> Status:
    """The member that leads, by the latest term of those that say so; `NotYet` if none does."""
    found = [status for status in statuses(cluster).values() if status.leads]
    if not found:
        raise NotYet("no member of etcd says that it leads")
    return max(found, key=lambda status: status.term)


def leader(cluster: Cluster) -> str:
    """The machine of that member."""
    return leading(cluster).machine


def await_leader(cluster: Cluster) -> str:
    """The same of a cluster that may be between two leaders; `WaitExpired` if it does not elect one."""
    return wait_until("a member of etcd to lead", partial(leader, cluster), timeout=ELECTION)


def check_healthy(cluster: Cluster) -> None:
    """Every planned member is started and commits, none is a learner, and no alarm is raised."""
    members = listed(cluster)
    planned = {cluster.topology.etcd_name(node) for node in cluster.topology.of(Role.ETCD)}
    started = {each.get("name") for each in members if each.get("clientURLs") and not each.get("isLearner")}
    if started != planned or len(members) != len(planned):
        raise NotYet(f"members: {', '.join(_told(each) for each in members)}")
    if raised := alarms(cluster):
        raise NotYet(f"alarms: {raised}; remedy: etcdctl alarm disarm")
    sick = {
        name: said
        for name, said in on_each(cluster.of(Role.ETCD), lambda m: _sick(cluster, m)).items()
        if said
    }
    if sick:
        raise NotYet("; ".join(f"{name}: {said}" for name, said in sick.items()))


def listed(cluster: Cluster) -> list[dict[str, Any]]:
    """The members as the cluster has them, told by whoever answers."""
    done = from_anybody(cluster, "member", "list", "-w", "json")
    found: list[dict[str, Any]] = json.loads(done.stdout)["members"]
    return found


def await_listed(cluster: Cluster) -> list[dict[str, Any]]:
    """The same of a cluster that may be between two leaders, when none of its members tells."""
    return wait_until("etcd's own list of members", partial(listed, cluster), timeout=ELECTION)


def alarms(cluster: Cluster) -> str:
    """What `etcdctl alarm list` says; empty if none is raised."""
    return " ".join(from_anybody(cluster, "alarm", "list").stdout.split())


def disarm(cluster: Cluster) -> None:
    """Disarm every alarm; `NotYet` if no member takes the order."""
    from_anybody(cluster, "alarm", "disarm")


def from_anybody(cluster: Cluster, *args: str, but: str = "") -> Result:
    """`etcdctl ARGS` on the first member that can do it, about itself; not on the machine ``but``."""
    said = []
    for machine in [each for each in cluster.of(Role.ETCD) if each.name != but]:
        done = _tried(cluster, machine, *args)
        if done is not None and done.ok:
            return done
        said.append(f"{machine.name}: {done.stderr.strip()[-300:] if done else 'not to be asked'}")
    raise NotYet(f"etcdctl {' '.join(args)}: {'; '.join(said)}")


def _status(cluster: Cluster, machine: Machine) -> Status | None:
    done = _tried(cluster, machine, "endpoint", "status", "-w", "json")
    if done is None or not done.ok:
        return None
    told = json.loads(done.stdout)[0]["Status"]
    head = told["header"]
    return Status(
        machine.name,
        head["member_id"],
        told.get("leader", 0),
        told.get("raftTerm", 0),
        head.get("revision", 0),
        told.get("dbSize", 0),
    )


def _sick(cluster: Cluster, machine: Machine) -> str:
    done = _tried(cluster, machine, "endpoint", "health")
    return "" if done is not None and done.ok else (done.stderr.strip()[-300:] if done else "not to be asked")


def _tried(cluster: Cluster, machine: Machine, *args: str) -> Result | None:
    """None of a machine that cannot be asked at all: it is off, or cut off."""
    limits = (f"--command-timeout={ANSWER:.0f}s", f"--dial-timeout={ANSWER:.0f}s")
    try:
        return own(cluster, machine, *limits, *args, timeout=2 * ANSWER)
    except LabError:
        return None


def _told(member: dict[str, Any]) -> str:
    state = "learner" if member.get("isLearner") else "started" if member.get("clientURLs") else "unstarted"
    return f"{member.get('name') or hex(member['ID'])} {state}"
