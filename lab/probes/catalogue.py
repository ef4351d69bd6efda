"""Which questions there are, whom they are asked and how often.  Pure.

Fast ones ask 20 times a second; they are what outages are measured by.  Observers keep what they saw as the
sample's value and are judged by nobody for their availability.
"""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from lab.components.etcd import CLIENT_PORT
from lab.probes.workload import MOVED, NAMESPACE, PORT, SCALED, Workload, configmap, new_pod
from lab.topology import Node, Role, Topology

FAST, BRISK, SLOW = 0.05, 0.2, 1.0  # seconds between questions
PATIENT, UNHURRIED, RARELY = 0.125, 0.5, 2.0  # what would cost too much: 40 % of a core are for all
DEADLINE = 5.0  # seconds; what a patient user waits
PATIENCE = 12.0  # seconds; etcd gives up a proposal after 7, so whoever waits longer hears what becomes of it
LEASE_TTL = 10  # seconds
WATCH_SILENCE = 20.0  # seconds without a word, bookmarks neither, after which a watch is begun anew
ETCD_ROOT = "/thwlab-probes"
OWN = f"/api/v1/namespaces/{NAMESPACE}"
IN_ETCD = f"/registry/namespaces/{NAMESPACE}"
KEPT_PORT = 10053  # of a client that keeps its own; below those that the kernel gives out
OUTSIDE = ""  # the vantage point of a user: this host, in the lab's network
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SLICES = (
    "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    "?labelSelector=kubernetes.io/service-name%3Dkubernetes"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to one target from one vantage point.

    `at` is a machine's name or `OUTSIDE`; with `pod` it is the network of the server's pod there.  `plan` is
    what the prober needs to know; `secrets` names the certificates it shows: kubernetes, etcd, or only
    trusts: kubernetes-ca.
    """

    name: str
    question: str
    interval: float
    plan: Mapping[str, Any]
    at: str = OUTSIDE
    pod: bool = False
    secrets: str = ""
    target: str = ""
    deadline: float = DEADLINE


@dataclass(frozen=True, slots=True)
class Question:
    """What a scenario may ask for by its word; a rare one is asked only where file or invariant names it."""

    word: str
    about: str
    probes: Callable[[Topology, Workload], Iterator[Probe]] = field(repr=False)
    observes: bool = False
    rare: bool = False


def probes(topology: Topology, workload: Workload, words: tuple[str, ...]) -> list[Probe]:
    """The probes behind these words, in the order of the catalogue; observers are always among them."""
    return [
        probe
        for question in QUESTIONS
        if question.observes or question.word in words
        for probe in question.probes(topology, workload)
    ]


def spared(asked: Iterable[Probe]) -> list[Probe]:
    """The same, none more often than once a second: on emulated machines the questions would be the load."""
    return [replace(probe, interval=max(probe.interval, SLOW)) for probe in asked]


# -- the API ---------------------------------------------------------------------------------------------


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
        plan = {**_https(address, 443), "requests": [{"method": "GET", "path": "/readyz", "holds": "ok"}]}
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
        **_https(str(topology.api_address), topology.networks.api_port),
        "requests": [{"method": "GET", "path": OWN, "accept": [200], "holds": f'"name":"{NAMESPACE}"'}],
    }
    yield Probe("api-read", "api-read", BRISK, plan, OUTSIDE, secrets="kubernetes")


def _api_kept(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.CONTROL_PLANE):
        plan = {
            **_https(str(node.address), topology.networks.api_port),
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
        **_https(address, topology.networks.api_port),
        "requests": [write, read],
        "prefix": f"{prefix}-",
        "writes": True,
    }


def _https(address: str, port: int) -> dict[str, Any]:
    return {"ask": "http", "address": address, "port": port, "host": address}


# -- etcd ------------------------------------------------------------------------------------------------


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
        plan = {**_https(str(node.address), CLIENT_PORT), "requests": [read]}
        yield Probe(f"etcd-read@{node.name}", "etcd-read", BRISK, plan, secrets="etcd", target=node.name)


def _put(topology: Topology, node: Node, word: str, *then: Mapping[str, Any]) -> dict[str, Any]:
    """A key of the beat's own is put, and what comes ``then``, on one fresh connection."""
    key = "%BASE64KEY%"
    body = f'{{"key":"{key}","value":"{key}"}}'
    write = {"method": "POST", "path": "/v3/kv/put", "body": body, "write": True}
    return {
        **_https(str(node.address), CLIENT_PORT),
        "requests": [write, *then],
        "prefix": f"{ETCD_ROOT}/{topology.etcd_name(node)}-{word}",
        "writes": True,
    }


def _raft(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.ETCD):
        plan = {
            **_https(str(node.address), CLIENT_PORT),
            "requests": [{"method": "POST", "path": "/v3/maintenance/status", "body": "{}"}],
            "take": "raft",
        }
        yield Probe(f"raft@{node.name}", "raft", 0.25, plan, secrets="etcd", target=node.name, deadline=2.0)


def _heartbeats(topology: Topology, _: Workload) -> Iterator[Probe]:
    """Of what a member counts of itself; a page of some hundred kilobytes, so not often."""
    for node in topology.of(Role.ETCD):
        plan = {
            **_https(str(node.address), CLIENT_PORT),
            "requests": [{"method": "GET", "path": "/metrics"}],
            "take": "heartbeats",
        }
        name, at = f"heartbeats@{node.name}", node.name
        yield Probe(name, "heartbeats", RARELY, plan, secrets="etcd", target=at)


def _etcd_lease(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.ETCD):
        plan = {**_https(str(node.address), CLIENT_PORT), "ask": "lease", "ttl": LEASE_TTL}
        yield Probe(
            f"etcd-lease@{node.name}", "etcd-lease", 2.0, plan, secrets="etcd", target=node.name, deadline=8.0
        )


# -- whether anybody acts --------------------------------------------------------------------------------


def _api_watch(topology: Topology, _: Workload) -> Iterator[Probe]:
    root = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    plan = {
        **_https(str(topology.api_address), topology.networks.api_port),
        "ask": "watch",
        "watched": root,
        "object": configmap(),
        "prefix": "watched-",
        "writes": True,
        "silence": WATCH_SILENCE,
        "steps": ("write", "event"),
    }
    yield Probe("api-watch", "api-watch", 0.5, plan, secrets="kubernetes", deadline=WATCH_SILENCE + 5.0)


def _new_pod(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = {
            **_https(str(topology.api_address), topology.networks.api_port),
            "ask": "pod",
            "pods": f"/api/v1/namespaces/{NAMESPACE}/pods",
            "pod": new_pod(topology, node.name),
            "pod-port": PORT,
            "prefix": f"new-{node.name}-",
        }
        yield Probe(
            f"new-pod@{node.name}",
            "new-pod",
            10.0,
            plan,
            secrets="kubernetes",
            target=node.name,
            deadline=30.0,
        )


def _scale(topology: Topology, _: Workload) -> Iterator[Probe]:
    plan = {
        **_https(str(topology.api_address), topology.networks.api_port),
        "ask": "scale",
        "deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{SCALED}",
        "steps": ("act",),
    }
    yield Probe("scale", "scale", 5.0, plan, secrets="kubernetes", deadline=30.0)


def _moved(topology: Topology, _: Workload) -> Iterator[Probe]:
    path = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{MOVED}"
    plan = {
        **_https(str(topology.api_address), topology.networks.api_port),
        "requests": [{"method": "GET", "path": path, "accept": [200], "holds": '"availableReplicas":1'}],
    }
    yield Probe("moved", "moved", SLOW, plan, OUTSIDE, secrets="kubernetes")


# -- what users of the cluster's network feel -------------------------------------------------------------


def _cluster_ip(topology: Topology, workload: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = _plain(workload.cluster_ip, 80)
        yield Probe(f"cluster-ip@{node.name}", "cluster-ip", FAST, plan, node.name)


def _node_port(topology: Topology, workload: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = _plain(str(node.address), workload.node_port)
        yield Probe(f"node-port@{node.name}", "node-port", 0.5, plan, target=node.name)


def _plain(address: str, port: int) -> dict[str, Any]:
    return {**_https(address, port), "requests": [{"method": "GET", "path": "/hostname", "accept": [200]}]}


def _dns(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        yield Probe(f"dns@{node.name}", "dns", BRISK, _name(topology), node.name)


def _dns_pod(topology: Topology, workload: Workload) -> Iterator[Probe]:
    """The pods that are there when a run begins: one that comes later has an address nobody knows yet."""
    for node in topology.of(Role.WORKER):
        for number, (machine, address) in enumerate(workload.resolvers, 1):
            plan = {**_name(topology), "address": address}
            name = f"dns-pod{number}@{node.name}"
            yield Probe(name, "dns-pod", UNHURRIED, plan, node.name, target=machine)


def _dns_kept(topology: Topology, _: Workload) -> Iterator[Probe]:
    for node in topology.of(Role.WORKER):
        plan = {**_name(topology), "source": KEPT_PORT}
        yield Probe(f"dns-kept@{node.name}", "dns-kept", BRISK, plan, node.name)


def _name(topology: Topology) -> dict[str, Any]:
    networks = topology.networks
    name = f"kubernetes.default.svc.{networks.domain}"
    return {"ask": "dns", "address": str(networks.dns), "port": 53, "name": name}


# -- observers -------------------------------------------------------------------------------------------


def _observer(word: str, path: str, take: str, interval: float) -> Callable[..., Iterator[Probe]]:
    def each(topology: Topology, _: Workload) -> Iterator[Probe]:
        for node in topology.of(Role.CONTROL_PLANE):
            plan = {
                **_https(str(node.address), topology.networks.api_port),
                "requests": [{"method": "GET", "path": path}],
                "take": take,
            }
            yield Probe(
                f"{word}@{node.name}",
                word,
                interval,
                plan,
                secrets="kubernetes",
                target=node.name,
                deadline=2.0,
            )

    return each


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
    Question("api-watch", "write through a pool of connections and see the event in a watch", _api_watch),
    Question("new-pod", "a new pod on each worker: bound, started, answering", _new_pod),
    Question("scale", "a Deployment gets another size, and its controller acts", _scale),
    Question(
        MOVED,
        "whether a Deployment's only pod is available, first on the first worker; only where it is named",
        _moved,
        rare=True,
    ),
    Question("cluster-ip", "HTTP to a Service's address, from each worker", _cluster_ip),
    Question("node-port", "HTTP to a Service's port on each worker, from outside", _node_port),
    Question("dns", "a name of the cluster, from each worker", _dns),
    Question(
        "dns-pod",
        "the same, of each CoreDNS pod by itself",
        _dns_pod,
    ),
    Question(
        "dns-kept",
        "the same by the Service, always from the same port, so that connection tracking sends it where it"
        " went before; only where it is named",
        _dns_kept,
        rare=True,
    ),
    Question("raft", "term and leader, as each member knows them", _raft, observes=True),
    Question("leases", "who leads", _observer("leases", LEASES, "leases", SLOW), observes=True),
    Question(
        "nodes", "which nodes are Ready", _observer("nodes", "/api/v1/nodes", "nodes", SLOW), observes=True
    ),
    Question("pods", "where pods are", _observer("pods", "/api/v1/pods", "pods", SLOW), observes=True),
    Question(
        "endpoints",
        "the masters in the Service",
        _observer("endpoints", SLICES, "endpoints", SLOW),
        observes=True,
    ),
)
WORDS = tuple(question.word for question in QUESTIONS)
