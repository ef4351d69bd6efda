"""What goes into the cluster, and which serving certificates may be signed."""

import base64
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from fixed import fixed_credentials, guide_topology

from lab.addons.base import Addon, apply
from lab.addons.bootstrap import Bootstrap
from lab.addons.catalogue import access, chosen
from lab.addons.coredns import CoreDns
from lab.addons.rbac import KubeletAccess
from lab.addons.serving_csrs import approvable, approved, pending
from lab.kubeapi import path_of
from lab.machine import Machine, Result
from lab.pki import USES
from lab.topology import Cni, Node, Profile
from lab.wait import NotYet

PLAN = guide_topology()
KEY = ec.generate_private_key(ec.SECP256R1())
SUBJECT = {NameOID.ORGANIZATION_NAME: "system:nodes", NameOID.COMMON_NAME: "system:node:k8s-worker1"}
NAMES = ("k8s-worker1", "192.168.100.21")


def csr(
    names: Sequence[str] = NAMES,
    subject: dict[x509.ObjectIdentifier, str] = SUBJECT,
    usages: Sequence[str] = ("digital signature", "server auth"),
    **spec: Any,
) -> dict[str, Any]:
    """What a kubelet sends, or something that looks like it."""
    parts = x509.Name([x509.NameAttribute(oid, value) for oid, value in subject.items()])
    builder = x509.CertificateSigningRequestBuilder(parts)
    if names:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([general(n) for n in names]), critical=False
        )
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)
    usual = {
        "signerName": "kubernetes.io/kubelet-serving",
        "username": "system:node:k8s-worker1",
        "groups": ["system:nodes", "system:authenticated"],
        "usages": list(usages),
        "request": base64.b64encode(pem).decode(),
    }
    return {"metadata": {"name": "csr-1"}, "spec": usual | spec}


def general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@pytest.mark.parametrize(
    "request_",
    [
        csr(),
        csr(names=["192.168.100.21"]),
        csr(names=["k8s-worker1"]),
        csr(usages=["digital signature", "key encipherment", "server auth"]),
    ],
    ids=["as kubelets ask", "address only", "name only", "as kubelets with RSA ask"],
)
def test_a_node_that_asks_for_itself_is_served(request_: dict[str, Any]) -> None:
    assert approvable(request_, PLAN) is None


BAD = {
    "192.168.100.22": csr(names=["k8s-worker1", "192.168.100.22"]),
    "k8s-worker2": csr(names=["k8s-worker2"]),
    "kubernetes.default": csr(names=[*NAMES, "kubernetes.default"]),
    "names no host": csr(names=[]),
    "its subject is": csr(subject=SUBJECT | {NameOID.COMMON_NAME: "system:node:k8s-worker2"}),
    "system:masters": csr(subject=SUBJECT | {NameOID.ORGANIZATION_NAME: "system:masters"}),
    "OU=more": csr(subject=SUBJECT | {NameOID.ORGANIZATIONAL_UNIT_NAME: "more"}),
    "client auth": csr(usages=["digital signature", "server auth", "client auth"]),
    "the usages digital signature": csr(usages=["digital signature"]),
    "kube-apiserver-client": csr(signerName="kubernetes.io/kube-apiserver-client"),
    "k8s-worker9": csr(username="system:node:k8s-worker9"),
    "k8s-master1": csr(username="system:node:k8s-master1"),
    "not k8s-worker1|CN=system:node:k8s-worker2": csr(username="system:node:k8s-worker2"),
    "does not ask as one of": csr(groups=["system:authenticated"]),
    "cannot be read": csr(request="bm90IGEgcmVxdWVzdA=="),
    "cannot be read: ": csr(request="%"),
}


@pytest.mark.parametrize("why", BAD)
def test_whatever_else_stays_pending_with_the_reason(why: str) -> None:
    reason = approvable(BAD[why], PLAN)
    assert reason is not None
    assert any(part in reason for part in why.split("|"))


def test_a_request_signed_by_another_key_stays_pending() -> None:
    der = bytearray(
        x509.load_pem_x509_csr(base64.b64decode(csr()["spec"]["request"])).public_bytes(Encoding.DER)
    )
    der[der.index(b"k8s-worker1", der.index(b"k8s-worker1") + 1)] = ord("x")
    pem = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    assert (
        approvable(csr(request=base64.b64encode(pem).decode()), PLAN)
        == "its signature is not by the key in it"
    )


def test_a_request_for_more_than_names_stays_pending() -> None:
    parts = x509.Name([x509.NameAttribute(oid, value) for oid, value in SUBJECT.items()])
    ca = x509.BasicConstraints(ca=True, path_length=None)
    builder = x509.CertificateSigningRequestBuilder(parts).add_extension(ca, critical=True)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([x509.DNSName("k8s-worker1")]), critical=False
    )
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM)
    assert "2.5.29.19" in str(approvable(csr(request=base64.b64encode(pem).decode()), PLAN))


def test_approval_adds_a_condition_and_leaves_the_request_alone() -> None:
    asked = csr()
    decided = approved(asked)
    assert [c["type"] for c in decided["status"]["conditions"]] == ["Approved"]
    assert "status" not in asked
    assert (pending(asked), pending(decided)) == (True, False)


def test_the_bootstrap_token_ends_and_holds_no_right_of_a_node() -> None:
    secret, *bindings = Bootstrap(PLAN).manifests(fixed_credentials())
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert secret["metadata"] == {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    assert data["expiration"] == "2030-01-01T00:00:00Z"
    assert data["usage-bootstrap-authentication"] == "true"
    given = {b["roleRef"]["name"].split(":")[-1]: b["subjects"][0]["name"] for b in bindings}
    assert given == {
        "node-bootstrapper": data["auth-extra-groups"],
        "nodeclient": data["auth-extra-groups"],
        "selfnodeclient": "system:nodes",
    }


def test_in_the_guides_profile_the_tokens_holder_is_a_user() -> None:
    objects = Bootstrap(replace(PLAN, profile=Profile.GUIDE)).manifests(fixed_credentials())
    assert "Secret" not in {each["kind"] for each in objects}
    assert objects[0]["subjects"][0]["name"] == "kubelet-bootstrap"


def test_the_right_on_kubelets_is_for_the_name_in_the_apiservers_certificate() -> None:
    (binding,) = KubeletAccess(PLAN).manifests(fixed_credentials())
    names = {use.name: use.cn for use in USES}
    assert binding["subjects"][0]["name"] == names["apiserver-kubelet-client"]


def objects(addon: Addon) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in addon.manifests(fixed_credentials())}


def test_coredns_stands_where_kubelets_send_questions() -> None:
    found = objects(CoreDns(PLAN))
    assert found["Service"]["spec"]["clusterIP"] == "10.0.0.2"
    assert "kubernetes cluster.local" in found["ConfigMap"]["data"]["Corefile"]
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry.k8s.io/coredns/coredns:v1.14.7"


def test_coredns_survives_one_worker_if_there_are_two() -> None:
    found = objects(CoreDns(PLAN))
    assert found["Deployment"]["spec"]["replicas"] == 2
    assert found["PodDisruptionBudget"]["spec"]["minAvailable"] == 1
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "DoNotSchedule"
    assert {t["tolerationSeconds"] for t in pod["tolerations"]} == {30}


def test_a_single_worker_carries_one_coredns_that_may_be_evicted() -> None:
    plan = replace(PLAN, nodes=tuple(n for n in PLAN.nodes if n.name != "k8s-worker2"))
    found = objects(CoreDns(plan))
    assert found["Deployment"]["spec"]["replicas"] == 1
    assert "PodDisruptionBudget" not in found


def test_the_guides_coredns_waits_as_long_as_by_default() -> None:
    pod = objects(CoreDns(replace(PLAN, profile=Profile.GUIDE)))["Deployment"]["spec"]["template"]["spec"]
    assert "tolerations" not in pod


def test_the_guides_coredns_is_alone_so_that_the_loss_of_its_node_is_felt() -> None:
    """What coredns-node-lost expects to break there would hold with two."""
    found = objects(CoreDns(replace(PLAN, profile=Profile.GUIDE)))
    assert found["Deployment"]["spec"]["replicas"] == 1
    assert "PodDisruptionBudget" not in found


def test_flannel_gets_its_rights_only_where_it_is() -> None:
    assert "flannel-access" not in {addon.name for addon in access(PLAN)}
    assert "flannel-access" in {addon.name for addon in access(replace(PLAN, cni=Cni.FLANNEL))}


def test_the_plan_chooses_and_an_unknown_name_is_refused() -> None:
    assert [addon.name for addon in chosen(PLAN)] == ["coredns"]
    with pytest.raises(KeyError):
        chosen(replace(PLAN, addons=("corends",)))


class Api:
    """An apiserver that takes everything and knows one Deployment."""

    def __init__(self, available: int = 2) -> None:
        self.available, self.applied = available, []

    def ensure(self, manifest: dict[str, Any]) -> bool:
        self.applied.append(path_of(manifest))
        return manifest["kind"] == "Deployment"

    def get(self, path: str) -> dict[str, Any]:
        return {"status": {"availableReplicas": self.available}}


class Digging(Machine):
    """A worker that runs what it is told, with a `dig` that gives these answers for UDP and TCP."""

    def __init__(self, node: Node, *answers: str) -> None:
        super().__init__(node)
        self.udp, self.tcp = answers

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        dig = f"dig() {{ case $* in *+tcp*) printf '{self.tcp}';; *) printf '{self.udp}';; esac; }}\n"
        seen = subprocess.run([*argv[:-1], dig + argv[-1]], capture_output=True, timeout=timeout)
        return Result(seen.returncode, seen.stdout, seen.stderr)

    def _never(self) -> None:
        raise NotImplementedError

    pull_plug = boot = reboot = pause = resume = _never


class Settling(Api):
    """Keeps what is put."""

    def __init__(self) -> None:
        super().__init__()
        self.put_there: list[dict[str, Any]] = []

    def get(self, path: str) -> dict[str, Any]:
        return {"spec": {"template": {"metadata": {"labels": {}}}}}

    def put(self, path: str, body: dict[str, Any]) -> None:
        self.put_there.append(body)


@pytest.mark.parametrize(
    ("changed", "replaced"),
    [
        (["ConfigMap coredns"], 1),
        (["ConfigMap coredns", "Deployment coredns"], 0),
        (["Service kube-dns"], 0),
        ([], 0),
    ],
)
def test_pods_that_read_another_corefile_are_replaced(changed: list[str], replaced: int) -> None:
    api: Any = Settling()
    CoreDns(PLAN).settle(api, changed)
    assert len(api.put_there) == replaced
    for body in api.put_there:
        assert body["spec"]["template"]["metadata"]["annotations"]["thwlab/restarted"]


def ask_dns(available: int, *answers: str) -> None:
    CoreDns(PLAN).check_ready(Api(available), [Digging(PLAN.node("k8s-worker1"), *answers)])


def test_dns_is_ready_when_each_way_gives_the_right_address() -> None:
    ask_dns(2, "10.0.0.1\n", "10.0.0.1\n")


@pytest.mark.parametrize(
    "answers", [("", ""), ("10.0.0.9\n", ""), ("10.0.0.1\n", ""), ("", "10.0.0.1\n"), (";; no servers", "")]
)
def test_dns_is_not_ready_by_its_pods_alone(answers: tuple[str, str]) -> None:
    with pytest.raises(NotYet, match=r"k8s-worker1: `dig .*not 10\.0\.0\.1"):
        ask_dns(2, *answers)


def test_dns_with_one_pod_of_two_is_not_ready() -> None:
    with pytest.raises(NotYet, match="1 of 2"):
        ask_dns(1, "", "")


@pytest.mark.parametrize(
    "addon", [*access(replace(PLAN, cni=Cni.FLANNEL)), CoreDns(PLAN)], ids=lambda a: a.name
)
def test_every_object_has_a_place_in_the_api(addon: Addon) -> None:
    api = Api()
    changed = apply(addon, api, fixed_credentials())
    assert changed == (["Deployment coredns"] if addon.name == "coredns" else [])
    assert len(set(api.applied)) == len(addon.manifests(fixed_credentials()))
