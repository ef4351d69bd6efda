"""libvirt, by virsh: the commands that were proven with five emulated VMs."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

from lab.providers.vagrant.hypervisor import (
    ACT,
    ASK,
    OFF,
    PAUSED,
    SNAPSHOT,
    STOPPED,
    Belonging,
    Hypervisor,
    Taken,
)
from lab.providers.vagrant.troubles import ProgramFailed

SYSTEM = "qemu:///system"
WORDS = {"shut off": STOPPED, "crashed": STOPPED, "pmsuspended": PAUSED}
ROW = re.compile(r"^\s*(?:\d+|-)\s+(\S+)\s+(\S.*?)\s*$", re.MULTILINE)
MAC = re.compile(r"\b((?:[0-9a-f]{2}:){5}[0-9a-f]{2})\s*$", re.MULTILINE)
ATTACHED = re.compile(rf"^\s*\S+\s+network\s+(\S.*?)\s+\S+\s+{MAC.pattern}", re.MULTILINE)
BRIDGE = re.compile(r"^Bridge:\s+(\S+)", re.MULTILINE)
SNAPSHOT_ROW = re.compile(r"^\s*(\S+)\s+(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4})\s+\S+", re.MULTILINE)
VOLUME = re.compile(r"^ (\S.*?) +/", re.MULTILINE)
# What vagrant-libvirt makes for all: storage_pool_name and management_network_name, as they are unsaid.
POOL, NETWORK = "default", "vagrant-libvirt"
DISK = "vda"  # the machine's own; others are shared and stay


class Virsh(Hypervisor):
    """VMs of one libvirtd."""

    name = "libvirt"
    parallel = True

    def __init__(
        self,
        log: Path | None = None,
        *,
        uri: str = SYSTEM,
        inside: Callable[[Sequence[str]], Sequence[str]] = list,
        network: Path | None = None,
    ) -> None:
        """``inside`` begins command lines in the network namespace ``network``, where libvirtd is."""
        super().__init__(log)
        self._uri = uri
        self._inside = inside
        self._network = network

    def states(self) -> Mapping[str, str]:
        """See `Hypervisor.states`; only if asked is a VM `saved` that `virsh managedsave` took off."""
        listed = self._virsh("list", "--all", "--managed-save")
        return {name: WORDS.get(word, word) for name, word in ROW.findall(listed)}

    def start(self, domain: str) -> None:
        """See `Hypervisor.start`; its networks before it."""
        self._have_networks(domain)
        self._virsh("start", domain, timeout=ACT)

    def cut(self, domain: str) -> None:
        """See `Hypervisor.cut`; the links are up again at the next start."""
        for mac in self._links(domain):
            self._virsh("domif-setlink", domain, mac, "down")
        self._virsh("destroy", domain, timeout=ACT)

    def is_unplugged(self, domain: str) -> bool:
        """See `Hypervisor.is_unplugged`."""
        return any("down" in self._virsh("domif-getlink", domain, mac) for mac in self._links(domain))

    def pause(self, domain: str) -> None:
        """See `Hypervisor.pause`."""
        self._virsh("suspend", domain)

    def resume(self, domain: str) -> None:
        """See `Hypervisor.resume`."""
        self._virsh("resume", domain)

    def snapshots(self, domain: str) -> list[Taken]:
        """See `Hypervisor.snapshots`."""
        found = SNAPSHOT_ROW.findall(self._virsh("snapshot-list", domain))
        return sorted((Taken(name, _utc(when)) for name, when in found), key=lambda each: each.at)

    def take(self, domain: str, name: str) -> None:
        """See `Hypervisor.take`."""
        self._virsh("snapshot-create-as", domain, name, timeout=SNAPSHOT)

    def revert(self, domain: str, name: str) -> None:
        """See `Hypervisor.revert`; its networks before it."""
        self._have_networks(domain)
        self._virsh("snapshot-revert", domain, name, "--paused", timeout=SNAPSHOT)

    def forget(self, domain: str, name: str) -> None:
        """See `Hypervisor.forget`."""
        self._virsh("snapshot-delete", domain, name, timeout=SNAPSHOT)

    def remove(self, domain: str) -> None:
        """See `Hypervisor.remove`."""
        if self.state(domain) not in OFF:
            self._destroy(domain)
        flags = ("--managed-save", "--snapshots-metadata", "--storage", DISK)
        self._virsh("undefine", domain, *flags, timeout=ACT)

    def disk_cache(self, domain: str) -> str:
        """See `Hypervisor.disk_cache`; `default` is whatever QEMU's is."""
        found = ElementTree.fromstring(self._virsh("dumpxml", domain))
        disks = {each.find("target"): each.find("driver") for each in found.iterfind("devices/disk")}
        own = [driver for target, driver in disks.items() if target is not None and target.get("dev") == DISK]
        return next((driver.get("cache", "default") for driver in own if driver is not None), "default")

    def bridges(self) -> Mapping[str, str]:
        """See `Hypervisor.bridges`."""
        told = {name: BRIDGE.search(self._virsh("net-info", name)) for name in self._names("net-list")}
        return {found[1]: name for name, found in told.items() if found}

    def belongings(self, prefix: str) -> list[Belonging]:
        """See `Hypervisor.belongings`: volumes of every pool that is active, and networks."""
        pools = self._names("pool-list")
        disks = [Belonging(name, pool) for pool in pools for name in VOLUME.findall(self._volumes(pool))]
        networks = [Belonging(name) for name in self._names("net-list", "--all")]
        return [each for each in (*disks, *networks) if each.name.startswith(prefix)]

    def remove_belonging(self, belonging: Belonging) -> None:
        """See `Hypervisor.remove_belonging`."""
        if belonging.is_disk:
            self._virsh("vol-delete", belonging.name, "--pool", belonging.place, timeout=ACT)
            return
        if belonging.name in self._names("net-list"):
            self._virsh("net-destroy", belonging.name, timeout=ACT)
        if belonging.name in self._names("net-list", "--all"):  # else it lasted while it ran
            self._virsh("net-undefine", belonging.name, timeout=ACT)

    def shared(self, box: str) -> list[str]:
        """See `Hypervisor.shared`; a network that was there and did not run goes back to that."""
        image = f"{box.replace('/', '-VAGRANTSLASH-')}_vagrant_box_image_"
        volumes = [f"volume {each.place}/{each.name}" for each in self.belongings(image) if each.is_disk]
        asked = {
            f"pool {POOL}": (POOL, "pool-list", "--all"),
            f"running {NETWORK}": (NETWORK, "net-list"),
            f"network {NETWORK}": (NETWORK, "net-list", "--all"),
        }
        there = [thing for thing, (name, *words) in asked.items() if name in self._names(*words)]
        return [*volumes, *there]

    def remove_shared(self, thing: str) -> bool:
        """See `Hypervisor.remove_shared`."""
        kind, _, name = thing.partition(" ")
        if kind == "volume":
            pool, _, volume = name.partition("/")
            return self._remove_volume(Belonging(volume, pool))
        if kind == "pool":
            return self._remove_pool(name)
        if f"network={name}" in self._of_domains():
            return False
        if kind == "running":
            self._virsh("net-destroy", name, timeout=ACT)
        else:
            self.remove_belonging(Belonging(name))
        return True

    def inside(self, argv: Sequence[str]) -> list[str]:
        """See `Hypervisor.inside`."""
        return list(self._inside(argv))

    @property
    def network(self) -> Path | None:
        """See `Hypervisor.network`."""
        return self._network

    def _have_networks(self, domain: str) -> None:
        """Vagrant makes them without autostart: after a boot of this host nobody else has them run again."""
        running = self._names("net-list")
        for name, _ in ATTACHED.findall(self._virsh("domiflist", domain)):
            if name not in running:
                self._start_network(name)

    def _start_network(self, name: str) -> None:
        try:
            self._virsh("net-start", name, timeout=ACT)
        except ProgramFailed:
            if name not in self._names("net-list"):  # else another machine that boots was first
                raise

    def _remove_volume(self, volume: Belonging) -> bool:
        path = self._virsh("vol-path", volume.name, "--pool", volume.place).strip()
        pools = self._names("pool-list")
        others = [(name, pool) for pool in pools for name in VOLUME.findall(self._volumes(pool))]
        others.remove((volume.name, volume.place))
        layers = (self._virsh("vol-dumpxml", name, "--pool", pool) for name, pool in others)
        if path in self._of_domains() or any(f"<path>{path}</path>" in each for each in layers):
            return False
        self.remove_belonging(volume)
        return True

    def _remove_pool(self, name: str) -> bool:
        active = name in self._names("pool-list")
        if f"pool={name}" in self._of_domains() or (active and VOLUME.findall(self._volumes(name))):
            return False
        if active:
            self._virsh("pool-destroy", name, timeout=ACT)
        if name in self._names("pool-list", "--all"):  # else it lasted while it was active
            self._virsh("pool-undefine", name, timeout=ACT)
        return True

    def _of_domains(self) -> str:
        """All that VMs are made of, those that run and as they will be started, without quotation marks."""
        names = self._names("list", "--all")
        told = (self._virsh("dumpxml", name, *how) for name in names for how in ((), ("--inactive",)))
        return re.sub("[\"']", "", "".join(told))

    def _names(self, *words: str) -> list[str]:
        return [line.strip() for line in self._virsh(*words, "--name").splitlines() if line.strip()]

    def _volumes(self, pool: str) -> str:
        return self._virsh("vol-list", pool)

    def _links(self, domain: str) -> list[str]:
        return MAC.findall(self._virsh("domiflist", domain))

    def _destroy(self, domain: str) -> None:
        try:
            self._virsh("destroy", domain, timeout=ACT)
        except ProgramFailed as error:
            if "is not running" not in error.said:
                raise

    def _virsh(self, *words: str, timeout: float = ASK) -> str:
        return self._say([*self._inside(["virsh", "-q", "-c", self._uri, *words])], timeout)

    def _environment(self) -> Mapping[str, str]:
        return {**os.environ, "LANG": "C", "LC_ALL": "C"}


def _utc(text: str) -> str:
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S %z").astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
