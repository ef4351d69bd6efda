"""libvirtd of one lab's own, in the lab's namespaces: whatever it starts ends with it."""

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from lab.artifacts.box import SHARED, BuiltBox
from lab.artifacts.building import run
from lab.errors import LabError
from lab.providers.base import Gone
from lab.providers.incus import enclosure
from lab.providers.incus.daemon import PrivateDaemon, members
from lab.providers.vagrant.libvirt.kvm import Kvm, probe
from lab.providers.vagrant.libvirt.settings import OWN, WRAPPER, Surroundings, environment
from lab.providers.vagrant.process import Call, carry_out
from lab.wait import NotYet, wait_until

ARGV = ("libvirtd", "--config", "/etc/libvirt/libvirtd.conf", "--pid-file", "/run/libvirt/libvirtd.pid")
START_TIMEOUT = 60.0  # it asks each emulator that it finds what it can do
ASK = 10.0


@dataclass(frozen=True, slots=True)
class PrivateLibvirtd(PrivateDaemon):
    """The daemon, everything of which lies in `directory` and runs in the lab's namespaces."""

    program: str = "libvirtd"

    @property
    def socket(self) -> Path:
        """Where it listens, as this host sees it."""
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

    def start_with(self, box: BuiltBox, kvm: Kvm | None = None) -> None:
        """Have it running and answering; harmless when it is.  ``kvm`` is tried out if nobody did."""
        if self.is_running():
            return
        self.end()
        found = kvm or probe()
        surroundings = Surroundings(self.directory, box.folder, found.works)
        self._write(surroundings, box, found)
        run("ip", "netns", "add", self.network.name, timeout=30)
        run("ip", "-n", self.network.name, "link", "set", "lo", "up", timeout=30)
        inside = ["sh", "-c", surroundings.script(ARGV)]
        starter = [sys.executable, "-I", enclosure.__file__, self.tag, str(self._log), "--", *inside]
        run(*starter, timeout=30, env=environment(os.environ))
        wait_until("libvirtd to answer", self._check_starting, timeout=START_TIMEOUT, every=0.1)

    def insist_answers(self) -> None:
        """Raise `Gone` unless it answers."""
        try:
            self._check_answers()
        except NotYet as error:
            raise Gone(f"its libvirtd does not answer at {self.socket} (its log: {self._log})") from error

    def _write(self, surroundings: Surroundings, box: BuiltBox, kvm: Kvm) -> None:
        """Folders, configuration, a key, and what the Vagrantfile reads."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in OWN:
            (self.directory / name).mkdir(exist_ok=True)
        for path, text in surroundings.files().items():
            path.write_text(text)
            path.chmod(0o755)
        if not self.key.exists():
            run("ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", self.lab, "-f", str(self.key))
        self.vms.write_text(json.dumps(self._told(box, kvm), indent=1))

    def _told(self, box: BuiltBox, kvm: Kvm) -> dict[str, object]:
        return {
            "uri": self.uri,
            "box": box.name,
            "kernel": f"{SHARED}/{box.kernel.name}",
            "initrd": f"{SHARED}/{box.initrd.name}",
            "key": str(self.key),
            "authorized": self.key.with_suffix(".pub").read_text().strip(),
            "emulator": None if kvm.works else WRAPPER,
            "kvm": kvm.why,
        }

    def _check_starting(self) -> None:
        if not any(members(self.network)):
            raise LabError(f"libvirtd ended at once; its last words: {self._last_words()}")
        self._check_answers()

    def _check_answers(self) -> None:
        if not self.socket.is_socket():
            raise NotYet(self._last_words())
        ended = carry_out(Call(["virsh", "-q", "-c", self.uri, "version", "--daemon"], ASK))
        if ended.status != 0:
            raise NotYet(ended.tail or self._last_words())

    def _last_words(self) -> str:
        try:
            return self._log.read_text(errors="replace")[-600:].strip() or "its log is empty"
        except FileNotFoundError:
            return "it has no log yet"
