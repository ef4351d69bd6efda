"""Appendix "Service Account Token": the twelfth use, a key pair that signs and verifies tokens."""

from collections import defaultdict
from collections.abc import Mapping
from functools import partial

import pytest
from support_certificate_uses import API, REVIEW, REVIEWS, call
from support_eventually import eventually
from support_holdings import Holdings, holdings
from support_tokens import claims_of, mint, public_key, signed
from support_visits import Outcome, visit

from lab.cluster import Cluster
from lab.pki import foreign_ca
from lab.topology import Node, Role

pytestmark = pytest.mark.e2e
SIGNING_FLAGS = (
    (API, "service-account-key-file"),
    (API, "service-account-signing-key-file"),
    ("kube-controller-manager", "service-account-private-key-file"),
)
FORGERIES = (
    "signed with a stranger's key",
    "signed with the CA's key",
    "expired",
    "of another issuer",
    "for another audience",
)


@pytest.fixture(scope="module")
def held(lab_control_plane: Cluster) -> Mapping[str, Holdings]:
    """What lies on every master."""
    return holdings(lab_control_plane, lab_control_plane.of(Role.CONTROL_PLANE))


def test_every_master_signs_and_verifies_by_one_key_pair(
    lab_control_plane: Cluster, held: Mapping[str, Holdings]
) -> None:
    """Else masters refuse each other's tokens, and pods are unauthorised in some calls only (case A1)."""
    masters = [held[node.name] for node in lab_control_plane.topology.of(Role.CONTROL_PLANE)]
    first = masters[0]
    own = public_key(first.file(first.flag(API, "service-account-key-file")))
    files = {
        f"{master.name}, {program} --{flag}={path}": master.file(path)
        for master in masters
        for program, flag in SIGNING_FLAGS
        for path in [master.flag(program, flag)]
    }
    wrong = [where for where, content in files.items() if public_key(content) != own]
    assert not wrong, f"use 12: not the key pair that {first.name} verifies with: {'; '.join(wrong)}"


def test_the_service_account_key_is_not_the_cas(
    lab_control_plane: Cluster, held: Mapping[str, Holdings]
) -> None:
    """The guide signs tokens with the CA's key, so that whoever may sign a token may sign anything."""
    for node in lab_control_plane.topology.of(Role.CONTROL_PLANE):
        master = held[node.name]
        ca = public_key(master.file(master.flag("kube-controller-manager", "cluster-signing-key-file")))
        own = public_key(master.file(master.flag(API, "service-account-signing-key-file")))
        assert own != ca, f"use 12: {master.name} signs service-account tokens with the cluster CA's key"


@pytest.fixture(scope="module")
def tokens(lab_control_plane: Cluster) -> dict[str, str]:
    """Tokens of one service account: one by each apiserver, and forgeries that differ in one respect."""
    keys, topology = lab_control_plane.credentials, lab_control_plane.topology
    minted = {
        f"minted by {node.name}": eventually(
            f"a token from {node.name}", partial(mint, lab_control_plane, node.name), timeout=10
        )
        for node in topology.of(Role.CONTROL_PLANE)
    }
    claims = claims_of(next(iter(minted.values())))
    own, ca = keys.service_account.private, keys.authorities["kubernetes"].key
    ended = {**claims, "nbf": claims["nbf"] - 7200, "iat": claims["iat"] - 7200, "exp": claims["iat"] - 3600}
    forged = (
        signed(claims, foreign_ca("kubernetes").key),
        signed(claims, ca),
        signed(ended, own),
        signed({**claims, "iss": "https://stranger.example"}, own),
        signed({**claims, "aud": ["stranger"]}, own),
    )
    right = {"signed with the right key": signed(claims, own)}
    return {**minted, **right, **dict(zip(FORGERIES, forged, strict=True))}


@pytest.fixture(scope="module")
def verdicts(lab_control_plane: Cluster, tokens: dict[str, str]) -> dict[str, list[tuple[Node, Outcome]]]:
    """What each apiserver said to each token, by the kind of token."""
    ca = lab_control_plane.credentials.ca("kubernetes")
    tries = [
        (kind, master) for kind in tokens for master in lab_control_plane.topology.of(Role.CONTROL_PLANE)
    ]
    outcomes = visit(
        lab_control_plane,
        [
            call(lab_control_plane, master, None, ca, None, path=REVIEWS, body=REVIEW, token=tokens[kind])
            for kind, master in tries
        ],
    )
    found = defaultdict(list)
    for (kind, master), outcome in zip(tries, outcomes, strict=True):
        found[kind].append((master, outcome))
    return found


def test_every_apiserver_accepts_the_tokens_of_every_other(
    verdicts: dict[str, list[tuple[Node, Outcome]]],
) -> None:
    """Both directions (case A1), and a token signed by hand: what is refused below is so for its fault."""
    wrong = [
        f"a token {kind}, shown to {master.name}: {outcome}"
        for kind, said in verdicts.items()
        for master, outcome in said
        if kind.startswith(("minted", "signed with the right")) and outcome.status != 201
    ]
    assert not wrong, f"use 12: {'; '.join(wrong)}; all masters need the same service-account key"


@pytest.mark.parametrize("kind", FORGERIES)
def test_every_apiserver_refuses_a_token(kind: str, verdicts: dict[str, list[tuple[Node, Outcome]]]) -> None:
    wrong = [f"{master.name} {outcome}" for master, outcome in verdicts[kind] if outcome.status != 401]
    assert not wrong, f"use 12: a token {kind} must get 401: {'; '.join(wrong)}"
