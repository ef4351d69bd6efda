import base64
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from lab.kubeconfig import kubeconfig
from lab.pki import Pair, Token

PAIR = Pair(b"<cert>\n", b"<key>\n")
TOKEN = Token("abcdef", "0123456789abcdef", datetime(2030, 1, 1, tzinfo=UTC))
URL = "https://192.168.100.100:6443"


def read(content: bytes) -> Any:
    return yaml.safe_load(content)


def user_of(content: bytes) -> dict[str, str]:
    (entry,) = read(content)["users"]
    return dict(entry["user"])


def test_the_whole_file() -> None:
    assert kubeconfig("thw", URL, b"<ca>\n", user="k8s-admin", pair=PAIR).decode() == (
        """\
apiVersion: v1
kind: Config
clusters:
- name: thw
  cluster:
    server: https://192.168.100.100:6443
    certificate-authority-data: PGNhPgo=
users:
- name: k8s-admin
  user:
    client-certificate-data: PGNlcnQ+Cg==
    client-key-data: PGtleT4K
contexts:
- name: k8s-admin@thw
  context:
    cluster: thw
    user: k8s-admin
current-context: k8s-admin@thw
"""
    )


def test_files_on_the_machine_are_referred_to() -> None:
    files = ("/opt/kubernetes/ssl/kube-proxy.pem", "/opt/kubernetes/ssl/kube-proxy-key.pem")
    content = kubeconfig("thw", URL, "/opt/kubernetes/ssl/ca.pem", user="proxy", certificate_files=files)
    assert user_of(content) == {"client-certificate": files[0], "client-key": files[1]}
    assert read(content)["clusters"][0]["cluster"] == {
        "server": URL,
        "certificate-authority": "/opt/kubernetes/ssl/ca.pem",
    }


@pytest.mark.parametrize("token", [TOKEN, TOKEN.text])
def test_a_kubelets_first_contact_is_by_token(token: Token | str) -> None:
    content = kubeconfig("thw", URL, b"<ca>", user="kubelet-bootstrap", token=token)
    assert user_of(content) == {"token": "abcdef.0123456789abcdef"}


@pytest.mark.parametrize(
    "token", ["123456.1234567890123456", "12e456.1234567890123456", "nulls.~", "a: b #c"]
)
def test_a_token_that_looks_like_a_number_stays_text(token: str) -> None:
    assert user_of(kubeconfig("thw", URL, b"", user="u", token=token)) == {"token": token}


def test_long_data_stays_on_one_line() -> None:
    long = Pair(b"c" * 5000, b"k" * 5000)
    content = kubeconfig("thw", URL, b"a" * 5000, user="u", pair=long)
    assert base64.b64decode(user_of(content)["client-certificate-data"]) == long.cert
    assert len(content.splitlines()) == len(kubeconfig("thw", URL, b"", user="u", pair=PAIR).splitlines())


@pytest.mark.parametrize(
    "proofs",
    [{}, {"pair": PAIR, "token": TOKEN}, {"token": TOKEN, "certificate_files": ("a", "b")}],
    ids=["none", "pair and token", "token and files"],
)
def test_exactly_one_proof_is_asked_for(proofs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        kubeconfig("thw", URL, b"", user="u", **proofs)
