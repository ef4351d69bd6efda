"""Whether a certificate made earlier can stay."""

from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import NameOID

from lab.pki.uses import Planned

RENEW_WITHIN = timedelta(days=7)


def unfit(certificate: x509.Certificate, plan: Planned, ca: x509.Certificate, now: datetime) -> str:
    """Why the certificate cannot stay, or nothing."""
    try:
        certificate.verify_directly_issued_by(ca)
    except (InvalidSignature, ValueError):
        return f"it is not by the {plan.use.authority} CA of this lab"
    if certificate.not_valid_before_utc > now:
        return f"it is not valid before {certificate.not_valid_before_utc}"
    if certificate.not_valid_after_utc - now < RENEW_WITHIN:
        return f"it ends at {certificate.not_valid_after_utc}"
    return _difference(certificate, plan)


def _difference(certificate: x509.Certificate, plan: Planned) -> str:
    facts = {
        "CN": (_subject(certificate, NameOID.COMMON_NAME), plan.cn),
        "O": (_subject(certificate, NameOID.ORGANIZATION_NAME), plan.use.o),
        "names": (_sans(certificate), sorted(plan.sans)),
        "usages": (_usages(certificate), sorted(usage.value.dotted_string for usage in plan.use.usages)),
    }
    return "; ".join(f"{what} {has}, planned {wants}" for what, (has, wants) in facts.items() if has != wants)


def _subject(certificate: x509.Certificate, part: x509.ObjectIdentifier) -> str:
    return ",".join(str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(part))


def _sans(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return sorted(str(name.value) for name in names)


def _usages(certificate: x509.Certificate) -> list[str]:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return []
    return sorted(usage.dotted_string for usage in usages)
