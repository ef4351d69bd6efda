"""Questions to the API: each on a fresh connection, but for the one that is kept."""

import json
from collections.abc import Iterator
from typing import Any

from lab.probes.question import BRISK, FAST, OUTSIDE, Probe, Question, https_to
from lab.probes.workload import NAMESPACE, Workload, configmap
from lab.topology import Role, Topology

OWN = f"/api/v1/namespaces/{NAMESPACE}"


def _api(topology: Topology, _: Workload) -> Iterator[Probe]:
    address = str(topology.api_address)
    yield Probe("api", "api", FAST, _write_and_read(topology, address, "api"), OUTSIDE, secrets="kubernetes")


def _api_direct(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.CONTROL_PLANE):
        name = f"api@{node.name}"
        plan = _write_and_read(topology, str(node.address), f"direct-{node.name}")
        yield Probe(name, "api-direct", BRISK, plan, OUTSIDE, secrets="kubernetes", target=node.name)


def _api_in_cluster(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        address = str(topology.networks.kubernetes_service)
        plan = {**https_to(address, 443), "requests": [{"method": "GET", "path": "/readyz", "holds": "ok"}]}
        yield Probe(
            f"api-in-cluster@{node.name}",
            "api-in-cluster",
            0.5,
            plan,
            node.name,
            pod=True,
            secrets="kubernetes-ca",
        )


def _api_read(topology: Topology, _: Workload) -> Iterator[Probe]:
    """What is there before any run, so that it can be had where nothing may be written."""
    plan = {
        **https_to(str(topology.api_address), topology.networks.api_port),
        "requests": [{"method": "GET", "path": OWN, "accept": [200], "holds": f'"name":"{NAMESPACE}"'}],
    }
    yield Probe("api-read", "api-read", BRISK, plan, OUTSIDE, secrets="kubernetes")


def _api_kept(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.CONTROL_PLANE):
        plan = {
            **https_to(str(node.address), topology.networks.api_port),
            "ask": "kept",
            "path": OWN,
            "steps": ("connect", "answer", "rest of the answer"),
        }
        name, at = f"api-kept@{node.name}", node.name
        yield Probe(name, "api-kept", BRISK, plan, OUTSIDE, secrets="kubernetes", target=at)


def _write_and_read(topology: Topology, address: str, prefix: str) -> dict[str, Any]:
    root = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    body = json.dumps(configmap())
    write = {"method": "POST", "path": root, "body": body, "accept": [201], "write": True}
    read = {"method": "GET", "path": f"{root}/%KEY%", "accept": [200], "holds": '"key":"%KEY%"'}
    return {
        **https_to(address, topology.networks.api_port),
        "requests": [write, read],
        "prefix": f"{prefix}-",
        "writes": True,
    }


QUESTIONS = (
    Question("api", "write an object and read it back, on one fresh connection through the balancer", _api),
    Question("api-direct", "the same, of each master by itself", _api_direct),
    Question(
        "api-in-cluster", "/readyz from a pod on each worker, by the Service's address", _api_in_cluster
    ),
    Question(
        "api-read",
        "read an object, on one fresh connection through the balancer; only where it is named",
        _api_read,
        rare=True,
    ),
    Question(
        "api-kept",
        "the same of each master by itself, on a connection that is kept; only where it is named",
        _api_kept,
        rare=True,
    ),
)
