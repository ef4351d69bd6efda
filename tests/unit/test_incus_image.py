"""An image in the form both daemons take, with the fingerprint they will give it."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from lab.providers.incus import image as module
from lab.providers.incus.image import image_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root.squashfs"
    path.write_bytes(os.urandom(3 * module.CHUNK + 17))
    return path


def members(metadata: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(metadata)) as tar:
        return {m.name: tar.extractfile(m).read().decode() for m in tar.getmembers()}  # type: ignore[union-attr]


def test_the_fingerprint_is_over_metadata_and_root_as_the_daemons_have_it(root: Path) -> None:
    image = image_of(root)
    assert image.fingerprint == hashlib.sha256(image.metadata + root.read_bytes()).hexdigest()


def test_metadata_names_templates_that_are_there(root: Path) -> None:
    found = members(image_of(root).metadata)
    assert set(found) == {"metadata.yaml", "templates/network.tpl", "templates/hostname.tpl"}
    assert all(name.removeprefix("templates/") in found["metadata.yaml"] for name in found if "/" in name)
    assert os.uname().machine in found["metadata.yaml"]


def test_the_same_root_is_the_same_image_and_hashed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image_of(root)
    monkeypatch.setattr(module, "_fingerprint", None)
    assert image_of(root) == first


def test_another_root_or_other_metadata_is_another_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = image_of(root).fingerprint
    monkeypatch.setattr(module, "TEMPLATES", {"network.tpl": "other"})
    second = image_of(root).fingerprint
    root.write_bytes(b"other")
    os.utime(root, ns=(1, 1))
    assert len({first, second, image_of(root).fingerprint}) == 3


def test_a_record_that_broke_off_is_made_anew(root: Path) -> None:
    image = image_of(root)
    record = root.with_suffix(".fingerprint")
    record.write_text(record.read_text().split("\n")[0])
    assert image_of(root).fingerprint == image.fingerprint


def test_an_upload_has_both_parts_and_the_size_it_announces(root: Path) -> None:
    image = image_of(root)
    body = b"".join(image.upload("edge"))
    assert len(body) == image.upload_size("edge")
    parts = body.split(b"--edge")
    assert len(parts) == 4
    assert parts[1].endswith(image.metadata + b"\r\n")
    assert b'name="metadata"' in parts[1]
    assert parts[2].endswith(root.read_bytes() + b"\r\n")
    assert b'name="rootfs"' in parts[2]
    assert parts[3] == b"--\r\n"


def test_an_upload_is_read_in_pieces(root: Path) -> None:
    assert max(len(piece) for piece in image_of(root).upload("edge")) < 2 * module.CHUNK
