import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
)
from fixed import guide_topology

from lab.errors import LabError
from lab.pki import (
    USES,
    expiring,
    load_or_create,
)

DAY = timedelta(days=1)
PLAN = guide_topology()
MASTER1, LB, WORKER1 = PLAN.node("k8s-master1"), PLAN.node("k8s-lb"), PLAN.node("k8s-worker1")
USE = {use.name: use for use in USES}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of good credentials; read only by convention, copy it to do damage."""
    directory = tmp_path_factory.mktemp("lab") / "pki"
    load_or_create(PLAN, directory)
    return directory


@pytest.fixture
def directory(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "pki"))


def parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_ca_at_its_end_is_never_replaced_silently(directory: Path) -> None:
    with pytest.raises(LabError, match=r"etcd-ca\.pem ends at [^!]*thwlab down"):
        load_or_create(PLAN, directory, now=datetime.now(UTC) + 3645 * DAY)


def test_a_clock_before_the_cas_is_named(directory: Path) -> None:
    with pytest.raises(LabError, match="this host's clock says"):
        load_or_create(PLAN, directory, now=datetime.now(UTC) - DAY)


def test_a_ca_with_a_broken_signature_is_damage(directory: Path) -> None:
    path = directory / "etcd-ca.pem"
    ca = x509.load_pem_x509_certificate(path.read_bytes())
    der = ca.public_bytes(Encoding.DER)
    pem = ssl.DER_cert_to_PEM_cert(der[:-1] + bytes([der[-1] ^ 1])).encode()
    path.write_bytes(path.read_bytes().replace(ca.public_bytes(Encoding.PEM), pem))
    with pytest.raises(LabError, match="the CA did not sign itself"):
        load_or_create(PLAN, directory)


def test_a_path_with_spaces_is_quoted_in_the_remedy(tmp_path: Path) -> None:
    directory = tmp_path / "my lab"
    load_or_create(PLAN, directory)
    (directory / "user.pem").write_text("")
    with pytest.raises(LabError, match=r"rm '.*/my lab/user\.pem'"):
        load_or_create(PLAN, directory)


def test_expiring_of_no_folder_is_empty_and_of_damage_an_error(directory: Path, tmp_path: Path) -> None:
    assert expiring(tmp_path / "none", DAY) == []
    (directory / "user.pem").write_text("")
    with pytest.raises(LabError, match=r"user\.pem is damaged"):
        expiring(directory, DAY)


@pytest.mark.parametrize("damage", [b"", b"nonsense", b"\xff\xfe\x00"])
@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("etcd-server@k8s-lb.pem", "rm "),
        ("user.pem", "rm "),
        ("bootstrap-token", "rm "),
        ("kubernetes-ca.pem", "thwlab down"),
        ("service-account.key", "thwlab down"),
        ("encryption-key", "thwlab down"),
    ],
)
def test_a_damaged_file_is_named_with_its_remedy(
    name: str, remedy: str, damage: bytes, directory: Path
) -> None:
    (directory / name).write_bytes(damage)
    with pytest.raises(LabError, match=f"{name} is damaged") as caught:
        load_or_create(PLAN, directory)
    assert caught.value.remedy.startswith(remedy)
    if remedy == "rm ":
        (directory / name).unlink()
        load_or_create(PLAN, directory)


@pytest.mark.parametrize("name", ["etcd-server@k8s-lb.pem", "kubernetes-ca.pem", "service-account.key"])
def test_a_truncated_file_is_never_taken_for_good(name: str, directory: Path) -> None:
    content = (directory / name).read_bytes()
    for length in range(0, len(content) - 40, 41):
        (directory / name).write_bytes(content[:length])
        with pytest.raises(LabError, match="is damaged"):
            load_or_create(PLAN, directory)


def test_a_flipped_character_ends_in_an_error_or_a_new_certificate(directory: Path) -> None:
    for name in ("user.pem", "kubernetes-ca.pem"):
        content = (directory / name).read_bytes()
        for at in range(30, len(content), 29):
            flipped = b"A" if content[at : at + 1] != b"A" else b"B"
            (directory / name).write_bytes(content[:at] + flipped + content[at + 1 :])
            try:
                after = load_or_create(PLAN, directory)
            except LabError:
                continue
            verify = parsed(after.pair("user").cert).verify_directly_issued_by
            verify(parsed(after.ca("kubernetes")))
        (directory / name).write_bytes(content)


def test_key_and_certificate_of_different_pairs_are_damage(directory: Path) -> None:
    one, other = ((directory / f"{use}@k8s-lb.pem").read_bytes() for use in ("etcd-server", "etcd-peer"))
    begin = b"-----BEGIN EC"
    (directory / "etcd-server@k8s-lb.pem").write_bytes(one.split(begin)[0] + begin + other.split(begin)[1])
    with pytest.raises(LabError, match="do not belong together"):
        load_or_create(PLAN, directory)


def test_no_error_shows_a_secret(directory: Path) -> None:
    (directory / "bootstrap-token").write_text("abcdef.0123456789abcdef never\n")
    with pytest.raises(LabError, match="bootstrap-token is damaged") as caught:
        load_or_create(PLAN, directory)
    assert "0123456789abcdef" not in str(caught.value)


def test_a_file_in_the_way_is_a_lab_error(tmp_path: Path) -> None:
    (tmp_path / "pki").write_text("")
    with pytest.raises(LabError, match=r"cannot keep credentials in .*/pki"):
        load_or_create(PLAN, tmp_path / "pki")


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LabError, match="No space left on device"):
        load_or_create(PLAN, tmp_path / "pki")
    assert set(files(tmp_path / "pki")) <= {".lock"}


def test_what_a_killed_run_left_is_no_obstacle(directory: Path) -> None:
    (directory / "user.pem").rename(directory / "user.pem.part")
    load_or_create(PLAN, directory)
    assert "user.pem.part" not in files(directory)
