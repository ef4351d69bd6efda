"""Whether a cluster is fit to be broken, and whole again afterwards.  Repairs nothing."""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from lab import health
from lab.cluster import Cluster
from lab.components.etcd import client_url
from lab.errors import LabError
from lab.machine import Machine, on_each
from lab.topology import Role
from lab.wait import NotYet

SECONDS = 60.0


def insist_steady(cluster: Cluster, seconds: float = SECONDS) -> None:
    """Return once everything serves and all members agree; `ClusterError` with what does not."""
    cluster.lab.close()  # connections from before a fault may lead to what is no more
    health.await_whole(cluster, seconds)
    health.insist("equal HashKV on every etcd member", partial(check_hashes, cluster), seconds)


def check_hashes(cluster: Cluster) -> dict[str, int]:
    """Every member's hash of its data, if all are equal at one revision; `NotYet` if they are not."""
    found = hashes(cluster)
    if len(set(found.values())) != 1:
        raise NotYet(f"HashKV {found}")
    return found


def hashes(cluster: Cluster) -> dict[str, int]:
    """Each member's hash of its data, all up to the lowest revision that any of them has."""
    members = cluster.of(Role.ETCD)
    lowest = min(on_each(members, partial(_revision, cluster)).values())
    return on_each(members, partial(_hash, cluster, lowest))


def last_hashes(cluster: Cluster) -> dict[str, int | None]:
    """The same of members that do not come to be alike, None for one that does not tell."""
    members = cluster.of(Role.ETCD)
    revisions = on_each(members, lambda member: _or_none(partial(_revision, cluster, member)))
    lowest = min((revision for revision in revisions.values() if revision is not None), default=0)
    telling = [member for member in members if revisions[member.name] is not None]
    found = on_each(telling, lambda member: _or_none(partial(_hash, cluster, lowest, member)))
    return {member.name: found.get(member.name) for member in members}


def _or_none(ask: Callable[[], int]) -> int | None:
    try:
        return ask()
    except (NotYet, LabError):
        return None


def _revision(cluster: Cluster, member: Machine) -> int:
    told = _asked(cluster, member, "endpoint", "status")
    return int(told[0]["Status"]["header"]["revision"])


def _hash(cluster: Cluster, revision: int, member: Machine) -> int:
    told = _asked(cluster, member, "endpoint", "hashkv", f"--rev={revision}")
    return int(told[0]["HashKV"]["hash"])


def _asked(cluster: Cluster, member: Machine, *args: str) -> list[dict[str, Any]]:
    done = cluster.etcdctl(*args, "-w", "json", f"--endpoints={client_url(member.node)}", member=member)
    if not done.ok:
        raise NotYet(f"{member.name}: etcdctl {' '.join(args)}: {done.stderr.strip()[-300:] or 'no answer'}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found
