"""Questions to each member of etcd by itself."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from lab.components.etcd import CLIENT_PORT
from lab.probes.question import BRISK, PATIENT, RARELY, Probe, Question, https_to
from lab.probes.workload import NAMESPACE, Workload
from lab.topology import Node, Role, Topology

PATIENCE = 12.0  # seconds; etcd gives up a proposal after 7, so whoever waits longer hears what becomes of it
LEASE_TTL = 10  # seconds
ETCD_ROOT = "/thwlab-probes"
IN_ETCD = f"/registry/namespaces/{NAMESPACE}"


def _etcd(topology: Topology, _: Workload) -> Iterator[Probe]:
    key = "%BASE64KEY%"
    read = {
        "method": "POST",
        "path": "/v3/kv/range",
        "body": f'{{"key":"{key}"}}',
        "holds": f'"value":"{key}"',
    }
    for node in topology.of(Role.ETCD):
        plan = _put(topology, node, "", read)
        yield Probe(f"etcd@{node.name}", "etcd", BRISK, plan, secrets="etcd", target=node.name)


def _etcd_patient(topology: Topology, _: Workload) -> Iterator[Probe]:
    """A probe of its own, so that no other one has to wait as long."""
    for node in topology.of(Role.ETCD):
        name, plan = f"etcd-patient@{node.name}", _put(topology, node, "patient-")
        at = node.name
        yield Probe(name, "etcd-patient", PATIENT, plan, secrets="etcd", target=at, deadline=PATIENCE)


def _etcd_read(topology: Topology, _: Workload) -> Iterator[Probe]:
    key = base64.b64encode(IN_ETCD.encode()).decode()
    read = {"method": "POST", "path": "/v3/kv/range", "body": f'{{"key":"{key}"}}', "holds": '"count":"1"'}
    for node in topology.of(Role.ETCD):
        plan = {**https_to(str(node.address), CLIENT_PORT), "requests": [read]}
        yield Probe(f"etcd-read@{node.name}", "etcd-read", BRISK, plan, secrets="etcd", target=node.name)


def _put(topology: Topology, node: Node, word: str, *then: Mapping[str, Any]) -> dict[str, Any]:
    """A key of the beat's own is put, and what comes ``then``, on one fresh connection."""
    key = "%BASE64KEY%"
    body = f'{{"key":"{key}","value":"{key}"}}'
    write = {"method": "POST", "path": "/v3/kv/put", "body": body, "write": True}
    return {
        **https_to(str(node.address), CLIENT_PORT),
        "requests": [write, *then],
        "prefix": f"{ETCD_ROOT}/{topology.etcd_name(node)}-{word}",
        "writes": True,
    }


def _heartbeats(topology: Topology, _: Workload) -> Iterator[Probe]:
    """Of what a member counts of itself; a page of some hundred kilobytes, so not often."""
    for node in topology.of(Role.ETCD):
        plan = {
            **https_to(str(node.address), CLIENT_PORT),
            "requests": [{"method": "GET", "path": "/metrics"}],
            "take": "heartbeats",
        }
        name, at = f"heartbeats@{node.name}", node.name
        yield Probe(name, "heartbeats", RARELY, plan, secrets="etcd", target=at)


def _etcd_lease(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.ETCD):
        plan = {**https_to(str(node.address), CLIENT_PORT), "ask": "lease", "ttl": LEASE_TTL}
        yield Probe(
            f"etcd-lease@{node.name}", "etcd-lease", 2.0, plan, secrets="etcd", target=node.name, deadline=8.0
        )


QUESTIONS = (
    Question("etcd", "put a key and read it back, of each member by itself", _etcd),
    Question(
        "etcd-patient",
        "put a key, of each member by itself, and wait until etcd itself gives up; only where it is named",
        _etcd_patient,
        rare=True,
    ),
    Question(
        "etcd-read",
        "read a key through the quorum, of each member by itself; only where it is named",
        _etcd_read,
        rare=True,
    ),
    Question(
        "heartbeats",
        "how many heartbeats each member sent late, as it counts them; only where it is named",
        _heartbeats,
        rare=True,
    ),
    Question("etcd-lease", "keep a lease alive, through each member", _etcd_lease),
)
