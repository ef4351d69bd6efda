"""A host with a Vagrant that is real, a VirtualBox that is not, and guests behind a real sshd."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import tiny_box
from fake_virtualbox import new_vm
from fake_vms import World
from sshd import Server, needs_sshd, serving
from stand_in import on_path
from switchboard import wired
from vbox_service import serving_calls

from lab.plan import load_topology
from lab.providers.vagrant.plan import Box, vagrantfile
from lab.providers.vagrant.provider import VagrantProvider
from lab.providers.vagrant.virtualbox import VirtualBox
from lab.topology import Topology

VAGRANT = shutil.which("vagrant")
needs_vagrant = pytest.mark.skipif(VAGRANT is None, reason="Vagrant is not installed")
NEEDS = [needs_vagrant, needs_sshd]
NETWORK = IPv4Network("192.168.58.0/24")  # VirtualBox allows it without a file of root's
SYSTEM = ("/usr/bin", "/bin", "/usr/sbin")
VMS = "VirtualBox VMs"
PORTS = 20  # forwarded ones, of this host
MASTER = "tiny_1785578400000_12345"  # the box as a VM, of which all others are linked clones
MORE = """\
Vagrant.configure("2") do |config|
  config.ssh.username = "{user}"
  config.ssh.insert_key = {insert_key}
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


def plan(*names: str) -> Topology:
    """The default plan in a network that VirtualBox allows, with these of its machines or all."""
    default = load_topology()
    networks = replace(default.networks, nodes=NETWORK)
    nodes = [node for node in default.nodes if not names or node.name in names]
    moved = [replace(node, address=NETWORK[int(node.address) % 256]) for node in nodes]
    return replace(default, networks=networks, nodes=tuple(moved))


@dataclass
class Host:
    """What a test needs of it."""

    folder: Path
    world: World
    server: Server
    more: Path
    box: Path
    plainly: bool

    @property
    def guests(self) -> Path:
        return self.server.folder

    @property
    def bin(self) -> Path:
        """Where VBoxManage is, and nothing else."""
        return self.folder / "bin"

    @property
    def vms(self) -> Path:
        """VirtualBox' folder of VMs."""
        return self.folder / VMS

    @property
    def extra(self) -> Mapping[str, str]:
        """Variables for the Vagrantfile."""
        named = {} if self.plainly else {"LAB_NAMED": "1"}
        return {"LAB_VAGRANTFILE_MORE": str(self.more), **named}

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


def provider(host: Host, *, boot_timeout: int = 60) -> VagrantProvider:
    """As each new process makes one."""
    state = host.folder / "my lab's ä" / "thw"
    asked = VirtualBox(state / "vagrant" / "vagrant.log")
    extra = {**host.extra, "LAB_BOOT_TIMEOUT": str(boot_timeout)}
    return VagrantProvider("thw", state, asked, box=host.chosen, extra=extra, up_timeout=300)


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


def used_home(folder: Path) -> Path:
    """What Vagrant keeps of a user who has the box and has used it: its master VM is there."""
    home = folder / "home"
    box = tiny_box.build(folder / "tiny.box")
    added = subprocess.run(
        [str(VAGRANT), "box", "add", "--name", tiny_box.NAME, str(box)],
        env={**os.environ, "VAGRANT_HOME": str(home), "VAGRANT_CHECKPOINT_DISABLE": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert added.returncode == 0, f"vagrant box add: {added.stdout}{added.stderr}"
    installed = next(home.glob("boxes/*/*/virtualbox"))
    (installed / "master_id").write_text(master()["uuid"])
    return home


def master() -> dict[str, Any]:
    """The box's master VM, with the snapshot that clones begin at."""
    base = {"base": {"at": "", "state": "poweroff", "boots": 0}}
    made = {**new_vm("poweroff"), "uuid": "786f6276-656e-4074-8000-00000000beef", "snapshots": base}
    return {**made, "nics": {"1": "nat"}, "cables": {"1": "on"}}


@contextmanager
def pretended(folder: Path, home: Path | None, *, plainly: bool = False) -> Iterator[Host]:
    """``home`` is what Vagrant keeps of a user's, copied; None is a user who never had a VM.

    The lab's own folder has blanks and more in its name; programs are not installed in such folders.

    ``plainly`` is what a user of Vagrant alone has: it gives each machine a key, its name and its address.
    """
    with pytest.MonkeyPatch.context() as patch:
        folder.mkdir(parents=True, exist_ok=True)
        vms = {} if home is None else {MASTER: master()}
        world = World(folder / "world").install(folder=str(folder / VMS), networks={}, vms=vms)
        programs = folder / "bin"
        if home:
            shutil.copytree(home, folder / "vagrant home")
        patch.setenv("PATH", on_path(programs, [str(Path(str(VAGRANT)).parent), *SYSTEM]))
        patch.setenv("VAGRANT_HOME", str(folder / "vagrant home"))
        with serving_calls(world, programs), _answering(folder, world, plainly) as host:
            yield host


@contextmanager
def _answering(folder: Path, world: World, plainly: bool) -> Iterator[Host]:
    first = first_free(PORTS)
    more = folder / "more.rb"
    words = {"user": getpass.getuser(), "first": first, "last": first + PORTS - 1}
    more.write_text(MORE.format(insert_key=str(plainly).lower(), **words))
    # Nothing of it may lie in a folder with a blank: sshd gives the line to a shell, and has no quotes.
    with tempfile.TemporaryDirectory(prefix="guests") as short:
        guests = Path(short)
        guest = guests / "guest"
        here = str(Path(__file__).parent)
        guest.write_text(GUEST.format(python=sys.executable, here=here, folder=short))
        guest.chmod(0o755)
        # Vagrant's Ruby knows no newer kind of host key without more libraries.
        with serving(guests, kind="ecdsa", more=f"ForceCommand {guest}") as server:
            with (guests / "user.pub").open("a") as keys:
                keys.writelines(vagrants_keys())
            with wired(world, guests, server.port):
                yield Host(folder, world, server, more, tiny_box.build(folder / "tiny.box"), plainly)


def vagrants_keys() -> Iterator[str]:
    """The public key that every box lets in at first."""
    for root in Path("/usr/share/rubygems-integration").glob("*/gems/vagrant-*/keys/vagrant.pub"):
        yield root.read_text().strip() + "\n"
