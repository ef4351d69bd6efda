"""A host with a Vagrant that is real, a VirtualBox that is not, and guests behind a real sshd."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tiny_box
from fake_vms import World
from sshd import Server, needs_sshd, serving
from stand_in import on_path
from switchboard import wired

from lab.providers.vagrant.plan import Box, vagrantfile

VAGRANT = shutil.which("vagrant")
needs_vagrant = pytest.mark.skipif(VAGRANT is None, reason="Vagrant is not installed")
needs_all = (needs_vagrant, needs_sshd)
NETWORK = "192.168.58.0/24"  # VirtualBox allows it without a file of root's
PORTS = 20  # forwarded ones, of this host
MORE = """\
Vagrant.configure("2") do |config|
  config.ssh.username = "{user}"
  config.vm.usable_port_range = ({first}..{last})
  config.vm.network "forwarded_port", guest: 22, host: {first}, host_ip: "127.0.0.1", id: "ssh",
                    auto_correct: true
end
"""
GUEST = """\
#!{python} -IS
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import fake_guest
sys.exit(fake_guest.main(Path({folder!r})))
"""


@dataclass
class Host:
    """What a test needs of it."""

    folder: Path
    world: World
    server: Server
    more: Path
    box: Path

    @property
    def guests(self) -> Path:
        return self.server.folder

    @property
    def vms(self) -> Path:
        """VirtualBox' folder of VMs."""
        return self.folder / "VirtualBox VMs"

    @property
    def extra(self) -> Mapping[str, str]:
        """Variables for the Vagrantfile."""
        return {"LAB_VAGRANTFILE_MORE": str(self.more)}

    @property
    def chosen(self) -> Box:
        return Box(tiny_box.NAME, url=self.box.as_uri())

    def asked(self, vm: str) -> str:
        """All that was asked of a guest by SSH, by Vagrant or by the lab."""
        log = self.guests / vm / "asked"
        return log.read_text() if log.exists() else ""

    def vagrant(self, *argv: str, **env: str) -> "subprocess.CompletedProcess[str]":
        """As a user types it, without the harness."""
        ours = {
            "VAGRANT_CWD": str(vagrantfile().parent),
            "VAGRANT_DOTFILE_PATH": str(self.folder / "by hand"),
            "VAGRANT_DEFAULT_PROVIDER": "virtualbox",
            **self.chosen.environment(),
            **self.extra,
        }
        return subprocess.run(
            [str(VAGRANT), *argv],
            env={**os.environ, **ours, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def first_free(count: int) -> int:
    """The first of so many ports in a row that nobody has."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            first = probe.getsockname()[1]
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except (OSError, OverflowError):
            continue
        return int(first)


@contextmanager
def pretended(folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch, **facts: Any) -> Iterator[Host]:
    """``home`` is what Vagrant keeps of a user's; it is copied, for what is written there is the test's."""
    world = World(folder / "world").install(folder=str(folder / "VirtualBox VMs"), networks={}, **facts)
    for name in ("vagrant", "virsh"):
        (world.bin / name).unlink()
    shutil.copytree(home, folder / "vagrant home")
    monkeypatch.setenv(
        "PATH", on_path(world.bin, [str(Path(str(VAGRANT)).parent), "/usr/bin", "/bin", "/usr/sbin"])
    )
    monkeypatch.setenv("VAGRANT_HOME", str(folder / "vagrant home"))
    first = first_free(PORTS)
    more = folder / "more.rb"
    more.write_text(MORE.format(user=getpass.getuser(), first=first, last=first + PORTS - 1))
    guests = folder / "guests"
    guest = guests / "guest"
    guests.mkdir()
    guest.write_text(GUEST.format(python=sys.executable, here=str(Path(__file__).parent), folder=str(guests)))
    guest.chmod(0o755)
    # Vagrant's Ruby knows no newer kind of host key without more libraries.
    with serving(guests, kind="ecdsa", more=f'ForceCommand "{guest}"') as server:
        for key in vagrants_keys():
            with (guests / "user.pub").open("a") as keys:
                keys.write(key)
        with wired(world, guests, server.port):
            yield Host(folder, world, server, more, folder / "tiny.box")


def vagrants_keys() -> Iterator[str]:
    """The public key that every box lets in at first."""
    for root in Path("/usr/share/rubygems-integration").glob("*/gems/vagrant-*/keys/vagrant.pub"):
        yield root.read_text().strip() + "\n"
