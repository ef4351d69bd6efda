"""Chapters "kubelet" and "TLS Bootstrapping": who the nodes are, how they came in, what they may not."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from support_certificate_uses import call
from support_eventually import eventually
from support_holdings import Holdings, holdings
from support_namespace import namespace
from support_nodes import (
    CLIENT_SIGNER,
    CSRS,
    FOREIGN,
    Ask,
    as_kubelet,
    issued,
    named,
    serving_requests,
    short_lived,
    token_for,
    who_is,
    why_away,
)
from support_visits import visit

from lab import stages
from lab.addons.bootstrap import GROUP, GUIDE_USER
from lab.addons.serving_csrs import NODES, SIGNER, USER
from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.machine import Machine, on_each
from lab.pki import Usage, issue
from lab.topology import Node, Profile, Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
LONGEST_LIFE = timedelta(days=366)
Record = Callable[[str, object], None]
APPROVED = "Approved"


def insist(complaints: list[str], remedy: str = "") -> None:
    """Fail with every complaint; each names the machine."""
    if complaints:
        raise ClusterError("; ".join(complaints) + (f"\n  remedy: {remedy}" if remedy else ""))


@pytest.fixture(scope="module")
def held(lab_workers: Cluster) -> Mapping[str, Holdings]:
    """What lies on the workers."""
    return holdings(lab_workers, lab_workers.of(Role.WORKER))


# -- kubectl get nodes -----------------------------------------------------------------------------


def test_kubectl_shows_every_worker_ready_by_its_version_and_address(lab_network: Cluster) -> None:
    """The guide's command; for a node that is away, what its identity has to do with it (case A8)."""
    listed = lab_network.kubectl("get", "nodes", "-o", "wide", "--no-headers")
    rows = {fields[0]: fields for line in listed.splitlines() if (fields := line.split())}
    workers = {node.name: node for node in lab_network.topology.of(Role.WORKER)}
    complaints = [f"{name} is a node that nobody planned" for name in rows.keys() - workers.keys()]
    for name, node in workers.items():
        seen, wanted = _shown(rows.get(name, [])), _wanted(lab_network, node)
        if seen != wanted:
            away = why_away(lab_network, lab_network.machines[name]) if seen[:1] != ["Ready"] else ""
            complaints.append(f"{name} is {seen or 'not listed'}, not {wanted}. {away}")
    insist(complaints)


def _shown(row: list[str]) -> list[str]:
    """Status, version, internal address and runtime."""
    return [row[1], row[4], row[5], row[-1]] if row else []


def _wanted(cluster: Cluster, node: Node) -> list[str]:
    versions = cluster.topology.versions
    return ["Ready", f"v{versions.of('kubelet')}", str(node.address), f"containerd://{versions.containerd}"]


# -- how they came in ------------------------------------------------------------------------------


def test_every_node_came_in_by_the_bootstrap_token(
    lab_workers: Cluster, held: Mapping[str, Holdings], record_property: Record
) -> None:
    """Its first request came from the token's user, was approved, and got a certificate for that node."""
    hardened = lab_workers.topology.profile is Profile.HARDENED
    firsts: dict[str, list[dict[str, Any]]] = {name: [] for name in held}
    for request in lab_workers.api().items(CSRS):
        spec, certificate = request["spec"], issued(request)
        if spec["signerName"] == CLIENT_SIGNER and certificate and not spec["username"].startswith(USER):
            firsts.setdefault(named(certificate)[0].removeprefix(USER), []).append(request)
    insist(
        [
            f"{name}: {complaint}"
            for name, requests in firsts.items()
            for request in requests
            if (complaint := _not_bootstrapped(request, hardened))
        ]
    )
    if gone := [f"{name} holds {_told(held[name])}" for name in held if not firsts[name]]:
        record_property("requests gone", "; ".join(gone))
        pytest.skip(f"the API drops requests an hour after they were issued; {'; '.join(gone)}")


def _not_bootstrapped(request: Mapping[str, Any], hardened: bool) -> str:
    spec, name = request["spec"], request["metadata"]["name"]
    by_token = spec["username"].startswith("system:bootstrap:") and GROUP in spec["groups"]
    if not (by_token if hardened else spec["username"] == GUIDE_USER):
        return f"{name} came from {spec['username']} of {spec['groups']}"
    conditions = [condition["type"] for condition in request["status"]["conditions"]]
    return "" if APPROVED in conditions else f"{name} is {conditions}, not {APPROVED}"


def _told(held: Holdings) -> str:
    certificate = _client(held)
    return f"{' of '.join(named(certificate))} by {certificate.issuer.rfc4514_string()}"


def test_every_kubelet_is_a_node_by_its_certificate(
    lab_workers: Cluster, held: Mapping[str, Holdings]
) -> None:
    ca = x509.load_pem_x509_certificate(lab_workers.credentials.ca("kubernetes"))
    for name, each in held.items():
        seen = _client(each)
        assert named(seen) == (f"{USER}{name}", NODES), f"{name}: its kubelet is {_told(each)}"
        assert seen.issuer == ca.subject, f"{name}: its kubelet's certificate is by {seen.issuer}"
        seen.verify_directly_issued_by(ca)


def _client(held: Holdings) -> x509.Certificate:
    return x509.load_pem_x509_certificate(held.of_program("kubelet").cert)


def test_a_bootstrap_token_is_refused_by_every_apiserver_once_it_has_expired(
    lab_control_plane: Cluster,
) -> None:
    """The expired one is made first: whoever knows the good one has seen the other as well."""
    expired = token_for(secrets.token_hex(11), timedelta(minutes=-1))
    good = token_for(secrets.token_hex(11), timedelta(minutes=5))
    api, paths = lab_control_plane.api(), []
    try:
        for token in (expired, good):
            manifest = short_lived(token)
            paths.append(f"/api/v1/namespaces/kube-system/secrets/{manifest['metadata']['name']}")
            api.apply(manifest)
        known = partial(_check_known, lab_control_plane, good.text)
        eventually("every apiserver to know a fresh bootstrap token", known, timeout=15)
        seen = who_is(lab_control_plane, expired.text)
    finally:
        for path in paths:
            api.delete(path)
    insist(
        [
            f"{name}: a bootstrap token that ended at {expired.expires} got: {outcome}, not 401"
            for name, outcome in seen.items()
            if outcome.status != 401
        ]
    )


def _check_known(cluster: Cluster, token: str) -> None:
    seen = who_is(cluster, token)
    if unknown := [f"{name}: {outcome}" for name, outcome in seen.items() if outcome.status != 201]:
        raise NotYet("; ".join(unknown))


def test_the_labs_own_bootstrap_token_ends_within_a_day(lab_workers: Cluster) -> None:
    """It is refused by now, or it has less than a day left."""
    if lab_workers.topology.profile is Profile.GUIDE:
        pytest.skip("the guide's token is in a file of the apiserver's and never ends")
    token = lab_workers.credentials.bootstrap_token
    left = token.expires.timestamp() - time.time()
    assert left <= timedelta(days=1).total_seconds(), f"the bootstrap token has {left:.0f} s left"
    insist(
        [
            f"{name}: the bootstrap token, which has {left:.0f} s left, got: {outcome}"
            for name, outcome in who_is(lab_workers, token.text).items()
            if outcome.status != 401 and (left < 0 or outcome.status != 201)
        ]
    )


# -- serving certificates --------------------------------------------------------------------------


def test_every_kubelet_serves_by_a_certificate_for_its_own_name_and_address(lab_workers: Cluster) -> None:
    """Verified handshakes on 10250; and no kubelet's certificate is good for another's name."""
    if lab_workers.topology.profile is Profile.GUIDE:
        pytest.skip("the guide's kubelets sign for themselves")
    workers, ca = lab_workers.topology.of(Role.WORKER), lab_workers.credentials.ca("kubernetes")
    guest = issue(lab_workers.credentials.authorities["kubernetes"], cn="e2e", usages={Usage.CLIENT})
    port = stages.KUBELET_PORT
    looks = [
        (node, name, node == other)
        for node in workers
        for other in workers
        for name in (other.name, str(other.address))
    ]
    visits = [call(lab_workers, n, port, ca, guest, path="/healthz", name=name) for n, name, _ in looks]
    insist(
        [
            f"{node.name}, called as {name} on {port}: {outcome}"
            for (node, name, own), outcome in zip(looks, visit(lab_workers, visits), strict=True)
            if (outcome.kind == "answered") != own
        ],
        "see `kubectl get csr`: requests of kubelets that are pending, with signer and requestor",
    )


def test_a_serving_request_for_a_foreign_address_stays_pending(lab_workers: Cluster) -> None:
    """While the same node's request for its own address is approved and signed (case A5)."""
    api, complaints = lab_workers.api(), []
    with serving_requests(lab_workers) as requests:
        kept_back = stages._approve(lab_workers.lab)
        own = {name: node for name, (node, kind) in requests.items() if kind == "own"}
        eventually("requests to be signed", partial(_check_signed, lab_workers, own), timeout=20)
        for name, (node, _) in requests.items() - {(name, (node, "own")) for name, node in own.items()}:
            request = api.get(f"{CSRS}/{name}")
            if request["status"].get("conditions") or issued(request):
                complaints.append(f"{node.name}: {name}, for {FOREIGN}, was decided: {request['status']}")
            told = (name, str(FOREIGN), SIGNER, f"kubectl certificate approve {name}")
            if lacking := [word for word in told if word not in kept_back]:
                complaints.append(
                    f"{node.name}: {name} is kept back without a word of {lacking}: {kept_back}"
                )
        for name, node in own.items():
            signed = issued(api.get(f"{CSRS}/{name}"))
            life = signed.not_valid_after_utc - signed.not_valid_before_utc if signed else timedelta(0)
            if life > LONGEST_LIFE:
                complaints.append(
                    f"{node.name}: what is signed now lasts {life.days} days, not a year at most"
                )
    insist(complaints)


def _check_signed(cluster: Cluster, requests: dict[str, Node]) -> None:
    waiting = [
        f"{node.name}: {name}"
        for name, node in requests.items()
        if issued(cluster.api().get(f"{CSRS}/{name}")) is None
    ]
    if waiting:
        raise NotYet(f"not signed though for the node's own address: {'; '.join(waiting)}")


# -- what a node may not ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own_secrets(lab_workers: Cluster) -> Iterator[tuple[str, dict[str, str]]]:
    """A namespace, and by worker the name of a Secret in it which a pod of that worker alone uses."""
    image = f"registry.k8s.io/pause:{lab_workers.topology.versions.pause}"
    names = {node.name: f"of-{node.name}" for node in lab_workers.topology.of(Role.WORKER)}
    with namespace(lab_workers, "nodes") as where:
        api = lab_workers.api()
        api.apply(_object("ServiceAccount", "default", where))
        for name in (*names.values(), "of-nobody"):
            api.apply(_object("Secret", name, where, stringData={"e2e": name}))
        for worker, name in names.items():
            spec = {
                "nodeName": worker,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "pause", "image": image, "imagePullPolicy": "Never"}],
                "volumes": [{"name": "own", "secret": {"secretName": name}}],
            }
            api.apply(_object("Pod", name, where, spec=spec))
        yield where, names


def _object(kind: str, name: str, where: str, **more: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": where}, **more}


def test_a_node_can_neither_read_nor_change_what_is_anothers(
    lab_workers: Cluster, own_secrets: tuple[str, dict[str, str]]
) -> None:
    """Asked on each worker by its kubelet's own kubeconfig; changes are dry runs.

    It may read and change its own, so that what is refused is refused for being another's.
    """
    where, names = own_secrets

    def tried(machine: Machine) -> list[str]:
        may, may_not = _plan(machine.node, lab_workers, where, names)
        eventually(f"{machine.name} to get its own", partial(_check_own, machine, may), timeout=15)
        return [
            f"{machine.name}, {ask.method} {ask.path}: got {status}, not 403: {text}"
            for ask, (status, text) in zip(may_not, as_kubelet(machine, may_not), strict=True)
            if status != 403
        ]

    found = on_each(lab_workers.of(Role.WORKER), tried)
    insist([complaint for complaints in found.values() for complaint in complaints])


def _plan(node: Node, cluster: Cluster, where: str, names: dict[str, str]) -> tuple[list[Ask], list[Ask]]:
    """What the node must get and what it must not; with a single worker, the other is one that is not."""
    other = next((n.name for n in cluster.topology.of(Role.WORKER) if n != node), "k8s-nobody")
    kept, nodes, dry = f"/api/v1/namespaces/{where}/secrets", "/api/v1/nodes", "?dryRun=All"
    note = {"metadata": {"annotations": {"thwlab/e2e": "tried"}}}
    fence = {"metadata": {"labels": {"node-restriction.kubernetes.io/e2e": "tried"}}}
    containers = [{"name": "c", "image": "c"}]
    mirror = _object("Pod", "e2e-mirror", where, spec={"nodeName": other, "containers": containers})
    mirror["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "e2e"}
    may = [
        Ask("GET", f"{kept}/{names[node.name]}"),
        Ask("GET", f"{nodes}/{node.name}"),
        Ask("PATCH", f"{nodes}/{node.name}{dry}", note),
    ]
    may_not = [
        Ask("GET", f"{kept}/{names.get(other, 'of-nobody')}"),
        Ask("GET", f"{kept}/of-nobody"),
        Ask("GET", kept),
        Ask("GET", f"{nodes}/{other}"),
        Ask("PATCH", f"{nodes}/{other}{dry}", note),
        Ask("PATCH", f"{nodes}/{other}/status{dry}", note),
        Ask("DELETE", f"{nodes}/{other}{dry}"),
        Ask("PATCH", f"{nodes}/{node.name}{dry}", fence),
        Ask("POST", f"/api/v1/namespaces/{where}/pods{dry}", mirror),
    ]
    return may, may_not


def _check_own(machine: Machine, may: list[Ask]) -> None:
    seen = zip(may, as_kubelet(machine, may), strict=True)
    wrong = [f"{ask.method} {ask.path}: {status} {text}" for ask, (status, text) in seen if status != 200]
    if wrong:
        raise NotYet(f"{machine.name} may not even have its own: {'; '.join(wrong)}")
