"""Making certificates: ECDSA P-256, one level of CA, leaves of one purpose."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.pki.credentials import KeyPair, Pair

CA_LIFE = timedelta(days=3650)
LEAF_LIFE = timedelta(days=365)
BACKDATE = timedelta(minutes=5)  # machines' clocks differ a little from this host's


class Usage(Enum):
    """What the holder may do with it in TLS."""

    SERVER = ExtendedKeyUsageOID.SERVER_AUTH
    CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


def issue(
    ca: Pair,
    *,
    cn: str,
    o: str = "",
    sans: Iterable[str] = (),
    usages: Collection[Usage],
    not_before: datetime | None = None,
    not_after: datetime | None = None,
) -> Pair:
    """A new key with a certificate by ``ca``, from five minutes ago and for a year unless told otherwise.

    It may be made expired or not yet valid, but never outlives its CA.  ``sans`` are DNS names and
    addresses, told apart by their looks.
    """
    issuer, signer = x509.load_pem_x509_certificate(ca.cert), _private(ca.key)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    begin = not_before or now - BACKDATE
    end = min(not_after or now + LEAF_LIFE, issuer.not_valid_after_utc)
    builder = _described(_subject(cn, o), issuer.subject, key, begin, end)
    leaf = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    leaf = leaf.add_extension(_key_usage(signs_certificates=False), critical=True)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([usage.value for usage in usages]), critical=False)
    leaf = leaf.add_extension(_authority_identifier(issuer), critical=False)
    if names := [_general_name(name) for name in sans]:
        leaf = leaf.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _signed(leaf, key, signer)


def new_ca(name: str, now: datetime) -> Pair:
    """A self-signed CA that signs leaves only."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), _subject(f"{name}-ca")
    builder = _described(subject, subject, key, now - BACKDATE, now + CA_LIFE)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _signed(builder, key, key)


def foreign_ca(name: str) -> Pair:
    """A CA with the name of the lab's own and another key: nothing in the lab may trust it."""
    return new_ca(name, datetime.now(UTC))


def new_key() -> bytes:
    """A private key, PEM, in the `EC PRIVATE KEY` form that every Kubernetes program reads."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def key_pair(private: bytes) -> KeyPair:
    """The pair of a private key; ValueError if it is none."""
    public = _private(private).public_key()
    return KeyPair(private, public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def opened(pair: Pair) -> x509.Certificate:
    """The certificate, parsed; ValueError if it is damaged or the key is not its own."""
    certificate = x509.load_pem_x509_certificate(pair.cert)
    if certificate.public_key() != _private(pair.key).public_key():
        raise ValueError("key and certificate do not belong together")
    return certificate


def _described(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begin: datetime, end: datetime
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=begin,
        not_valid_after=end,
    ).add_extension(identifier, critical=False)


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Pair:
    return Pair(builder.sign(signer, hashes.SHA256()).public_bytes(Encoding.PEM), _pem(key))


def _subject(cn: str, o: str = "") -> x509.Name:
    organization = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, o)] if o else []
    return x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, cn)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _private(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")  # noqa: TRY004 - the file's content is wrong
    return key


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
