"""After a reboot of each machine in turn everything is there again by itself, with nobody to start it."""

import uuid
from collections.abc import Iterator

import pytest
import support_pods
from support_pod_manifests import HTTP
from support_pods import PodSet, ask, http, shell

from lab import health
from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.machine import Machine
from lab.plugin import SESSION
from lab.topology import Role
from lab.wait import NotYet

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each machine of the plan."""
    if "name" in metafunc.fixturenames:
        try:
            planned = metafunc.config.stash[SESSION].topology.nodes
        except ConfigError:  # told by the plugin once all is collected
            planned = ()
        metafunc.parametrize("name", [node.name for node in planned])


@pytest.fixture(scope="module")
def namespace(lab: Cluster) -> Iterator[str]:
    """A namespace for pods that are made after a reboot."""
    name = f"e2e-reboot-{uuid.uuid4().hex[:8]}"
    lab.api().apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    path = f"/api/v1/namespaces/{name}"
    health.insist(f"removing {name}", lambda: lab.api().delete(path), timeout=30)


def test_everything_is_back_after_a_reboot(lab: Cluster, pods: PodSet, namespace: str, name: str) -> None:
    machine = lab.machines[name]
    before = started(machine)
    machine.reboot()
    up = float(machine.check("date", "+%s"))
    assert started(machine) != before, f"{name}: its init has run since {before}, so it was not rebooted"
    health.await_units(lab, machine)
    health.await_etcd(lab)
    health.await_apiservers(lab)
    if Role.WORKER in machine.node.roles:
        health.await_nodes(lab, since=up, only=name)
        new = http(fresh_pod(lab, namespace, machine), "hostname")
        now = support_pods.find(lab, pods.namespace)
        old = http(now.ip(now.own(name)), "hostname", 80)
        for asking in {each.name: each for each in (*lab.of(Role.WORKER), lab.admin)}.values():
            answers(asking, new, name_of_pod(machine))
        for asking in lab.of(Role.WORKER):
            answers(asking, old, now.clients[name].name)
        health.await_dns(lab)


def started(machine: Machine) -> str:
    """Which boot of the kernel it is, and when init was started in it, in ticks.

    Each alone may be the same as before: a container's kernel goes on, and a VM's has hardly ticked.
    """
    return machine.check("sh", "-c", "cat /proc/sys/kernel/random/boot_id; cut -d' ' -f22 /proc/1/stat")


def fresh_pod(cluster: Cluster, namespace: str, machine: Machine) -> str:
    """A pod that only this worker may take, bound by the scheduler; its address once it runs."""
    name = name_of_pod(machine)
    container = {
        "name": "agnhost",
        "image": f"registry.k8s.io/e2e-test-images/agnhost:{cluster.topology.versions.agnhost}",
        "imagePullPolicy": "Never",
        "args": ["netexec", f"--http-port={HTTP}"],
    }
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": machine.name},
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "containers": [container],
    }
    metadata = {"name": name, "namespace": namespace}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    health.insist(
        f"{name} to be taken", lambda: health.answered(lambda: cluster.api().apply(pod)), timeout=30
    )
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    return health.insist(f"{name} to run", lambda: address(cluster, path), timeout=60)


def name_of_pod(machine: Machine) -> str:
    return f"new-on-{machine.name}"


def address(cluster: Cluster, path: str) -> str:
    status = health.answered(lambda: cluster.api().get(path))["status"]
    if status.get("phase") != "Running" or not status.get("podIP"):
        raise NotYet(f"{path}: {status.get('phase')}, {status.get('conditions')}")
    return str(status["podIP"])


def answers(asking: Machine, url: str, wanted: str) -> None:
    """The machine gets from the URL what was wanted, as soon as rules and routes are there."""

    def check() -> None:
        said = ask(shell(asking), [url])[url]
        if said != wanted:
            raise NotYet(f"{asking.name} got {said!r} from {url}, not {wanted!r}")

    health.insist(f"{url} from {asking.name}", check, timeout=30)
