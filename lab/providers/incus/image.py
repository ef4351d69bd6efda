"""A root file system, or the disk of a VM, as an image that Incus and LXD can import."""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

METADATA = """\
architecture: {architecture}
creation_date: 1
properties: {{os: debian, description: thwlab}}
templates:
  /etc/systemd/network/10-eth0.network: {{when: [create, copy, start], template: network.tpl}}
  /etc/hostname: {{when: [create, copy], template: hostname.tpl}}
"""
TEMPLATES = {
    "network.tpl": '{{ config_get("user.thwlab.network", "") }}\n',
    "hostname.tpl": "{{ instance.name }}\n",
}
CHUNK = 1 << 20
# By the name of the second part the daemons tell what an image is for.
PARTS = {".squashfs": "rootfs", ".qcow2": "rootfs.img"}


@dataclass(frozen=True, slots=True)
class Image:
    """Metadata and root, in the split form both daemons take."""

    metadata: bytes
    root: Path
    fingerprint: str

    def upload(self, boundary: str) -> Iterator[bytes]:
        """The body of a multipart request that imports it."""
        yield _part(boundary, "metadata", "metadata.tar") + self.metadata
        yield b"\r\n" + self._second(boundary)
        with self.root.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield f"\r\n--{boundary}--\r\n".encode()

    def upload_size(self, boundary: str) -> int:
        """How many bytes `upload` yields."""
        framing = _part(boundary, "metadata", "metadata.tar") + self._second(boundary)
        ends = len(f"\r\n--{boundary}--\r\n") + 2
        return len(framing) + ends + len(self.metadata) + self.root.stat().st_size

    def _second(self, boundary: str) -> bytes:
        return _part(boundary, PARTS[self.root.suffix], self.root.name)


def image_of(root: Path) -> Image:
    """The image of a root; its fingerprint, the daemons' own, is kept beside the root."""
    metadata = _metadata_tar()
    record = root.with_suffix(".fingerprint")
    stamp = f"{root.stat().st_mtime_ns} {hashlib.sha256(metadata).hexdigest()}"
    known = record.read_text().split("\n") if record.exists() else []
    if len(known) != 2 or known[0] != stamp:
        known = [stamp, _fingerprint(metadata, root)]
        record.write_text("\n".join(known))
    return Image(metadata, root, known[1])


def _fingerprint(metadata: bytes, root: Path) -> str:
    digest = hashlib.sha256(metadata)
    with root.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _metadata_tar() -> bytes:
    files = {"metadata.yaml": METADATA.format(architecture=os.uname().machine)}
    files |= {f"templates/{name}": text for name, text in TEMPLATES.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def _part(boundary: str, name: str, filename: str) -> bytes:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    ).encode()
