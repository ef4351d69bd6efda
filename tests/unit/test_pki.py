import base64
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fixed import fixed_credentials, guide_topology

from lab.errors import LabError
from lab.pki import (
    CA_FILES,
    USES,
    Credentials,
    Pair,
    Use,
    grants,
    load_or_create,
    paths,
)
from lab.pki.credentials import Authority
from lab.pki.uses import planned
from lab.topology import Node, Profile, Role

PLAN = guide_topology()
MASTER1, LB, WORKER1 = PLAN.node("k8s-master1"), PLAN.node("k8s-lb"), PLAN.node("k8s-worker1")
USE = {use.name: use for use in USES}
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
AUTHORITIES: tuple[Authority, ...] = get_args(Authority)

ETCD_USES = {"etcd-server", "etcd-peer", "etcd-gateway", "etcd-client"}
CONTROL_PLANE_USES = {
    "apiserver-etcd-client",
    "kubernetes",
    "apiserver-kubelet-client",
    "kube-controller-manager",
    "kube-controller-manager-server",
    "kube-scheduler",
    "kube-scheduler-server",
    "front-proxy-client",
}
CONTROL_PLANE_SECRETS = {"kubernetes-ca-key", "service-account", "encryption-key"}


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_create(PLAN, tmp_path_factory.mktemp("lab") / "pki")


def parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {str(name.value) for name in extension.value}


def usages(certificate: x509.Certificate) -> set[x509.ObjectIdentifier]:
    return set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ("k8s-master1", ETCD_USES | CONTROL_PLANE_USES | CONTROL_PLANE_SECRETS),
        ("k8s-master2", ETCD_USES | CONTROL_PLANE_USES | CONTROL_PLANE_SECRETS),
        ("k8s-worker1", {"kube-proxy", "bootstrap-token"}),
        ("k8s-worker2", {"kube-proxy", "bootstrap-token"}),
        ("k8s-lb", ETCD_USES | {"admin"}),
    ],
)
def test_a_machine_gets_what_its_roles_need_and_no_more(node: str, expected: set[str]) -> None:
    assert grants(PLAN, PLAN.node(node)) == expected


def test_the_guides_apiservers_hold_the_token_and_no_encryption_key() -> None:
    granted = grants(replace(PLAN, profile=Profile.GUIDE), MASTER1)
    assert granted ^ grants(PLAN, MASTER1) == {"bootstrap-token", "encryption-key"}


def test_a_load_balancer_alone_gets_nothing_secret() -> None:
    balancer = replace(LB, roles=frozenset({Role.LOAD_BALANCER}))
    assert grants(replace(PLAN, nodes=(MASTER1, balancer)), balancer) == set()


def test_grants_and_pairs_agree(credentials: Credentials) -> None:
    for node in PLAN.nodes:
        its = {use for use, owner in credentials.pairs if owner == node.name}
        assert its == grants(PLAN, node) & set(USE)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.name)
def test_every_certificate_but_the_peers_has_one_purpose(use: Use, credentials: Credentials) -> None:
    serves = use.name in {"etcd-server", "kubernetes"} or use.name.endswith("-server")
    expected = {SERVER, CLIENT} if use.name == "etcd-peer" else {SERVER} if serves else {CLIENT}
    found = [pair for (name, _), pair in credentials.pairs.items() if name == use.name]
    assert [usages(parsed(pair.cert)) for pair in found] == [expected] * len(found) != []


def test_the_document_lists_every_use_with_its_file() -> None:
    text = (Path(__file__).parents[2] / "docs/pki.md").read_text()
    missing = [use.name for use in USES if f"| `{use.name}` | {use.authority} |" not in text]
    unplaced = [use.name for use in USES if use.roles and f"`{paths(use.name)[0]}`" not in text]
    assert (missing, unplaced) == ([], [])


@pytest.mark.parametrize(
    ("use", "cn", "o"),
    [
        ("etcd-server", "etcd-1", None),
        ("etcd-client", "etcd-admin", None),
        ("apiserver-etcd-client", "kube-apiserver-etcd-client", None),
        ("kubernetes", "kube-apiserver", None),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", None),
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("front-proxy-client", "front-proxy", None),
    ],
)
def test_subjects_on_a_control_plane(use: str, cn: str, o: str | None, credentials: Credentials) -> None:
    assert subject(credentials.pair(use, MASTER1)) == (cn, o)


def test_subjects_elsewhere(credentials: Credentials) -> None:
    assert subject(credentials.pair("kube-proxy", WORKER1)) == ("system:kube-proxy", "system:node-proxier")
    assert subject(credentials.pair("admin", LB)) == ("k8s-admin", "system:masters")
    assert subject(credentials.pair("user")) == ("k8s-user", "system:masters")
    assert subject(credentials.pair("etcd-server", LB)) == ("etcd-3", None)


def subject(pair: Pair) -> tuple[str, str | None]:
    name = parsed(pair.cert).subject
    organizations = [str(part.value) for part in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    (cn,) = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(cn.value), next(iter(organizations), None)


def test_only_admins_are_in_system_masters() -> None:
    assert {use.name for use in USES if use.o == "system:masters"} == {"admin", "user"}


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("etcd-server", {"192.168.100.11", "127.0.0.1", "localhost", "k8s-master1", "etcd-1"}),
        ("etcd-peer", {"192.168.100.11", "k8s-master1"}),
        ("kube-scheduler-server", {"192.168.100.11", "127.0.0.1", "localhost"}),
        ("kube-controller-manager-server", {"192.168.100.11", "127.0.0.1", "localhost"}),
        ("etcd-client", set()),
        ("kube-scheduler", set()),
        (
            "kubernetes",
            {"kubernetes", "kubernetes.default", "kubernetes.default.svc"}
            | {"kubernetes.default.svc.cluster.local", "localhost", "k8s-master1", "k8s-lb"}
            | {"10.0.0.1", "127.0.0.1", "192.168.100.11", "192.168.100.100"},
        ),
    ],
)
def test_names_are_the_plans_and_no_others(use: str, expected: set[str], credentials: Credentials) -> None:
    assert names(parsed(credentials.pair(use, MASTER1).cert)) == expected


def test_the_apiserver_answers_for_an_api_address_beside_the_balancers(tmp_path: Path) -> None:
    plan = replace(PLAN, api_server=IPv4Address("192.168.100.200"))
    certificate = load_or_create(plan, tmp_path / "pki").pair("kubernetes", MASTER1).cert
    assert names(parsed(certificate)) >= {"192.168.100.200", "192.168.100.100"}


def test_without_a_balancer_no_name_is_empty_or_double(tmp_path: Path) -> None:
    plan = replace(PLAN, nodes=(MASTER1, WORKER1))
    sans = next(plan.sans for plan in planned(plan) if plan.use.name == "kubernetes")
    assert "" not in sans
    assert len(set(sans)) == len(sans)
    assert "k8s-lb" not in sans
    load_or_create(plan, tmp_path / "pki")


def test_paths_on_a_machine_follow_the_guide_and_never_collide() -> None:
    assert paths("etcd-server") == ("/opt/etcd/ssl/server.pem", "/opt/etcd/ssl/server-key.pem")
    assert paths("kubernetes") == (
        "/opt/kubernetes/ssl/kubernetes.pem",
        "/opt/kubernetes/ssl/kubernetes-key.pem",
    )
    assert paths("admin")[0] == "/opt/kubernetes/ssl/k8s-admin.pem"
    on_machines = [path for use in USES if use.roles for path in paths(use.name)]
    assert len({*on_machines, *CA_FILES.values()}) == len(on_machines) + len(CA_FILES)


def test_the_users_pair_has_no_place_on_a_machine() -> None:
    with pytest.raises(KeyError):
        paths("user")


@pytest.mark.parametrize("name", ["etcd", "front-proxy"])
def test_other_cas_keys_never_leave_the_host(name: Authority, credentials: Credentials) -> None:
    with pytest.raises(LabError, match=name):
        credentials.ca_key(name)


def test_the_kubernetes_ca_key_is_the_cas(credentials: Credentials) -> None:
    key = load_pem_private_key(credentials.ca_key("kubernetes"), None)
    assert key.public_key() == parsed(credentials.ca("kubernetes")).public_key()


@pytest.mark.parametrize("stand_in", [True, False])
@pytest.mark.parametrize(
    ("use", "node"), [("kubernetes", WORKER1), ("admin", None), ("user", MASTER1), ("etcd-server", None)]
)
def test_an_ungranted_pair_is_refused(
    use: str, node: Node | None, stand_in: bool, credentials: Credentials
) -> None:
    asked = fixed_credentials() if stand_in else credentials
    with pytest.raises(LabError, match=use):
        asked.pair(use, node)


def test_fixed_credentials_say_what_they_are() -> None:
    fixed = fixed_credentials()
    assert fixed.pair("etcd-server", MASTER1).cert == b"<etcd-server k8s-master1 cert>"
    assert fixed.ca("etcd") == b"<etcd ca cert>"
    assert fixed == fixed_credentials()
    with pytest.raises(LabError):
        fixed.ca_key("etcd")


def test_the_service_account_pair_is_sec1_and_belongs_together(credentials: Credentials) -> None:
    account = credentials.service_account
    assert account.private.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")
    public = load_pem_public_key(account.public)
    assert load_pem_private_key(account.private, None).public_key() == public
    spki = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    assert account.public == spki


def test_token_and_encryption_key_have_the_forms_kubernetes_wants(credentials: Credentials) -> None:
    token = credentials.bootstrap_token
    assert re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token.text)
    assert timedelta(hours=23) < token.expires - datetime.now(UTC) <= timedelta(hours=24)
    assert len(base64.b64decode(credentials.encryption_key, validate=True)) == 32


def test_no_secret_shows(credentials: Credentials) -> None:
    token = credentials.bootstrap_token
    shown = [credentials, *credentials.pairs.values(), *credentials.authorities.values(), token]
    text = "".join(f"{thing!r}{thing!s}" for thing in [*shown, credentials.service_account])
    assert token.id in text
    for secret in ("PRIVATE KEY", token.secret, credentials.encryption_key):
        assert secret not in text
