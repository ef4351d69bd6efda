import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from fixed import guide_topology

from lab.pki import (
    USES,
    Credentials,
    Pair,
    Usage,
    foreign_ca,
    issue,
    load_or_create,
)
from lab.pki.credentials import Authority
from lab.pki.uses import planned

DAY = timedelta(days=1)
PLAN = guide_topology()
MASTER1, LB = PLAN.node("k8s-master1"), PLAN.node("k8s-lb")
USE = {use.name: use for use in USES}
AUTHORITIES: tuple[Authority, ...] = get_args(Authority)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    return load_or_create(PLAN, tmp_path_factory.mktemp("lab") / "pki")


def parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def verify_server(leaf: bytes, ca: bytes, name: str, when: datetime | None = None) -> None:
    subject: x509.GeneralName
    try:
        subject = x509.IPAddress(ip_address(name))
    except ValueError:
        subject = x509.DNSName(name)
    policy = PolicyBuilder().store(Store([parsed(ca)])).time(when or datetime.now(UTC))
    policy.build_server_verifier(subject).verify(parsed(leaf), [])


def handshake(server: Pair, client: Pair | None, ca: bytes, tmp_path: Path, name: str = "127.0.0.1") -> None:
    """A TLS handshake in memory where both ends insist on a certificate by `ca`."""
    far, near = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, pair in ((far, server), (near, client)):
        context.load_verify_locations(cadata=ca.decode())
        if pair is not None:
            path = tmp_path / "pair.pem"
            path.write_bytes(pair.cert + pair.key)
            context.load_cert_chain(path)
    far.verify_mode = ssl.CERT_REQUIRED
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [near.wrap_bio(down, up, server_hostname=name), far.wrap_bio(up, down, server_side=True)]
    for _ in range(4):
        ends = [end for end in ends if not finished(end)]
    assert ends == []


def finished(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def test_servers_verify_under_their_own_ca_and_every_name(credentials: Credentials) -> None:
    for plan in planned(PLAN):
        if Usage.SERVER in plan.use.usages:
            leaf = credentials.pairs[plan.use.name, plan.node].cert
            for name in plan.sans:
                verify_server(leaf, credentials.ca(plan.use.authority), name)


@pytest.mark.parametrize(
    ("ca", "name", "days"),
    [
        ("kubernetes", "192.168.100.11", 0),
        ("etcd", "192.168.100.12", 0),
        ("etcd", "k8s-master2", 0),
        ("etcd", "192.168.100.11", 366),
        ("etcd", "192.168.100.11", -1),
    ],
    ids=["another CA", "another address", "another name", "expired", "not yet valid"],
)
def test_a_server_is_refused(ca: Authority, name: str, days: int, credentials: Credentials) -> None:
    leaf = credentials.pair("etcd-server", MASTER1).cert
    with pytest.raises(VerificationError):
        verify_server(leaf, credentials.ca(ca), name, datetime.now(UTC) + days * DAY)


def test_a_client_certificate_is_no_servers(credentials: Credentials) -> None:
    ca = credentials.authorities["etcd"]
    leaf = issue(ca, cn="x", sans=["localhost"], usages={Usage.CLIENT}).cert
    with pytest.raises(VerificationError, match="EKU"):
        verify_server(leaf, ca.cert, "localhost")


def test_a_client_verifies_as_client_only_with_that_use(credentials: Credentials) -> None:
    ca = credentials.authorities["etcd"]
    verifier = PolicyBuilder().store(Store([parsed(ca.cert)])).build_client_verifier()
    client, server = (issue(ca, cn="x", sans=["x"], usages={usage}) for usage in (Usage.CLIENT, Usage.SERVER))
    verifier.verify(parsed(client.cert), [])
    with pytest.raises(VerificationError, match="EKU"):
        verifier.verify(parsed(server.cert), [])


def test_a_foreign_ca_shares_the_name_and_not_the_trust(credentials: Credentials) -> None:
    foreign = foreign_ca("etcd")
    assert parsed(foreign.cert).subject == parsed(credentials.ca("etcd")).subject
    leaf = issue(foreign, cn="etcd-1", sans=["localhost"], usages={Usage.SERVER}).cert
    with pytest.raises(VerificationError):
        verify_server(leaf, credentials.ca("etcd"), "localhost")


@pytest.mark.parametrize(
    "use", ["etcd-client", "etcd-gateway", "etcd-peer", "apiserver-etcd-client"], ids=lambda use: use
)
def test_tls_accepts_each_etcd_client(use: str, credentials: Credentials, tmp_path: Path) -> None:
    server = credentials.pair("etcd-server", MASTER1)
    handshake(server, credentials.pair(use, MASTER1), credentials.ca("etcd"), tmp_path)


@pytest.mark.parametrize("use", [use.name for use in USES if use.usages == {Usage.CLIENT}])
def test_every_client_works_and_only_with_its_own_ca(
    use: str, credentials: Credentials, tmp_path: Path
) -> None:
    client = next(pair for (name, _), pair in credentials.pairs.items() if name == use)
    for name in AUTHORITIES:
        ca = credentials.authorities[name]
        server = issue(ca, cn="server", sans=["127.0.0.1"], usages={Usage.SERVER})
        if name == USE[use].authority:
            handshake(server, client, ca.cert, tmp_path)
        else:
            with pytest.raises(ssl.SSLError):
                handshake(server, client, ca.cert, tmp_path)


def test_tls_refuses_wrong_clients(credentials: Credentials, tmp_path: Path) -> None:
    ca, server = credentials.authorities["etcd"], credentials.pair("etcd-server", MASTER1)
    now, client = datetime.now(UTC), {Usage.CLIENT}
    wrong = {
        "none": None,
        "a server's": credentials.pair("etcd-server", LB),
        "expired": issue(ca, cn="x", usages=client, not_before=now - 2 * DAY, not_after=now - DAY),
        "early": issue(ca, cn="x", usages=client, not_before=now + DAY),
        "foreign": issue(foreign_ca("etcd"), cn="etcd-admin", usages=client),
        "kubernetes": credentials.pair("admin", LB),
    }
    accepted = []
    for what, pair in wrong.items():
        try:
            handshake(server, pair, ca.cert, tmp_path)
            accepted.append(what)
        except ssl.SSLError:
            pass
    assert accepted == []


def test_form_of_a_ca(credentials: Credentials) -> None:
    for name in AUTHORITIES:
        ca = parsed(credentials.ca(name))
        basic = ca.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.digital_signature) == (
            True,
            True,
            False,
        )
        assert ca.not_valid_after_utc - ca.not_valid_before_utc == timedelta(days=3650, minutes=5)


def test_form_of_leaves(credentials: Credentials) -> None:
    for (use, _), pair in credentials.pairs.items():
        leaf, ca = parsed(pair.cert), parsed(credentials.ca(USE[use].authority))
        basic = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        assert (basic.ca, usage.digital_signature, usage.key_cert_sign) == (False, True, False)
        assert key_ids(leaf)[1] == key_ids(ca)[0]
        key = leaf.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert isinstance(key.curve, ec.SECP256R1)
        assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=365, minutes=5)
        assert timedelta(0) <= datetime.now(UTC) - timedelta(minutes=5) - leaf.not_valid_before_utc < DAY


def key_ids(certificate: x509.Certificate) -> tuple[bytes, bytes | None]:
    found = certificate.extensions
    own = found.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    try:
        return own, found.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return own, None


def test_keys_serials_and_authorities_are_all_different(credentials: Credentials) -> None:
    pairs = [*credentials.pairs.values(), *credentials.authorities.values()]
    account = credentials.service_account
    assert len({pair.key for pair in pairs} | {account.private}) == len(pairs) + 1
    assert len({parsed(pair.cert).serial_number for pair in pairs}) == len(pairs)
    assert len({parsed(credentials.ca(name)).subject.rfc4514_string() for name in AUTHORITIES}) == 3


def test_a_leaf_never_outlives_its_ca() -> None:
    ca = foreign_ca("etcd")
    leaf = issue(ca, cn="x", usages={Usage.CLIENT}, not_after=datetime.now(UTC) + timedelta(days=9999))
    assert parsed(leaf.cert).not_valid_after_utc == parsed(ca.cert).not_valid_after_utc
