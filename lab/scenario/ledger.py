"""What every member has at the end, which is what acknowledged writes are held against."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from lab.cluster import Cluster
from lab.components.etcd import client_url
from lab.errors import LabError, WaitExpired
from lab.history import Recorder
from lab.kubeapi import Refused
from lab.machine import Machine, on_each
from lab.probes.questions.etcd import ETCD_ROOT
from lab.probes.workload import NAMESPACE
from lab.scenario.steadiness import check_hashes, last_hashes
from lab.topology import Role
from lab.wait import NotYet, wait_until

OBJECTS = f"/registry/configmaps/{NAMESPACE}/"
SECONDS = 60.0
log = logging.getLogger(__name__)


def reckon(cluster: Cluster, recorder: Recorder) -> None:
    """Write down what every member has, and whether they are alike; then take it away.

    Each member is asked for its own data, so one that lags behind or has lost something cannot hide.  Where
    members do not come to be alike, that is what is written down, and each is read all the same.
    """
    try:
        found: Mapping[str, int | None] = wait_until(
            "equal HashKV", partial(check_hashes, cluster), timeout=SECONDS
        )
    except WaitExpired:
        found = last_hashes(cluster)
    recorder.write("fact", name="hash-kv", value=found)
    kept = on_each(cluster.of(Role.ETCD), partial(_kept, cluster))
    recorder.write("fact", name="ledger", value=kept)
    clear(cluster)


def _kept(cluster: Cluster, member: Machine) -> list[str] | None:
    """None where it cannot be read, which is no proof of anything."""
    try:
        return _keys(cluster, member)
    except LabError as error:
        log.warning("%s", error)
        return None


def _keys(cluster: Cluster, member: Machine) -> list[str]:
    """The names of all that probes wrote, as this member has it."""
    return [
        *(key.removeprefix(OBJECTS) for key in _listed(cluster, member, OBJECTS)),
        *_listed(cluster, member, f"{ETCD_ROOT}/"),
    ]


def _listed(cluster: Cluster, member: Machine, prefix: str) -> list[str]:
    args = ("get", prefix, "--prefix", "--keys-only", "--consistency=s")
    done = cluster.etcdctl(*args, f"--endpoints={client_url(member.node)}", member=member, timeout=30)
    if not done.ok or done.cut:
        raise LabError(
            f"{member.name}: etcdctl {' '.join(args)}: {done.stderr.strip()[-300:] or 'no answer'}"
        )
    return done.stdout.split()


def clear(cluster: Cluster) -> None:
    """Take away what probes have written, in this run or in one that was killed.

    ConfigMaps in etcd itself: the API deletes a thousand of them one by one, which takes ten seconds.  The
    namespace's own one is written anew by its controller.
    """
    for prefix in (f"{ETCD_ROOT}/", OBJECTS):
        wait_until(f"removing {prefix}", partial(_deleted, cluster, prefix), timeout=SECONDS)
    path = f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=thwlab%3Dprobe"
    wait_until("removing pods of probes", partial(_removed, cluster, path), timeout=SECONDS)


def _deleted(cluster: Cluster, prefix: str) -> None:
    done = cluster.etcdctl("del", prefix, "--prefix", timeout=30)
    if not done.ok:
        raise NotYet(f"etcdctl del {prefix}: {done.stderr.strip()[-300:] or 'no answer'}")


def _removed(cluster: Cluster, path: str) -> Any:
    try:
        cluster.api().delete(path)
    except Refused as error:
        raise NotYet(str(error)) from error
