"""VirtualBox, by VBoxManage and VBoxHeadless.

The commands and the shape of their answers are those of Vagrant's own driver
(plugins/providers/virtualbox/driver/version_5_0.rb of 2.3.4, which 6.x and 7.x inherit), of `VBoxManage
controlvm`'s usage (pause, resume, poweroff, setlinkstate<1-N> on|off: quoted in
https://github.com/docker-archive-public/docker.machine/issues/1576) and of VBoxHeadless(1), 7.0
(--start-paused: https://manpages.ubuntu.com/manpages/plucky/man1/VBoxHeadless.1.html).  Host-only networks
are those of Vagrant's driver/version_7_0.rb.
None of it was run against a real VirtualBox here: its tests have a stand-in.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Interface
from typing import IO

from lab.errors import LabError
from lab.providers.vagrant.hypervisor import (
    ACT,
    PAUSED,
    RUNNING,
    SAVED,
    SNAPSHOT,
    STOPPED,
    Hypervisor,
    Taken,
)
from lab.providers.vagrant.troubles import ProgramFailed
from lab.wait import NotYet, wait_until

MANAGE, HEADLESS = "VBoxManage", "VBoxHeadless"
# https://www.virtualbox.org/sdkref, MachineState, in the words that showvminfo prints
WORDS = {"poweroff": STOPPED, "aborted": STOPPED, "aborted-saved": SAVED, "saved": SAVED}
ACTIVE = (RUNNING, PAUSED, "stuck", "starting", "restoring", "saving")
LISTED = re.compile(r'^"(.+)" \{([0-9a-f-]+)\}$', re.MULTILINE)
# https://github.com/hashicorp/vagrant/issues/8104, https://github.com/hashicorp/packer/issues/184
LOCKED = re.compile(r"VBOX_E_INVALID_OBJECT_STATE|is already locked|while it is locked")
FIELD = re.compile(r"^(\w+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
SETTING = re.compile(r'^"?([^"=]+)"?="?(.*?)"?$', re.MULTILINE)


class VirtualBox(Hypervisor):
    """VMs of this user's VirtualBox.  Vagrant brings them up one after the other, as it always does."""

    name = "virtualbox"
    parallel = False

    def states(self) -> Mapping[str, str]:
        """See `Hypervisor.states`."""
        return {name: state for name, _ in self._listed() if (state := self._read_state(name)) is not None}

    def state(self, domain: str) -> str | None:
        """See `Hypervisor.state`; without a question for each VM of whoever."""
        return self._read_state(domain)

    def start(self, domain: str) -> None:
        """See `Hypervisor.start`; a cut that was interrupted may have left the cables out."""
        if self._read_state(domain) == STOPPED:
            self._plug_in(domain)
        self._say_once_free(domain, "startvm", domain, "--type", "headless")

    def cut(self, domain: str) -> None:
        """See `Hypervisor.cut`; the cables are in again at the next start."""
        for number in self._cables(domain):
            self._control(domain, f"setlinkstate{number}", "off")
        self._control(domain, "poweroff")
        self._await(domain, STOPPED)
        self._plug_in(domain)

    def is_unplugged(self, domain: str) -> bool:
        """See `Hypervisor.is_unplugged`."""
        return bool(self._cables(domain, "off"))

    def pause(self, domain: str) -> None:
        """See `Hypervisor.pause`."""
        self._control(domain, "pause")

    def resume(self, domain: str) -> None:
        """See `Hypervisor.resume`."""
        self._control(domain, "resume")

    def snapshots(self, domain: str) -> list[Taken]:
        """See `Hypervisor.snapshots`; the time is in the description, for the listing has none."""
        try:
            said = self._say([MANAGE, "snapshot", domain, "list", "--machinereadable"])
        except ProgramFailed as error:
            if "does not have any snapshots" in error.said or "no snapshots" in error.said.lower():
                return []
            raise
        settings = SETTING.findall(said)
        names = {key.removeprefix("SnapshotName"): text for key, text in settings if _is(key, "SnapshotName")}
        times = {
            key.removeprefix("SnapshotDescription"): text
            for key, text in settings
            if _is(key, "SnapshotDescription")
        }
        taken = [Taken(name, times.get(place, "")) for place, name in names.items()]
        return sorted(taken, key=lambda each: each.at)

    def take(self, domain: str, name: str) -> None:
        """See `Hypervisor.take`."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._say([MANAGE, "snapshot", domain, "take", name, "--description", now], SNAPSHOT)

    def revert(self, domain: str, name: str) -> None:
        """See `Hypervisor.revert`: only what is off can go back, and comes back as `saved`."""
        if self.state(domain) in ACTIVE:
            self._control(domain, "poweroff")
            self._await(domain, STOPPED)
        self._say_once_free(domain, "snapshot", domain, "restore", name, timeout=SNAPSHOT)
        self._start_paused(domain)

    def forget(self, domain: str, name: str) -> None:
        """See `Hypervisor.forget`."""
        self._say_once_free(domain, "snapshot", domain, "delete", name, timeout=SNAPSHOT)

    def remove(self, domain: str) -> None:
        """See `Hypervisor.remove`."""
        state = self.state(domain)
        if state in ACTIVE:
            self._control(domain, "poweroff")
            self._await(domain, STOPPED)
        elif state == SAVED:
            self._say_once_free(domain, "discardstate", domain)
        self._say_once_free(domain, "unregistervm", domain, "--delete", timeout=SNAPSHOT)

    def networks(self) -> Mapping[str, str]:
        """See `Hypervisor.networks`: host-only interfaces, and on macOS since 7.0 host-only networks."""
        return {**self._interfaces(), **self._nets()}

    def remove_network(self, name: str) -> None:
        """See `Hypervisor.remove_network`."""
        is_net = name in self._nets()
        kind = ("hostonlynet", "remove", "--name") if is_net else ("hostonlyif", "remove")
        self._say([MANAGE, *kind, name], ACT)

    def _interfaces(self) -> dict[str, str]:
        return {each["Name"]: each.get("IPAddress", "") for each in self._host_only("hostonlyifs")}

    def _nets(self) -> dict[str, str]:
        """A network says its range of addresses; this host has the lowest, as Vagrant reckons it too."""
        return {each["Name"]: _first_address(each) for each in self._host_only("hostonlynets")}

    def _host_only(self, kind: str) -> list[dict[str, str]]:
        """A listing's entries; each begins with its name.  Not every VirtualBox knows both kinds."""
        try:
            said = self._say([MANAGE, "list", kind])
        except ProgramFailed as error:
            if "Unknown subcommand" in error.said:
                return []
            raise
        return [dict(FIELD.findall(each)) for each in re.split(r"^(?=Name:)", said, flags=re.MULTILINE)[1:]]

    def version(self) -> str:
        """VirtualBox's version without its revision: 7.0.6."""
        match = re.search(r"^(\d+\.\d+\.\d+)", self._say([MANAGE, "--version"]), re.MULTILINE)
        if match is None:
            raise LabError("`VBoxManage --version` names no version", remedy="VBoxManage --version tells why")
        return match[1]

    def _control(self, domain: str, *words: str) -> None:
        self._say([MANAGE, "controlvm", domain, *words], ACT)

    def _say_once_free(self, domain: str, *words: str, timeout: float | None = None) -> None:
        """For a moment after its end a VM is still locked, by the session that goes."""

        def check() -> None:
            try:
                self._say([MANAGE, *words], timeout or ACT)
            except ProgramFailed as error:
                if LOCKED.search(error.said):
                    raise NotYet(error.said) from error
                raise

        wait_until(f"VirtualBox to let go of {domain}", check, timeout=ACT, every=0.2)

    def _listed(self) -> list[tuple[str, str]]:
        return LISTED.findall(self._say([MANAGE, "list", "vms"]))

    def _read_state(self, domain: str) -> str | None:
        """None for a VM that was removed since it was listed."""
        try:
            word = self._settings(domain).get("VMState", "unknown")
        except ProgramFailed as error:
            if "VBOX_E_OBJECT_NOT_FOUND" in error.said or "Could not find a registered machine" in error.said:
                return None
            raise
        return WORDS.get(word, word)

    def _settings(self, domain: str) -> dict[str, str]:
        return dict(SETTING.findall(self._say([MANAGE, "showvminfo", domain, "--machinereadable"])))

    def _cables(self, domain: str, state: str = "on") -> list[str]:
        """The numbers of its adapters whose cable is in, or out."""
        found = self._settings(domain)
        numbers = [
            key.removeprefix("nic") for key, value in found.items() if _is_adapter(key) and value != "none"
        ]
        return [number for number in numbers if found.get(f"cableconnected{number}", "on") == state]

    def _plug_in(self, domain: str) -> None:
        for number in self._cables(domain, "off"):
            self._say_once_free(domain, "modifyvm", domain, f"--cableconnected{number}", "on")

    def _await(self, domain: str, *wanted: str) -> None:
        def check() -> None:
            if (state := self._read_state(domain)) not in wanted:
                raise NotYet(f"it is {state}")

        wait_until(f"{domain} to be {' or '.join(wanted)}", check, timeout=ACT, every=0.2)

    def _start_paused(self, domain: str) -> None:
        """The process is the VM itself and lives on; `startvm` has no such start."""
        argv = [HEADLESS, "--startvm", domain, "--start-paused", "--vrde", "off"]
        with tempfile.TemporaryFile() as words:
            process = self._begin(argv, words)

            def check() -> None:
                nonlocal process
                status = process.poll()  # before the state, which may change in between
                if (state := self._read_state(domain)) == PAUSED:
                    return
                if status is None:
                    raise NotYet(f"it is {state}")
                said = _all_of(words)
                if not LOCKED.search(said):
                    raise LabError(f"`{' '.join(argv)}` exited {status}; {domain} is {state}: {said}")
                process = self._begin(argv, words)
                raise NotYet(said)

            wait_until(f"{domain} to be back, paused", check, timeout=SNAPSHOT, every=0.2)

    def _begin(self, argv: Sequence[str], words: IO[bytes]) -> "subprocess.Popen[bytes]":
        words.truncate(0)
        words.seek(0)
        try:
            return subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=words,
                env=self._environment(),
                start_new_session=True,
            )
        except OSError as error:
            raise LabError(f"`{' '.join(argv)}` cannot be run: {error.strerror}") from error

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "LANG": "C", "LC_ALL": "C"}


def _first_address(net: Mapping[str, str]) -> str:
    """The lowest of a host-only network's range; of one that begins with the network's own, the next."""
    try:
        lowest = IPv4Interface(f"{net.get('LowerIP')}/{net.get('NetworkMask')}")
    except ValueError:
        return ""
    return str(lowest.ip + 1 if lowest.ip == lowest.network.network_address else lowest.ip)


def _is_adapter(key: str) -> bool:
    return re.fullmatch(r"nic\d+", key) is not None


def _all_of(words: IO[bytes]) -> str:
    words.seek(0)
    return words.read().decode(errors="replace").strip()[-1000:]


def _is(key: str, kind: str) -> bool:
    return re.fullmatch(rf"{kind}(-\d+)*", key) is not None
