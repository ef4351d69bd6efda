"""A snapshot of the whole lab: after it is restored the state is that of then, and all of it serves."""

import uuid
from functools import partial

import pytest
import support_clocks
import support_pods
from support_pods import PodSet, ask, http, shell

from lab import health
from lab.cluster import Cluster
from lab.kubeapi import Refused
from lab.machine import Machine, on_each
from lab.providers.base import Capability
from lab.topology import Role
from lab.wait import NotYet

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
MARK = "/var/lib/thwlab-after-the-snapshot"


def test_a_restored_lab_is_as_it_was_and_serves(lab: Cluster, pods: PodSet) -> None:
    if Capability.SNAPSHOT not in lab.lab.provider.capabilities:
        pytest.skip(f"provider {lab.lab.provider.name} cannot take snapshots here")
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    put(lab, f"{name}-before")
    lab.lab.provider.snapshot(name)
    health.await_whole(lab)
    put(lab, f"{name}-after")
    machines = list(lab.machines.values())
    on_each(machines, lambda machine: machine.check("touch", MARK))

    lab.lab.provider.restore(name)
    lab.lab.close()  # connections to machines of before
    late = support_clocks.wrong(lab)
    health.await_whole(lab)
    lab.lab.provider.forget_snapshot(name)

    assert not late, f"after the restore: {'; '.join(late)}"
    kept = [machine.name for machine in machines if machine.run("test", "-e", MARK).ok]
    assert not kept, f"{', '.join(kept)}: {MARK} was made after the snapshot and is still there"
    for master in lab.topology.of(Role.CONTROL_PLANE):
        assert found(lab, master.name, f"{name}-before"), f"{master.name} lost what was there before"
        assert not found(lab, master.name, f"{name}-after"), f"{master.name} has what was written after"
    old_pods_answer(lab, support_pods.find(lab, pods.namespace))
    lab.api().delete(path(f"{name}-before"))


def test_a_snapshot_is_listed_with_its_machines_until_it_is_deleted(lab: Cluster) -> None:
    provider = lab.lab.provider
    if Capability.SNAPSHOT not in provider.capabilities:
        pytest.skip(f"provider {provider.name} cannot take snapshots here")
    first, second = (f"e2e-{uuid.uuid4().hex[:8]}" for _ in range(2))
    for name in (first, second):
        provider.snapshot(name)
    mine = [each for each in provider.snapshots() if each.name in (first, second)]
    assert [each.name for each in mine] == [first, second]
    assert all(set(each.machines) == set(lab.machines) for each in mine)
    provider.forget_snapshot(first)
    assert {each.name for each in provider.snapshots()} & {first, second} == {second}
    provider.forget_snapshot(second)
    assert second not in {each.name for each in provider.snapshots()}
    health.await_whole(lab)


def put(cluster: Cluster, name: str) -> None:
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
    what = f"ConfigMap {name} to be taken"
    health.insist(what, lambda: health.answered(lambda: cluster.api().apply(manifest)), timeout=30)


def found(cluster: Cluster, master: str, name: str) -> bool:
    """Whether the master's apiserver has it."""
    try:
        health.insist(f"{master} to answer", partial(cluster.api(master).get, path(name)), timeout=30)
    except Refused as error:
        if error.status == 404:
            return False
        raise
    return True


def path(name: str) -> str:
    return f"/api/v1/namespaces/default/configmaps/{name}"


def old_pods_answer(cluster: Cluster, pods: PodSet) -> None:
    """Every worker reaches the servers of before through their Service."""
    url = http(pods.ip("web"), "hostname", 80)
    names = {pod.name for pod in pods.servers.values()}

    def check(machine: Machine) -> None:
        said = ask(shell(machine), [url])[url]
        if said not in names:
            raise NotYet(f"{machine.name} got {said!r} from {url}")

    for machine in cluster.of(Role.WORKER):
        health.insist(f"{url} from {machine.name}", partial(check, machine), timeout=30)
