"""A box for VirtualBox with nothing in it, as Vagrant takes it."""

import io
import json
import tarfile
from pathlib import Path

NAME = "lab/tiny"
OVF = """\
<?xml version="1.0"?>
<Envelope ovf:version="1.0" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
          xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References><File ovf:id="file1" ovf:href="box-disk001.vmdk"/></References>
  <VirtualSystem ovf:id="tiny"><Info>nothing to boot</Info></VirtualSystem>
</Envelope>
"""
FILES = {
    "metadata.json": json.dumps({"provider": "virtualbox"}),
    "box.ovf": OVF,
    "box-disk001.vmdk": "# Disk DescriptorFile\n",
}


def build(path: Path) -> Path:
    """Write the box; the path is its own."""
    with tarfile.open(path, "w:gz") as box:
        for name, text in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            box.addfile(entry, io.BytesIO(text.encode()))
    return path
