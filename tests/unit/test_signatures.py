"""Known words of programs are recognised by what they print, and nothing else is."""

import pytest
from component_files import CONTAINER
from fixed import fixed_credentials, guide_topology

from lab.bringup import Outcome
from lab.components.etcd import Etcd, etcdctl
from lab.signatures import ETCD_CONF, ETCD_DATA, KNOWN, recognised


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


def test_what_is_to_be_pasted_on_a_member_is_how_etcd_is_there() -> None:
    """Who was told `etcdctl member add` without certificates got "does not look like a TLS handshake"."""
    removed = recognised("permanently removed from the cluster")
    assert removed is not None
    assert f"{etcdctl()} --endpoints=https://127.0.0.1:2379 member add NAME" in removed.remedy
    files = Etcd(guide_topology(), CONTAINER).files(guide_topology().node("k8s-lb"), fixed_credentials())
    conf = next(file for file in files if file.path == ETCD_CONF)
    assert f'ETCD_DATA_DIR="{ETCD_DATA}"'.encode() in conf.content
    assert f"rm -r {ETCD_DATA}; " in removed.remedy
