"""Chapter "etcd": three healthy members by TLS, one leader, and nobody else gets in."""

import json

import pytest

from lab.cluster import Cluster
from lab.topology import Role

pytestmark = pytest.mark.e2e


def statuses(cluster: Cluster) -> list[dict[str, object]]:
    done = cluster.etcdctl("endpoint", "status", "-w", "json")
    assert done.ok, done.stderr
    return [each["Status"] for each in json.loads(done.stdout)]


def test_every_planned_member_is_healthy(lab_etcd: Cluster) -> None:
    done = lab_etcd.etcdctl("endpoint", "health", "-w", "json")
    healthy = {each["endpoint"] for each in json.loads(done.stdout) if each["health"]}
    assert healthy == {f"https://{node.address}:2379" for node in lab_etcd.topology.of(Role.ETCD)}


def test_there_is_one_leader_and_everyone_knows_it(lab_etcd: Cluster) -> None:
    seen = statuses(lab_etcd)
    leaders = {status["leader"] for status in seen}
    assert len(leaders) == 1
    assert leaders <= {status["header"]["member_id"] for status in seen}
