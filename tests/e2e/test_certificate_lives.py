"""Every certificate that lies on a machine: in force, for how many days, and by a CA of this lab."""

import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from support_holdings import Holdings, holdings

from lab.cluster import Cluster
from lab.pki.uses import CA_FILES
from lab.topology import Profile

pytestmark = pytest.mark.e2e
YEAR, SOON, MARGIN = timedelta(days=365), timedelta(days=30), timedelta(minutes=10)


@pytest.fixture(scope="module")
def held(lab_workers: Cluster) -> Mapping[str, Holdings]:
    """What lies on every machine."""
    return holdings(lab_workers)


@pytest.fixture(scope="module")
def lives(lab_workers: Cluster, held: Mapping[str, Holdings]) -> dict[str, x509.Certificate]:
    """Every certificate on every machine, and the user's on this host, by machine and file."""
    found = {
        f"{each.name}: {path}": x509.load_pem_x509_certificate(content)
        for each in held.values()
        for path, content in each.files.items()
        if path.endswith(".pem") and b"-----BEGIN CERTIFICATE-----" in content
    }
    return found | {
        "this host: user": x509.load_pem_x509_certificate(lab_workers.credentials.pair("user").cert)
    }


def test_every_certificate_is_in_force_and_its_days_are_reported(
    lives: dict[str, x509.Certificate], record_property: Callable[[str, object], None]
) -> None:
    """The days left are properties of the test in JUnit's file; below 30, a warning."""
    now = datetime.now(UTC)
    for where, certificate in sorted(lives.items()):
        left = certificate.not_valid_after_utc - now
        record_property(f"days left, {where}", round(left / timedelta(days=1), 1))
        if timedelta(0) < left < SOON and "/kubelet-" not in where:  # kubelets renew their own
            warnings.warn(f"{where} ends at {certificate.not_valid_after_utc}", stacklevel=1)
    ended = [
        f"{where}: valid from {c.not_valid_before_utc} to {c.not_valid_after_utc}"
        for where, c in lives.items()
        if not c.not_valid_before_utc <= now < c.not_valid_after_utc
    ]
    assert not ended, f"not in force at {now}: {'; '.join(ended)}; remedy: thwlab up makes those of ours anew"


def test_no_certificate_lasts_longer_than_a_year_or_than_its_ca(
    lab_workers: Cluster, lives: dict[str, x509.Certificate]
) -> None:
    """Those that kubelets got by their requests, too."""
    if lab_workers.topology.profile is Profile.GUIDE:
        pytest.skip("the guide's controller-manager signs for ten years")
    cas = {x509.load_pem_x509_certificate(pair.cert) for pair in lab_workers.credentials.authorities.values()}
    ends = {ca.subject: ca.not_valid_after_utc for ca in cas}
    wrong = [
        f"{where} by {c.issuer.rfc4514_string()}: {c.not_valid_before_utc} to {c.not_valid_after_utc}"
        for where, c in lives.items()
        if c not in cas
        and (
            c.not_valid_after_utc - c.not_valid_before_utc > YEAR + MARGIN
            or c.not_valid_after_utc > ends.get(c.issuer, c.not_valid_before_utc)
        )
    ]
    assert not wrong, "; ".join(wrong)


def test_every_machine_trusts_the_labs_own_cas(lab_workers: Cluster, held: Mapping[str, Holdings]) -> None:
    """A CA of the same name with another key would part this machine from the others."""
    wrong = [
        f"{each.name}: {path} is not this lab's {name} CA"
        for each in held.values()
        for name, path in CA_FILES.items()
        if path in each.files and each.files[path] != lab_workers.credentials.ca(name)
    ]
    assert not wrong, "; ".join(wrong)
