"""The VMs of a lab's own libvirtd."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from lab.artifacts.box import BuiltBox
from lab.artifacts.prepare import box_of
from lab.background import start
from lab.errors import ConfigError, LabError
from lab.providers.base import Missing
from lab.providers.vagrant import plan
from lab.providers.vagrant.libvirt.daemon import PrivateLibvirtd
from lab.providers.vagrant.libvirt.kvm import EMULATOR, Kvm, probe
from lab.providers.vagrant.plan import Box
from lab.providers.vagrant.provider import VagrantProvider
from lab.providers.vagrant.virsh import Virsh
from lab.rights import again_as_root, sudo
from lab.topology import Topology

PLAIN_BOOT, PLAIN_UP = 900.0, 2400.0  # seconds
NAT = "THWLAB_NAT"  # 1: a first interface as VirtualBox's, with the same address on every VM
MORE = Path(__file__).with_name("private.rb")
NEEDED = (
    ("libvirtd", "libvirt-daemon-system"),
    ("virsh", "libvirt-clients"),
    (EMULATOR, "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("dnsmasq", "dnsmasq-base"),  # libvirt makes no network without these two, DHCP or not
    ("iptables", "iptables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("ssh-keygen", "openssh-client"),
)


def asks_nat(environ: Mapping[str, str]) -> bool:
    """Whether VMs shall have VirtualBox's first interface; `ConfigError` for what is neither yes nor no."""
    said = environ.get(NAT, "")
    if said not in ("", "0", "1"):
        raise ConfigError(NAT, [f"{said!r} is neither 1 nor 0"])
    return said == "1"


class PrivateLibvirt(Virsh):
    """VMs of a daemon that is started for this lab and ends with it."""

    def __init__(self, daemon: PrivateLibvirtd, log: Path | None = None) -> None:
        super().__init__(log, uri=daemon.uri, inside=daemon.inside, network=daemon.network)
        self.daemon = daemon
        self.box: BuiltBox | str | None = None
        self.kvm: Future[Kvm] | None = None

    def begin(self) -> None:
        """See `Hypervisor.begin`: the daemon, for VMs of the box that was prepared."""
        if self.daemon.is_running():
            return
        if self.box is None:
            raise LabError("libvirtd of this lab does not run", remedy="thwlab up")
        self.daemon.start_with(self.box, self.kvm.result() if self.kvm else None)

    def is_there(self) -> bool:
        """See `Hypervisor.is_there`."""
        return self.daemon.is_running()

    def insist_answers(self) -> None:
        """See `Hypervisor.insist_answers`; that a daemon was started its folder tells."""
        if self.daemon.directory.exists():
            self.daemon.insist_answers()

    def console(self, machine: str) -> Path | None:
        """See `Hypervisor.console`; as `private.rb` has the daemon write it."""
        return self.daemon.directory / "log/qemu" / f"console-{machine}.log"

    def inside(self, argv: Sequence[str]) -> list[str]:
        """See `Hypervisor.inside`; before there is such a network, this host's does for questions."""
        return super().inside(argv) if self.daemon.network.exists() else list(argv)

    def end(self) -> None:
        """See `Hypervisor.end`; a VM that is left ends with the daemon."""
        self.daemon.end()
        if self.daemon.directory.exists():
            shutil.rmtree(self.daemon.directory)


class PrivateLibvirtProvider(VagrantProvider):
    """Vagrant over a libvirtd of the lab's own; the box is built here, unless the user names another."""

    hypervisor: PrivateLibvirt

    def __init__(self, lab: str, state: Path) -> None:
        daemon = PrivateLibvirtd(lab, state / "libvirt")
        self._asks_nat = asks_nat(os.environ)
        daemon = replace(daemon, nat=daemon.has_nat if daemon.vms.exists() else self._asks_nat)
        hypervisor = PrivateLibvirt(daemon, state / "vagrant/vagrant.log")
        chosen = Box.chosen(os.environ)
        self._plain = daemon.plain if daemon.vms.exists() else chosen.name
        extra = {plan.MORE: str(MORE), "LAB_VMS": str(daemon.vms)}
        if not self._plain:
            super().__init__(lab, state, hypervisor, extra={**extra, "LAB_NAMED": "1"})
            return
        # A whole system behind a boot loader takes an emulated processor minutes to boot.
        extra[plan.BOOT_TIMEOUT] = f"{PLAIN_BOOT:.0f}"
        box = chosen if chosen.name == self._plain else Box(self._plain)
        super().__init__(lab, state, hypervisor, box=box, extra=extra, up_timeout=PLAIN_UP)

    @property
    def is_furnished(self) -> bool:
        """See `Provider.is_furnished`: the box that is built here has everything in it."""
        return not self._plain

    @property
    def ends_with_boot(self) -> bool:
        """See `Provider.ends_with_boot`: nobody starts the daemon again, nor makes its networks."""
        return True

    def preflight(self, topology: Topology) -> list[Missing]:
        """See `Provider.preflight`."""
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        missing = [
            Missing(f"{program}: not installed", sudo(f"apt-get install {package}"), (package,))
            for program, package in NEEDED
            if shutil.which(program, path=path) is None
        ]
        if os.geteuid() != 0:
            missing.append(Missing("a libvirtd of the lab's own needs root", again_as_root()))
        if self._asks_nat and self._plain:
            what = f"{NAT}: VMs of {self._plain} cannot be told of a first interface that is not Vagrant's"
            missing.append(Missing(what, f"unset THWLAB_BOX, or {NAT}"))
        elif self._asks_nat and not self.hypervisor.daemon.nat:
            what = f"{NAT}: the VMs of lab {self.lab} were made without"
            missing.append(Missing(what, f"thwlab --name {self.lab} down, or unset {NAT}"))
        return [*missing, *super().preflight(topology)]

    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        """See `Provider.prepare`: the box is built, and Vagrant told of it."""
        if not self.hypervisor.is_there():
            self.hypervisor.kvm = start(probe, "kvm")  # five seconds where it does not work
        if self._plain:
            self.hypervisor.box = self._plain
            super().prepare(topology, report)
            return
        box = box_of(topology, report)
        self.hypervisor.box = box
        told = Box(box.name, url=str(box.box))
        if not self.adapter.has_box(told):
            self.adapter.add_box(told)
