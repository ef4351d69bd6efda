"""What the node tests ask for in a kubelet's name, and whom they take for the signer."""

import base64
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import support_nodes
from cryptography import x509
from cryptography.x509.oid import NameOID
from fixed import guide_topology
from support_nodes import FOREIGN, is_issued_by, renewal_request, serving_request, wrong_identity

from lab.pki import Usage, foreign_ca, issue

WORKER = guide_topology().node("k8s-worker2")


def asked(request: dict[str, Any]) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr(base64.b64decode(request["spec"]["request"]))


def test_a_ca_of_the_same_name_has_not_signed_it() -> None:
    own, other = foreign_ca("kubernetes"), foreign_ca("kubernetes")
    leaf = x509.load_pem_x509_certificate(issue(own, cn="x", usages={Usage.CLIENT}).cert)
    assert is_issued_by(leaf, x509.load_pem_x509_certificate(own.cert))
    assert not is_issued_by(leaf, x509.load_pem_x509_certificate(other.cert))


def test_a_ca_of_another_name_has_not_signed_it() -> None:
    leaf = x509.load_pem_x509_certificate(issue(foreign_ca("etcd"), cn="x", usages={Usage.CLIENT}).cert)
    assert not is_issued_by(leaf, x509.load_pem_x509_certificate(foreign_ca("kubernetes").cert))


def test_a_kubelets_certificate_is_good_for_its_own_node_alone() -> None:
    own, other = foreign_ca("kubernetes"), foreign_ca("kubernetes")
    pem = issue(own, cn="system:node:k8s-worker2", o="system:nodes", usages={Usage.CLIENT}).cert
    leaf = x509.load_pem_x509_certificate(pem)
    assert wrong_identity(leaf, own.cert, "k8s-worker2") == ""
    assert "that of system:node:k8s-worker2" in wrong_identity(leaf, own.cert, "k8s-worker1")
    assert "another CA" in wrong_identity(leaf, other.cert, "k8s-worker2")


def test_a_renewal_is_as_a_kubelet_makes_it() -> None:
    """Whatever else it held, the API's approver would leave it pending."""
    request = renewal_request("r", WORKER)
    assert request["spec"]["signerName"] == "kubernetes.io/kube-apiserver-client-kubelet"
    assert request["spec"]["usages"] == ["digital signature", "client auth"]
    assert not list(asked(request).extensions)
    (cn,) = asked(request).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert cn.value == "system:node:k8s-worker2"


def test_a_serving_request_has_the_addresses_it_is_told() -> None:
    request = serving_request("s", WORKER, [WORKER.address, FOREIGN])
    names = asked(request).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.IPAddress) == [WORKER.address, FOREIGN]
    assert names.get_values_for_type(x509.DNSName) == ["k8s-worker2"]
    assert request["spec"]["usages"] == ["digital signature", "server auth"]


def test_every_answer_of_one_curl_is_told_apart_by_its_status() -> None:
    asks = [support_nodes.Ask("GET", path) for path in ("/a", "/b", "/c")]
    said = '{"a":\n  1}\n200 thwlab-end\n\n403 thwlab-end\ncurl: (28) timed out\n\n000 thwlab-end\n'
    assert support_nodes.answers(said, asks, "m") == [
        (200, '{"a": 1}'),
        (403, ""),
        (0, "curl: (28) timed out"),
    ]
    with pytest.raises(AssertionError, match="m: 3 requests got 1 answers"):
        support_nodes.answers("{}\n200 thwlab-end\n", asks, "m")


def test_all_requests_of_a_kubelet_go_to_one_curl(tmp_path: Path) -> None:
    """Each with its own method and body, for a connection of its own costs more than the answer."""
    config, curl = tmp_path / "kubeconfig", tmp_path / "curl"
    config.write_text("certificate-authority: /ca\nclient-certificate: /cert\nclient-key: /key\n")
    curl.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    curl.chmod(0o755)
    words = ["GET", "/a", "", "PATCH", "/b?c", '{"d": "e f"}']
    argv = ["sh", "-c", support_nodes._AS_KUBELET, str(config), "https://x:6443", "10", *words]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20, env={"PATH": path})
    first, second = done.stdout.split("--next\n")
    assert first.endswith("\nhttps://x:6443/a\n")
    assert "-d\n" not in first
    assert second.endswith("\nhttps://x:6443/b?c\n")
    assert '-d\n{"d": "e f"}\n' in second
    assert "application/merge-patch+json" in second
