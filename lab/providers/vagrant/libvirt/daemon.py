"""libvirtd of one lab's own, in the lab's namespaces: whatever it starts ends with it."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab.artifacts.box import SHARED, BuiltBox
from lab.artifacts.building import run
from lab.errors import LabError
from lab.providers.base import Gone
from lab.providers.enclosed import EnclosedDaemon, members
from lab.providers.sockets import listens
from lab.providers.vagrant.libvirt.kvm import Kvm, probe
from lab.providers.vagrant.libvirt.settings import MADE, OWN, WRAPPER, Surroundings, environment
from lab.providers.vagrant.process import Call, carry_out
from lab.wait import NotYet

ARGV = ("libvirtd", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirt/libvirtd.pid")
START_TIMEOUT = 60.0  # it asks each emulator that it finds what it can do
ASK = 10.0
GUEST = re.compile(r"\0-name\0guest=([^,\0]+)")  # as libvirt starts a VM
RUNNING_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")


def running_socket() -> Path | None:
    """The socket of a libvirtd that runs already and may be used by this user, if there is one."""
    return next((path for path in map(Path, RUNNING_SOCKETS) if listens(path)), None)


@dataclass(frozen=True, slots=True)
class PrivateLibvirtd(EnclosedDaemon):
    """The daemon, everything of which lies in `directory` and runs in the lab's namespaces."""

    program: str = "libvirtd"
    nat: bool = False  # VMs get VirtualBox's first interface beside their own

    @property
    def socket(self) -> Path:
        """See `EnclosedDaemon.socket`."""
        return self.directory / "run/libvirt-sock"

    @property
    def uri(self) -> str:
        """How libvirt's clients on this host name it."""
        return f"qemu:///system?socket={quote(str(self.socket))}"

    @property
    def vms(self) -> Path:
        """What the Vagrantfile must know of this daemon's VMs."""
        return self.directory / "vms.json"

    @property
    def key(self) -> Path:
        """The lab's own SSH key; its other half is in `key.pub`."""
        return self.directory / "key"

    @property
    def plain(self) -> str:
        """The box of its VMs, where that is not one of ours; empty else, and where there is no daemon yet."""
        told = self._told_before()
        return str(told["box"]) if told.get("plain") else ""

    @property
    def box(self) -> str:
        """The folder's name in the cache of the box of its VMs, where that is one of ours; empty else."""
        told = self._told_before()
        return "" if told.get("plain") else str(told.get("box", "")).rpartition("/")[2]

    @property
    def has_nat(self) -> bool:
        """Whether the Vagrantfile was told of `nat`."""
        return bool(self._told_before().get("nat"))

    def start_with(self, box: BuiltBox | str, kvm: Kvm | None = None) -> None:
        """Have it running and answering; harmless when it is.  ``kvm`` is tried out if nobody did.

        `LabError` if it does not answer and VMs run, which would end with it.
        ``box`` is one that was built here, or the name of a plain one.
        """
        if self.is_running():
            return
        if guests := self.guests():
            raise self._hangs(guests)
        self.end()
        found = kvm or probe()
        folder = None if isinstance(box, str) else box.folder
        surroundings = Surroundings(self.directory, folder, found.works)
        self._write(surroundings, box, found)
        argv = ["sh", "-c", surroundings.script(ARGV)]
        self.enclose(argv, environment(os.environ), timeout=START_TIMEOUT)

    def insist_answers(self) -> None:
        """See `EnclosedDaemon.insist_answers`; while VMs run it is not gone, and the error is no `Gone`."""
        try:
            self.check_answers()
        except NotYet as error:
            if guests := self.guests():
                raise self._hangs(guests) from error
            what = f"no libvirtd answers at {self.socket} (its log: {self.log})"
            raise Gone(f"its daemon is dead: {what}") from error

    def guests(self) -> list[str]:
        """The VMs whose programs run in the lab's network, also where the daemon says nothing of them."""
        found = map(GUEST.search, map(_command_line, members(self.network)))
        return sorted(match[1] for match in found if match)

    def _hangs(self, guests: Sequence[str]) -> LabError:
        what = f"its libvirtd does not answer at {self.socket} (its log: {self.log})"
        return LabError(
            f"{what}, and {', '.join(guests)} run",
            remedy="once more when this host has less to do; `thwlab down` ends it and removes them",
        )

    def _write(self, surroundings: Surroundings, box: BuiltBox | str, kvm: Kvm) -> None:
        """Folders, configuration, a key, and what the Vagrantfile reads."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (*OWN, *MADE):
            (self.directory / name).mkdir(exist_ok=True)
        for path, text in surroundings.files().items():
            path.write_text(text)
            path.chmod(0o755)
        self._have_key()
        part = self.vms.with_suffix(".part")
        part.write_text(json.dumps(self._told(box, kvm), indent=1))
        part.replace(self.vms)

    def _have_key(self) -> None:
        """Also its other half, which may be lost by itself: ssh-keygen writes one after the other."""
        public = self.key.with_suffix(".pub")
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", self.lab, "-f", str(self.key))
        elif not public.exists():
            public.write_text(run("ssh-keygen", "-y", "-f", str(self.key)))

    def _told_before(self) -> dict[str, object]:
        try:
            told: dict[str, object] = json.loads(self.vms.read_text())
        except (FileNotFoundError, ValueError):  # it is written as a whole, but a full disk may cut it
            return {}
        return told

    def _told(self, box: BuiltBox | str, kvm: Kvm) -> dict[str, object]:
        always = {"uri": self.uri, "emulator": None if kvm.works else WRAPPER, "kvm": kvm.why}
        if isinstance(box, str):
            return {**always, "box": box, "plain": True}
        return {
            **always,
            "box": box.name,
            "plain": False,
            "nat": self.nat,
            "kernel": f"{SHARED}/{box.kernel.name}",
            "initrd": f"{SHARED}/{box.initrd.name}",
            "key": str(self.key),
            "authorized": self.key.with_suffix(".pub").read_text().strip(),
        }

    def check_answers(self) -> None:
        """See `EnclosedDaemon.check_answers`."""
        if not self.socket.is_socket():
            raise NotYet(self.last_words())
        ended = carry_out(Call(["virsh", "-q", "-c", self.uri, "version", "--daemon"], ASK))
        if ended.status != 0:
            raise NotYet(ended.tail or self.last_words())


def _command_line(pid: int) -> str:
    """A process' arguments, each with a zero byte after it; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
