"""Identities that nobody should accept: what is put over the right files, and who says that it is refused."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from fault_machines import PLAN, cluster_of, every_sandbox_ends, sandboxes  # noqa: F401

from lab.errors import LabError
from lab.faults import certificates as module
from lab.faults.certificates import CertificateExpired, ForeignCa, TokenRevoked
from lab.kubeconfig import kubeconfig
from lab.pki import load_or_create
from lab.topology import Profile
from lab.wait import NotYet

MASTER, WORKER = "k8s-master1", "k8s-worker1"
MASTERS = ("k8s-master1", "k8s-master2")
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_or_create(PLAN, tmp_path_factory.mktemp("pki"))


def parsed(pair: Any) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert)


@pytest.mark.parametrize("unit", ["kube-apiserver", "etcd"])
def test_an_expired_certificate_is_the_right_one_but_for_its_end(credentials: Any, unit: Any) -> None:
    lab = cluster_of({})
    lab.credentials = credentials
    for use in module.USES[unit]:
        wrong = parsed(CertificateExpired((MASTER,), unit).certificate(lab, PLAN.node(MASTER), use))
        right = parsed(credentials.pair(use, PLAN.node(MASTER)))
        assert wrong.not_valid_after_utc < NOW
        assert wrong.subject == right.subject
        assert names(wrong) == names(right)
        wrong.verify_directly_issued_by(parsed(credentials.authorities[module._authority(use)]))


@pytest.mark.parametrize("unit", ["kube-apiserver", "etcd"])
def test_a_foreign_ca_has_the_right_name_and_another_key(credentials: Any, unit: Any) -> None:
    lab = cluster_of({})
    lab.credentials = credentials
    for use in module.USES[unit]:
        wrong = parsed(ForeignCa((MASTER,), unit).certificate(lab, PLAN.node(MASTER), use))
        right = parsed(credentials.pair(use, PLAN.node(MASTER)))
        assert wrong.not_valid_before_utc < NOW < wrong.not_valid_after_utc
        assert (wrong.subject, wrong.issuer, names(wrong)) == (right.subject, right.issuer, names(right))
        with pytest.raises(InvalidSignature):
            wrong.verify_directly_issued_by(parsed(credentials.authorities[module._authority(use)]))


def test_a_kubelets_certificate_makes_it_its_node(credentials: Any) -> None:
    lab = cluster_of({})
    lab.credentials = credentials
    (cover,) = CertificateExpired((WORKER,), "kubelet").covers(lab, PLAN.node(WORKER))
    assert cover.mode == 0o600
    certificate = x509.load_pem_x509_certificate(cover.content)
    assert certificate.subject.rfc4514_string() == f"CN=system:node:{WORKER},O=system:nodes"
    assert b"EC PRIVATE KEY" in cover.content


def names(certificate: x509.Certificate) -> Any:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def test_whose_certificate_it_is_decides_who_can_be_aimed_at() -> None:
    lab = cluster_of(dict.fromkeys((MASTER, WORKER)))
    lab.machines = {name: Sandboxless(name) for name in (MASTER, WORKER)}
    assert "k8s-worker1 has no etcd" in ForeignCa((WORKER,), "etcd").unavailable(lab)
    assert "k8s-master1 has no kubelet" in ForeignCa((MASTER,), "kubelet").unavailable(lab)
    assert not ForeignCa((WORKER,), "kubelet").unavailable(lab)
    assert "aim at control-plane" in TokenRevoked((WORKER,)).unavailable(lab)
    assert not TokenRevoked((MASTER,)).unavailable(lab)


class Sandboxless:
    def __init__(self, name: str) -> None:
        self.name, self.node = name, PLAN.node(name)


# -- covers, with real mounts where root is there ----------------------------------------------------------

can_mount = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def mounted(tmp_path: Path, credentials: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A master whose files are on this host below a folder; what is mounted over them is gone afterwards."""
    monkeypatch.setattr(module, "check_unit", lambda *_: None)
    machine = sandboxes(tmp_path, MASTER)[MASTER]
    for use in module.USES["etcd"]:
        pair = credentials.pair(use, machine.node)
        for path, content in zip(module.paths(use), (pair.cert, pair.key), strict=True):
            place = machine.folder / path[1:]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
    lab = cluster_of({MASTER: machine})
    lab.credentials = credentials
    yield lab
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if str(tmp_path) in line.split()[4]:
            subprocess.run(["umount", "-l", line.split()[4]], check=False)


@pytest.mark.skipif(not can_mount, reason="needs root")
def test_the_right_files_are_covered_and_uncovered_twice(
    mounted: Any, monkeypatch: pytest.MonkeyPatch, credentials: Any
) -> None:
    machine = mounted.machines[MASTER]
    # Here the covers lie on no tmpfs of their own, so their path has more before it.
    for name in ("_UNCOVER", "_STILL_COVERED"):
        text = getattr(module, name).replace("index($4, from) == 1", "index($4, from) > 0")
        assert text != getattr(module, name)
        monkeypatch.setattr(module, name, text)
    place = machine.folder / module.paths("etcd-server")[0][1:]
    right = credentials.pair("etcd-server", machine.node).cert
    fault = ForeignCa((MASTER,), "etcd")
    fault.heal(mounted)
    fault.check_healed(mounted)
    assert machine.calls() == [], "where nothing is covered nothing is started anew"
    for _ in range(2):
        for look in (fault.in_force, fault.still_in_force):
            with pytest.raises(NotYet, match="no certificate of etcd is covered"):
                look(mounted)
        fault.inject(mounted)
        assert machine.calls() == ["restart --no-block etcd.service"]
        assert place.read_bytes() != right
        assert "still covered: " in fault.still_in_force(mounted)
        assert place.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
        with pytest.raises(NotYet, match="still covered"):
            fault.check_healed(mounted)
        fault.heal(mounted)
        assert machine.calls() == ["restart --no-block etcd.service"]
        assert place.read_bytes() == right
        fault.check_healed(mounted)
        assert machine.left() == []
    place.write_bytes(b"other")
    with pytest.raises(NotYet, match="is not what was issued"):
        fault.check_healed(mounted)


# -- who refuses -------------------------------------------------------------------------------------------


def told(folder: Path, name: str, curl: str) -> Any:
    """A machine on which something is covered and curl ends like this."""
    machine = sandboxes(
        folder, name, programs={"curl": curl, "awk": "echo /covered", "readlink": "echo /covered"}
    )
    return cluster_of(machine)


@pytest.mark.parametrize("unit", ["kube-apiserver", "etcd"])
def test_a_handshake_that_is_refused_for_the_certificate_is_evidence(tmp_path: Path, unit: Any) -> None:
    refused = "echo 'curl: (60) SSL certificate problem: certificate has expired' >&2; exit 60"
    said = CertificateExpired((MASTER,), unit).in_force(told(tmp_path, MASTER, refused))
    assert "new handshakes with port" in said
    assert "certificate has expired" in said


@pytest.mark.parametrize("curl", ["printf 200", "echo 'curl: (7) Failed to connect' >&2; exit 7"])
def test_an_answer_or_nobody_is_none(tmp_path: Path, curl: str) -> None:
    with pytest.raises(NotYet):
        CertificateExpired((MASTER,), "etcd").in_force(told(tmp_path, MASTER, curl))


def test_a_kubelet_is_refused_by_the_api(tmp_path: Path) -> None:
    fault = ForeignCa((WORKER,), "kubelet")
    assert "it is what the kubelet has" in fault.in_force(told(tmp_path, WORKER, "printf 401"))
    with pytest.raises(NotYet, match="the API said 200"):
        fault.in_force(told(tmp_path, WORKER, "printf 200"))


# -- the token ---------------------------------------------------------------------------------------------


class Api:
    """An apiserver that keeps one Secret."""

    def __init__(self) -> None:
        self.there: set[str] = {"bootstrap-token-abcdef"}

    def delete(self, path: str) -> None:
        self.there.discard(path.rpartition("/")[2])

    def apply(self, manifest: Any) -> None:
        self.there.add(manifest["metadata"]["name"])

    def text(self, _: str) -> str:
        return "ok"


def test_a_token_is_revoked_and_given_back_twice(tmp_path: Path) -> None:
    api = Api()
    curl = f"grep -q abcdef.0123456789abcdef || exit 9\ntest -e {tmp_path}/there && printf 200 || printf 401"
    machine = sandboxes(tmp_path, WORKER, programs={"curl": curl})[WORKER]
    config = kubeconfig("k", "https://192.168.100.100:6443", "/ca", user="u", token="abcdef.0123456789abcdef")
    path = machine.folder / module.BOOTSTRAP[1:]
    path.parent.mkdir(parents=True)
    path.write_bytes(config)
    lab = cluster_of({WORKER: machine}, api=lambda _=None: api)
    fault = TokenRevoked(MASTERS)

    def settle() -> None:
        flag = tmp_path / "there"
        flag.touch() if api.there else flag.unlink(missing_ok=True)

    settle()
    fault.heal(lab)
    for _ in range(2):
        for look in (fault.in_force, fault.still_in_force):
            with pytest.raises(NotYet, match="says 200"):
                look(lab)
        fault.inject(lab)
        settle()
        assert fault.in_force(lab) == "k8s-master1, k8s-master2 says 401 to the bootstrap token"
        assert fault.still_in_force(lab) == fault.in_force(lab)
        with pytest.raises(NotYet, match="says 401"):
            fault.check_healed(lab)
        fault.heal(lab)
        settle()
        fault.check_healed(lab)


def test_masters_that_answer_nobody_tell_nothing_of_a_token(tmp_path: Path) -> None:
    machines = sandboxes(tmp_path, WORKER, programs={"curl": "echo '(7) refused' >&2; exit 7", "sed": "true"})
    with pytest.raises(LabError, match=r"k8s-master1 says \(7\) refused"):
        TokenRevoked((MASTERS[0],)).still_in_force(cluster_of(machines))


def test_with_the_guides_profile_there_is_no_token_in_the_cluster() -> None:
    lab = cluster_of({}, replace(PLAN, profile=Profile.GUIDE))
    assert "in a file of the apiservers" in TokenRevoked((WORKER,)).unavailable(lab)
