"""Known words of programs are recognised by what they print, and nothing else is."""

import pytest

from lab.bringup import Outcome
from lab.signatures import KNOWN, recognised


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Failed to create control group inotify object: Too many open files", "inotify"),
        ("alarm:NOSPACE", "quota"),
        ("write /var/x: No space left on device", "disk"),
        ("x509: certificate has expired or is not yet valid", "time has passed"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "another CA"),
        ("curl: (60) SSL certificate problem: unable to get local issuer certificate", "another CA"),
        ("x509: certificate is valid for 127.0.0.1, not 192.168.100.11", "not in its certificate"),
        (
            "verify failed: IP address mismatch, certificate is not valid for '10.0.0.1'.",
            "not in its certificate",
        ),
        ('"member 8e9e05c52164694d has already been bootstrapped"', "lost its data"),
        ("Internal error occurred: no matching prefix found", "keys for secrets at rest differ"),
        ('"msg":"the member has been permanently removed from the cluster"', "have removed this etcd member"),
        ("[invalid bearer token, signature is invalid]", "does not verify with"),
        ('namespaces "x" is forbidden: User "system:node:w1" cannot get resource', "lacks a right"),
        ("remote error: tls: internal error", "nobody has approved"),
        ("network is not ready: cni plugin not initialized", "no pod network"),
        ('failed to find plugin "ptp" in path [/opt/cni/bin]', "no pod network"),
        ("Failed to start kube-proxy.service: Unit kube-proxy.service is masked.", "forbidden systemd"),
    ],
)
def test_what_programs_say_gets_its_meaning(text: str, cause: str) -> None:
    known = recognised(text)
    assert known is not None
    assert cause in known.cause
    assert known.remedy


def test_ordinary_output_means_nothing_else() -> None:
    assert recognised("connection refused") is None
    assert recognised("the CA's certificate is valid for 3650 days") is None
    assert recognised("secrets is forbidden by policy") is None
    assert Outcome("etcd", 0.0).error is None
    assert all(known.cause and known.remedy for known in KNOWN)


@pytest.mark.parametrize(
    "said", ["permanently removed from the cluster", "member 8e9 has already been bootstrapped"]
)
def test_a_member_that_cannot_come_back_is_given_a_new_one_by_one_command(said: str) -> None:
    """A line of shell with three placeholders was pasted as it was, and etcd took ADDRESS for a name."""
    known = recognised(said)
    assert known is not None
    assert known.remedy_on("k8s-lb").startswith("thwlab rejoin k8s-lb ")
    assert known.remedy_on("").startswith("thwlab rejoin MACHINE ")
