"""Kubelets on their way into the cluster: their requests approved, until each serves with its certificate."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from lab.addons import serving_csrs
from lab.components.outside import Endpoint
from lab.errors import LabError, WaitExpired
from lab.kubeapi import KubeApi, Refused
from lab.laboratory import Laboratory
from lab.machine import Machine, on_each
from lab.topology import Profile, Role, Topology
from lab.wait import NotYet, wait_until

CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
NODES = "/api/v1/nodes"
TIMEOUT = 120.0  # seconds
KUBELET_PORT = 10250
Objects = Sequence[Mapping[str, Any]]


def await_joined(lab: Laboratory) -> None:
    """Return once every worker's kubelet shows a certificate for its own address.

    Raises `WaitExpired` with what is still missing, and what those kubelets said last.
    """
    with kubelets_last_words(lab):
        wait_until("the kubelets to serve with certificates", partial(_check_joined, lab), timeout=TIMEOUT)


@contextmanager
def kubelets_last_words(lab: Laboratory) -> Iterator[None]:
    """To a wait in here that expires, add what each worker's kubelet said last."""
    try:
        yield
    except WaitExpired as error:
        said = on_each(lab.of(Role.WORKER), _last_line)
        lines = "".join(f"; kubelet's last line on {name}: {line}" for name, line in said.items())
        raise WaitExpired(error.what, error.seconds, error.last + lines) from error


def _check_joined(lab: Laboratory) -> None:
    """Approve what may be approved; ask those kubelets that by the API have all they need.

    All of it from two lists, for a slow apiserver has better to do; what is approved now is signed by the
    next time.
    """
    api = _master(lab)
    requests = api.items(CSRS)
    kept_back = approve(lab.topology, api, requests)
    registered = {node["metadata"]["name"] for node in api.items(NODES)}
    lacking = [f"{name} {what}" for name, what in _lacks(lab.topology, requests, registered).items() if what]
    if lacking:
        raise NotYet("; ".join(lacking) + kept_back)
    try:
        on_each(lab.of(Role.WORKER), partial(_check_serving, lab))
    except NotYet as seen:
        raise NotYet(f"{seen}{kept_back}") from seen


def _lacks(topology: Topology, requests: Objects, registered: Collection[str]) -> dict[str, str]:
    """What each worker waits for by what the API tells: to ask the kubelets themselves costs far more."""
    return {
        worker.name: lack(serving_csrs.of_node(requests, worker.name), registered=worker.name in registered)
        for worker in topology.of(Role.WORKER)
    }


def lack(requests: Objects, *, registered: bool) -> str:
    """What a kubelet has still to get, by its requests for serving certificates; nothing if all is there.

    Pure.  Requests are removed an hour after they were issued, so none at all is no reason to doubt a node.
    """
    if not registered:
        return "has not registered"
    if requests and not any(each.get("status", {}).get("certificate") for each in requests):
        return f"waits for {requests[-1]['metadata']['name']} to be signed"
    return ""


def approve(topology: Topology, api: KubeApi, requests: Objects) -> str:
    """Approve every serving request that is as planned; what is kept back, and why, as text."""
    kept = []
    for request in filter(serving_csrs.pending, requests):
        name = request["metadata"]["name"]
        if reason := serving_csrs.approvable(request, topology):
            kept.append(
                f"; CSR {name} ({request['spec']['signerName']}) is kept pending: {reason}; "
                f"`kubectl certificate approve {name}` would approve it"
            )
        else:
            _decide(api, request)
    return "".join(kept)


def _master(lab: Laboratory) -> KubeApi:
    """The first one, by itself: the balancer may send to another that is still starting."""
    return lab.api(lab.topology.of(Role.CONTROL_PLANE)[0].name)


def _decide(api: KubeApi, request: Mapping[str, Any]) -> None:
    try:
        api.put(f"{CSRS}/{request['metadata']['name']}/approval", serving_csrs.approved(request))
    except Refused as error:
        if error.status != 409:  # somebody decided in between
            raise


def _check_serving(lab: Laboratory, machine: Machine) -> None:
    """A handshake with the kubelet for its own address; whom it lets in is not the question."""
    hardened = lab.topology.profile is Profile.HARDENED  # the guide's own kubelets sign for themselves
    endpoint = Endpoint(KUBELET_PORT, "/healthz", "kubernetes" if hardened else None, status=None)
    try:
        with lab.outside.asking(machine.node, endpoint) as question:
            question()
    except NotYet as seen:
        raise NotYet(f"{machine.name}: {seen}") from seen


def _last_line(machine: Machine) -> str:
    """Or why there is none: what was waited for is the news, and must not be lost for it."""
    try:
        return machine.run("journalctl", "-u", "kubelet", "-n", "1", "-o", "cat", timeout=10).stdout.strip()
    except LabError as error:
        return f"(not to be had: {error})"
