"""Chapters "kubelet" and "TLS Bootstrapping": who the nodes are, how they came in, what they may not."""

import secrets
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from cryptography import x509
from support_certificate_uses import call
from support_controllers import leader
from support_eventually import eventually
from support_holdings import Holdings, holdings
from support_nodes import (
    CLIENT_SIGNER,
    CSRS,
    FOREIGN,
    is_issued_by,
    issued,
    named,
    renewal_requests,
    serving_requests,
    short_lived,
    token_for,
    who_is,
    why_away,
)
from support_visits import visit

from lab import joining
from lab.addons.bootstrap import GROUP, GUIDE_USER
from lab.addons.serving_csrs import NODES, SIGNER, USER
from lab.cluster import Cluster
from lab.errors import ClusterError
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
            away = _why_not_ready(lab_network, name, seen)
            complaints.append(f"{name} is {seen or 'not listed'}, not {wanted}. {away}")
    insist(complaints)


def _why_not_ready(cluster: Cluster, name: str, seen: list[str]) -> str:
    status = seen[0] if seen else ""
    if status.startswith("Ready,"):
        return f"Nothing new may run there: `kubectl uncordon {name}`"
    return "" if status == "Ready" else why_away(cluster, cluster.machines[name])


def test_no_node_complains(lab_network: Cluster) -> None:
    """Of disk, memory, processes or its network; it stays Ready meanwhile, and is given no more pods."""
    insist(
        [
            f"{node['metadata']['name']}: {each['type']}: {each.get('message', '')}"
            for node in lab_network.api().items("/api/v1/nodes")
            for each in node["status"]["conditions"]
            if each["type"] != "Ready" and each["status"] != "False"
        ],
        "`kubectl describe node NAME`; df and free on the machine",
    )


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
        assert is_issued_by(seen, ca), (
            f"{name}: its kubelet shows {_told(each)}, which is not the cluster's CA, if by the same name; "
            f"{why_away(lab_workers, lab_workers.machines[name])}"
        )


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
    port = joining.KUBELET_PORT
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


@pytest.mark.guide_defect("D45", "kubelets sign their serving certificates themselves, and ask for none")
def test_a_serving_request_for_a_foreign_address_stays_pending(lab_workers: Cluster) -> None:
    """While the same node's request for its own address is approved and signed (case A5)."""
    api, complaints = lab_workers.api(), []
    with serving_requests(lab_workers) as requests:
        kept_back = joining.approve(lab_workers.topology, api, api.items(CSRS))
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
            complaints += _badly_signed(lab_workers, node, api.get(f"{CSRS}/{name}"))
    insist(complaints)


@pytest.mark.guide_defect("D46", "what is signed lasts ten years")
def test_every_kubelets_next_client_certificate_would_be_signed(lab_workers: Cluster) -> None:
    """As it asks for it long before the present one ends: approved and signed with nobody's help."""
    with renewal_requests(lab_workers) as requests:
        eventually("renewals to be signed", partial(_check_signed, lab_workers, requests), timeout=20)
        made = [(node, lab_workers.api().get(f"{CSRS}/{name}")) for name, node in requests.items()]
        insist([complaint for node, each in made for complaint in _badly_signed(lab_workers, node, each)])


def _badly_signed(cluster: Cluster, node: Node, request: Mapping[str, Any]) -> list[str]:
    """What is wrong with a certificate that the leading controller manager has signed."""
    signed, ca = issued(request), x509.load_pem_x509_certificate(cluster.credentials.ca("kubernetes"))
    if signed is None:
        return [f"{node.name}: {request['metadata']['name']} is not signed"]
    life = signed.not_valid_after_utc - signed.not_valid_before_utc
    long = f"{node.name}: what is signed now lasts {life.days} days, not a year at most"
    return [*_of_another_ca(cluster, node, signed, ca), *([long] if life > LONGEST_LIFE else [])]


def _of_another_ca(cluster: Cluster, node: Node, signed: x509.Certificate, ca: x509.Certificate) -> list[str]:
    if is_issued_by(signed, ca):
        return []
    who, flag = leader(cluster.api()), "--cluster-signing-cert-file"
    return [f"{node.name}: the controller manager of {who} signs for it by another CA, see its {flag}"]


def _check_signed(cluster: Cluster, requests: dict[str, Node]) -> None:
    waiting = [
        f"{node.name}: {name}"
        for name, node in requests.items()
        if issued(cluster.api().get(f"{CSRS}/{name}")) is None
    ]
    if waiting:
        raise NotYet(f"not signed though for the node itself: {'; '.join(waiting)}")
