"""Appendix "CA and certificates": the twelve uses, each by real handshakes, right and wrong.

Number 12, the service accounts' key pair, is in test_service_account_keys.py; how long certificates last, in
test_certificate_lives.py.
"""

import json
from collections import defaultdict
from collections.abc import Mapping

import httpx2
import pytest
from cryptography import x509
from support_certificate_uses import (
    API,
    CLIENTS,
    IMPOSTORS,
    KUBELET_PORT,
    REVIEW,
    REVIEWS,
    SERVERS,
    ClientUse,
    ServerUse,
    client_call,
    right_calls,
    server_looks,
    wrong_calls,
)
from support_deadlines import whole
from support_holdings import Holdings, holdings
from support_visits import Outcome, fingerprint, visit

from lab import http
from lab.cluster import Cluster
from lab.components.etcd import CLIENT_PORT, PEER_PORT, peer_url
from lab.errors import ClusterError
from lab.machine import on_each
from lab.pki import Pair
from lab.topology import Node, Profile, Role

pytestmark = pytest.mark.e2e
FRONTED = "k8s-e2e"
ALERTS = dict(
    zip(
        IMPOSTORS,
        ("CERTIFICATE_REQUIRED", "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED"),
        strict=True,
    )
)
Looks = Mapping[tuple[int, str], list[tuple[Node, str, Outcome]]]
Rights = Mapping[int, list[tuple[Node, Node, Outcome]]]
Wrongs = Mapping[tuple[int, str], list[tuple[Node, Outcome]]]
self_signed = pytest.mark.guide_defect("D45", "kubelets sign their serving certificates themselves")
by_use = pytest.mark.parametrize(
    "use",
    [
        pytest.param(
            use,
            id=f"{use.number}-{use.what}".replace(" ", "-"),
            marks=self_signed if use.port == KUBELET_PORT else (),
        )
        for use in CLIENTS
    ],
)
by_server = pytest.mark.parametrize(
    "use", SERVERS, ids=lambda use: f"{use.number}-{use.what}".replace(" ", "-")
)


@pytest.fixture(scope="module")
def held(lab_workers: Cluster) -> Mapping[str, Holdings]:
    """What lies on every machine."""
    return holdings(lab_workers)


@pytest.fixture(scope="module")
def rights(lab_workers: Cluster, held: Mapping[str, Holdings]) -> Rights:
    """How the right client certificates fared, by the number of the use."""
    tries = [(use, *each) for use in CLIENTS for each in right_calls(lab_workers, held, use)]
    found = defaultdict(list)
    outcomes = visit(lab_workers, [each[-1] for each in tries], timeout=60)
    for (use, source, server, _), outcome in zip(tries, outcomes, strict=True):
        found[use.number].append((source, server, outcome))
    return found


@pytest.fixture(scope="module")
def wrongs(lab_workers: Cluster, held: Mapping[str, Holdings]) -> Wrongs:
    """How impostors fared, by the number of the use and the kind of impostor."""
    tries = [(use, *each) for use in CLIENTS for each in wrong_calls(lab_workers, held, use)]
    found = defaultdict(list)
    outcomes = visit(lab_workers, [each[-1] for each in tries], timeout=60)
    for (use, kind, server, _), outcome in zip(tries, outcomes, strict=True):
        found[use.number, kind].append((server, outcome))
    return found


# -- clients: 1, 3, 5 to 9, 11 ---------------------------------------------------------------------


@by_use
def test_the_right_client_certificate_is_accepted_everywhere(
    use: ClientUse, lab_workers: Cluster, rights: Rights
) -> None:
    if use.number == 1:
        insist(use, peers_refused(lab_workers))
        return
    insist(
        use,
        [
            f"{source.name}, calling {server.name}: {complaint}"
            for source, server, outcome in rights[use.number]
            if (complaint := _not_known(use, source, outcome))
        ],
    )


def test_a_peer_certificate_is_good_at_its_own_address_only(rights: Rights) -> None:
    """A member closes the connection if the certificate is not for the address that it comes from."""
    insist(
        CLIENTS[0],
        [
            f"{server.name} took the certificate of {source.name} from an address that is not its: {outcome}"
            for source, server, outcome in rights[1]
            if outcome.kind == "answered" or "refused" in outcome.reason
        ],
    )


@pytest.mark.parametrize("kind", IMPOSTORS)
@by_use
def test_a_client_is_refused_everywhere(
    use: ClientUse, kind: str, lab_workers: Cluster, wrongs: Wrongs
) -> None:
    insist(
        use,
        [
            f"{server.name} did not refuse a client {kind} as it must: {outcome}"
            for server, outcome in wrongs[use.number, kind]
            if not _refused(lab_workers, use, kind, outcome)
        ],
    )


def _not_known(use: ClientUse, source: Node, outcome: Outcome) -> str:
    if outcome.kind != "answered" or outcome.status not in (200, 201):
        return f"{outcome} {outcome.body[:300]}"
    if not use.asks_who_it_is:
        return ""
    who = json.loads(outcome.body)["status"]["userInfo"]
    user = use.user.format(machine=source.name)
    right = who["username"] == user and use.group in ("", *who["groups"])
    return "" if right else f"it is known as {who['username']} of {who['groups']}, not {user} of {use.group}"


def _refused(cluster: Cluster, use: ClientUse, kind: str, outcome: Outcome) -> bool:
    if use.port in (CLIENT_PORT, PEER_PORT):
        return outcome.kind == "refused" and ALERTS[kind] in outcome.reason
    # Whoever shows nothing is anonymous to the guide's apiserver: known as that, and forbidden.
    anonymous = kind == IMPOSTORS[0] and use.asks_who_it_is and cluster.topology.profile is Profile.GUIDE
    return outcome.kind == "answered" and outcome.status == (403 if anonymous else 401)


@by_server
def test_a_server_certificate_is_refused_as_a_clients(
    use: ServerUse, lab_workers: Cluster, held: Mapping[str, Holdings]
) -> None:
    if use.number == 1:
        pytest.skip("etcd has one certificate for both sides of a peer connection, and no flag to part them")
    _skip_self_signed(use, lab_workers)
    client = next(each for each in CLIENTS if each.number == (3 if use.authority == "etcd" else 9))
    plan = lab_workers.topology
    tries = [(own, other) for own in plan.of(use.server) for other in plan.of(client.server)]
    visits = [client_call(lab_workers, client, other, use.pair(held[own.name])) for own, other in tries]
    insist(
        use,
        [
            f"{other.name} takes the serving certificate of {own.name} for a client's: {outcome}"
            for (own, other), outcome in zip(tries, visit(lab_workers, visits), strict=True)
            if not _refused(lab_workers, client, "for serving only", outcome)
        ],
    )


# -- servers: 1, 2, 4, 10 --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def looks(lab_workers: Cluster) -> Looks:
    """What came of looking at every server: by the number of the use and the kind of look."""
    tries = [(use, *each) for use in SERVERS for each in server_looks(lab_workers, use)]
    found = defaultdict(list)
    outcomes = visit(lab_workers, [each[-1] for each in tries], timeout=60)
    for (use, kind, server, by, _), outcome in zip(tries, outcomes, strict=True):
        found[use.number, kind].append((server, by, outcome))
    return found


@by_server
def test_the_right_server_certificate_verifies_by_every_name(
    use: ServerUse, lab_workers: Cluster, looks: Looks
) -> None:
    _skip_self_signed(use, lab_workers)
    insist(
        use,
        [
            f"{server.name}, called as {name}: {outcome}"
            for server, name, outcome in looks[use.number, "name"]
            if outcome.kind != "answered"
        ],
    )


@by_server
def test_the_server_shows_the_certificate_that_lies_there(
    use: ServerUse, lab_workers: Cluster, held: Mapping[str, Holdings], looks: Looks
) -> None:
    """And that one is for serving only; a certificate for both sides is right for peers alone."""
    _skip_self_signed(use, lab_workers)
    insist(
        use,
        [
            f"{server.name}: {complaint}"
            for server, _, outcome in looks[use.number, "name"]
            if (complaint := _ill_suited(use, use.pair(held[server.name]).cert, outcome))
        ],
    )


@by_server
def test_no_other_ca_vouches_for_the_server(use: ServerUse, looks: Looks) -> None:
    insist(
        use,
        [
            f"{server.name}, called by somebody who trusts {ca}: {outcome}"
            for server, ca, outcome in looks[use.number, "ca"]
            if not _unverified(outcome)
        ],
    )


@by_server
def test_the_server_is_nobody_else(use: ServerUse, looks: Looks) -> None:
    """Its certificate is not good for a stranger's name, nor for any other machine's address."""
    insist(
        use,
        [
            f"{server.name} could pass for {name}: {outcome}"
            for server, name, outcome in looks[use.number, "other"]
            if not _unverified(outcome)
        ],
    )


def _ill_suited(use: ServerUse, lying: bytes, outcome: Outcome) -> str:
    if outcome.server != fingerprint(lying):
        return f"it shows another certificate than the file's ({outcome}); has it read the new one?"
    has, wanted = _purposes(x509.load_pem_x509_certificate(lying)), {"serverAuth"}
    wanted |= {"clientAuth"} if use.number == 1 else set()
    return "" if has == wanted else f"its certificate is for {sorted(has)}, not {sorted(wanted)}"


def _purposes(certificate: x509.Certificate) -> set[str]:
    usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    return {usage._name for usage in usages}


def _unverified(outcome: Outcome) -> bool:
    return outcome.kind == "refused" and "CERTIFICATE_VERIFY_FAILED" in outcome.reason


def _skip_self_signed(use: ServerUse, cluster: Cluster) -> None:
    if use.number == 10 and cluster.topology.profile is Profile.GUIDE:
        pytest.skip("the guide's kubelets sign their serving certificates themselves")


# -- front proxy, which the guide lacks ------------------------------------------------------------


def test_nobody_is_believed_who_says_that_he_speaks_for_another(
    lab_workers: Cluster, held: Mapping[str, Holdings]
) -> None:
    """Only who has the front proxy's certificate; kube-proxy, with the same words, stays kube-proxy."""
    front = next(n for n in lab_workers.topology.of(Role.CONTROL_PLANE))
    pairs = {
        FRONTED: held[front.name].flagged(API, "proxy-client-cert-file", "proxy-client-key-file"),
        "system:kube-proxy": held[lab_workers.topology.of(Role.WORKER)[0].name].of_kube_proxy(),
    }
    for node in lab_workers.topology.of(Role.CONTROL_PLANE):
        for user, pair in pairs.items():
            said = _posing(lab_workers, node, pair)
            assert f'"username":"{user}"' in said, (
                f"{node.name}, told to take the caller for {FRONTED}, answered {said[:500]}, not {user}"
            )


def _posing(cluster: Cluster, node: Node, pair: Pair) -> str:
    """What a master says to somebody who calls himself another, without blanks."""
    headers = {"X-Remote-User": FRONTED, "Content-Type": "application/json"}
    url, context = cluster.api(node.name).url, http.trusting(cluster.credentials.ca("kubernetes"), pair)
    try:
        with http.client(url, context) as client:
            return client.post(REVIEWS, content=REVIEW, headers=headers).text.replace(" ", "")
    except httpx2.TransportError as error:
        raise ClusterError(f"{node.name} cannot be asked: {error}") from error


def peers_refused(cluster: Cluster) -> list[str]:
    """Calls of members to members, each from its own machine by the files that etcd runs with."""
    urls = [f"{peer_url(node)}/members" for node in cluster.topology.of(Role.ETCD)]
    said = on_each(
        cluster.of(Role.ETCD), lambda machine: machine.run("sh", "-c", _PEERS, whole(5), *urls, timeout=30)
    )
    return [
        f"{name}, calling as a peer: {complaint}"
        for name, result in said.items()
        for complaint in result.stdout.splitlines() or [f"no answer: {result.stderr[-300:]}"]
        if not complaint.endswith(" 200")
    ]


_PEERS = """\
words=$(tr '\\0' '\\n' </proc/$(systemctl show -p MainPID --value etcd.service)/cmdline)
flag() { printf '%s\\n' "$words" | sed -n "s/^--$1=//p"; }
for url; do
    curl -sS --noproxy '*' -m "$0" --http1.1 -o /dev/null -w "$url %{http_code}\\n" \\
        --cacert "$(flag peer-trusted-ca-file)" --cert "$(flag peer-cert-file)" \\
        --key "$(flag peer-key-file)" "$url" 2>&1
done
"""


def insist(use: ClientUse | ServerUse, complaints: list[str]) -> None:
    """Fail with every machine's complaint, and what in the guide's table they are about."""
    if complaints:
        raise ClusterError(f"use {use.number}, {use.what}: {'; '.join(complaints)}")
