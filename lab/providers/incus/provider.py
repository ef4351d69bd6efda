"""The provider `incus`: system containers or virtual machines of an Incus or LXD daemon."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.machine import Machine, Platform, Substrate, on_each
from lab.providers.base import Capability, Missing, Provider
from lab.providers.incus import forward
from lab.providers.incus.api import Api, Upload, ignoring
from lab.providers.incus.daemon import PROGRAMS, PrivateDaemon, installed_program, running_socket
from lab.providers.incus.image import Image
from lab.providers.incus.machine import IncusMachine
from lab.topology import Node, Topology

POOL_SIZE = "40GiB"  # a sparse file; a five-machine lab fills about 2 GiB of it
MIB = 1024 * 1024
CONTAINER_CONFIG = {
    "security.privileged": "true",
    "security.nesting": "true",
}
RAW_LXC = ("lxc.cap.drop=", "lxc.mount.auto=proc:rw sys:rw cgroup:rw")
RAW_LXC_V1 = ("lxc.cgroup.devices.allow=a",)
RAW_LXC_V2 = ("lxc.cgroup2.devices.allow=a",)


class IncusProvider(Provider):
    """Machines as instances in a project of the lab's own.

    With a private daemon the lab has a network namespace of its own; with the running daemon its
    bridge is on this host.
    """

    name = "incus"

    def __init__(self, lab: str, state: Path, *, image: Image | None, daemon: str = "auto") -> None:
        """`daemon`: auto (the running one, else private), running, private, or a program's name."""
        self.lab = lab
        self.state = state
        self._image = image
        self._wanted = daemon

    # -- the daemon ----------------------------------------------------------------------------

    @cached_property
    def private(self) -> PrivateDaemon | None:
        """The lab's own daemon, or None where the running one is used."""
        directory = self.state / "incus"
        ours = directory.exists() or PrivateDaemon(self.lab, directory, "").is_there()
        if self._wanted in ("auto", "running") and not ours and running_socket():
            return None
        if self._wanted == "running":
            raise LabError(
                "no running Incus or LXD daemon answers to this user",
                remedy="systemctl start incus, or --lab-provider=incus:private as root",
            )
        program = self._wanted if self._wanted in ("incusd", "lxd") else installed_program()
        if program is None and not ours:
            raise LabError("neither incusd nor lxd is installed", remedy="thwlab doctor --fix")
        return PrivateDaemon(self.lab, directory, program or PROGRAMS[0])

    @cached_property
    def api(self) -> Api:
        """The daemon's API in the lab's project; starts nothing."""
        socket = self.private.socket if self.private else running_socket()
        if socket is None:
            raise LabError("no Incus or LXD daemon answers", remedy="thwlab doctor")
        return Api(socket, self.project)

    @property
    def project(self) -> str:
        """The project all of the lab's instances live in."""
        return f"thwlab-{self.lab}"

    @property
    def bridge(self) -> str:
        """The lab network's bridge, unique on a host that has several and short enough for the kernel."""
        return "thwbr0" if self.private else "thw" + hashlib.sha256(self.lab.encode()).hexdigest()[:8]

    # -- the contract ----------------------------------------------------------------------------

    def preflight(self, topology: Topology) -> list[Missing]:
        """See `Provider.preflight`."""
        missing = []
        if installed_program() is None and running_socket() is None:
            missing.append(Missing("no Incus or LXD", "apt-get install lxd", ("lxd", "lxd-client")))
        if running_socket() is None and os.geteuid() != 0:
            missing.append(Missing("no running daemon, and a private one needs root", "sudo -E thwlab up"))
        for program, package in (
            ("ip", "iproute2"),
            ("nsenter", "util-linux"),
            ("mkfs.btrfs", "btrfs-progs"),
        ):
            if shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
                missing.append(Missing(f"no {program}", f"apt-get install {package}", (package,)))
        return missing

    def create(self, topology: Topology, names: Sequence[str]) -> None:
        """See `Provider.create`."""
        self._ground(topology)
        there = {i["name"]: i["status"] for i in self.api.get("/1.0/instances", query_recursion=1)}
        nodes = [topology.node(name) for name in names]
        with ThreadPoolExecutor(max_workers=max(1, len(nodes))) as pool:
            list(pool.map(partial(self._create_one, topology, there), nodes))
        on_each([self._machine(node) for node in nodes], IncusMachine.await_boot)  # type: ignore[arg-type]

    def attach(self, topology: Topology) -> Mapping[str, Machine]:
        """See `Provider.attach`."""
        if self.private and not self.private.is_running():
            return {}
        if not self.api.exists(f"/1.0/projects/{self.project}"):
            return {}
        there = {i["name"] for i in self.api.get("/1.0/instances", query_recursion=1)}
        return {node.name: self._machine(node) for node in topology.nodes if node.name in there}

    def is_there(self) -> bool:
        """See `Provider.is_there`."""
        if self.private:
            return self.private.is_there()
        return running_socket() is not None and self.api.exists(f"/1.0/projects/{self.project}")

    def destroy(self) -> None:
        """See `Provider.destroy`."""
        if self.private:
            self.private.end()
            if self.private.directory.exists():
                shutil.rmtree(self.private.directory)
            return
        if self.api.exists(f"/1.0/projects/{self.project}"):
            self._empty_project()
        ignoring(404, partial(self.api.do, "DELETE", f"/1.0/networks/{self.bridge}", query_project="default"))

    def snapshot(self, name: str) -> None:
        """See `Provider.snapshot`."""
        machines = self._all()
        on_each(machines, Machine.pause)
        try:
            on_each(machines, lambda m: self._snapshot_one(m.name, name))
        finally:
            on_each(machines, Machine.resume)

    def restore(self, name: str) -> None:
        """See `Provider.restore`."""
        machines = self._all()
        on_each(machines, lambda m: m.resume())
        on_each(
            machines, lambda m: self.api.do("PUT", f"/1.0/instances/{m.name}", {"restore": name}, timeout=120)
        )
        on_each(machines, Machine.boot)

    def host_argv(self, argv: Sequence[str]) -> list[str]:
        """See `Provider.host_argv`."""
        return self.private.inside(argv) if self.private else list(argv)

    def reach(self, machine: str, port: int) -> tuple[str, int]:
        """See `Provider.reach`."""
        address = self._address_of(machine)
        if self.private is None:
            return address, port
        record = self.state / "forward" / f"{machine}-{port}"
        if record.exists() and _is_ours(int(record.read_text().split()[0]), self.private.network):
            return "127.0.0.1", int(record.read_text().split()[1])
        record.parent.mkdir(exist_ok=True)
        wanted = record.read_text().split()[1] if record.exists() else "0"
        pid, listening = _forward(self.private.network, address, port, wanted)
        record.write_text(f"{pid} {listening}\n")
        return "127.0.0.1", listening

    @property
    def platform(self) -> Platform:
        """See `Provider.platform`."""
        v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        return Platform(Substrate.CONTAINER, cgroup=2 if v2 else 1)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Provider.capabilities`."""
        return frozenset({Capability.SNAPSHOT, Capability.PAUSE, Capability.POWER_CUT})

    # -- steps -----------------------------------------------------------------------------------

    def _ground(self, topology: Topology) -> None:
        """Daemon, pool, project, network and image: what every machine stands on."""
        if self.private:
            self.private.start()
        config = {"features.images": "true", "features.profiles": "true", "features.storage.volumes": "true"}
        self._unless(f"projects/{self.project}", "projects", {"name": self.project, "config": config})
        pool = {"name": "thwlab", "driver": "btrfs", "config": {"size": POOL_SIZE}}
        ignoring(409, lambda: self._unless("storage-pools/thwlab", "storage-pools", pool))
        network = {
            "name": self.bridge,
            "type": "bridge",
            "config": {
                "ipv4.address": f"{topology.networks.gateway}/{topology.networks.nodes.prefixlen}",
                "ipv4.nat": "false",
                "ipv4.dhcp": "false",
                "ipv6.address": "none",
                "dns.mode": "none",
            },
        }
        self._unless(f"networks/{self.bridge}", "networks", network)
        if self._image is not None and not self.api.exists(f"/1.0/images/{self._image.fingerprint}"):
            self._import(self._image)

    def _unless(self, path: str, collection: str, body: dict[str, Any]) -> None:
        if not self.api.exists(f"/1.0/{path}"):
            self.api.do("POST", f"/1.0/{collection}", body, timeout=120)

    def _import(self, image: Image) -> None:
        boundary = "thwlab-image-parts"
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(image.upload_size(boundary)),
        }
        body = Upload(image.upload(boundary))
        self.api.do("POST", "/1.0/images", body, timeout=300, headers=headers)

    def _create_one(self, topology: Topology, there: Mapping[str, str], node: Node) -> None:
        if node.name not in there:
            self.api.do("POST", "/1.0/instances", self._instance(topology, node), timeout=120, **_place(node))
        if there.get(node.name) != "Running":
            self.api.do(
                "PUT", f"/1.0/instances/{node.name}/state", {"action": "start", "timeout": 60}, timeout=90
            )

    def _instance(self, topology: Topology, node: Node) -> dict[str, Any]:
        if self._image is None:
            raise LabError("this lab was attached to without an image and cannot create machines")
        raw = (*RAW_LXC, *(RAW_LXC_V1 if self.platform.cgroup == 1 else RAW_LXC_V2))
        return {
            "name": node.name,
            "type": "container",
            "source": {"type": "image", "fingerprint": self._image.fingerprint},
            "profiles": [],
            "config": {
                **CONTAINER_CONFIG,
                "raw.lxc": "\n".join(raw),
                "user.thwlab.network": _networkd(topology, node),
            },
            "devices": {
                "root": {"type": "disk", "path": "/", "pool": "thwlab"},
                "eth0": {"type": "nic", "nictype": "bridged", "parent": self.bridge, "name": "eth0"},
                "kmsg": {"type": "unix-char", "path": "/dev/kmsg", "source": "/dev/kmsg"},
            },
        }

    def _machine(self, node: Node) -> IncusMachine:
        return IncusMachine(node, self.api)

    def _all(self) -> list[Machine]:
        found = self.api.get("/1.0/instances", query_recursion=1)
        return [self._machine(_node_of(instance)) for instance in found]

    def _snapshot_one(self, machine: str, name: str) -> None:
        path = f"/1.0/instances/{machine}/snapshots"
        self.api.do("POST", path, {"name": name, "stateful": False}, timeout=120)

    def _address_of(self, machine: str) -> str:
        return str(_node_of(self.api.get(f"/1.0/instances/{machine}")).address)

    def _empty_project(self) -> None:
        for instance in self.api.get("/1.0/instances", query_recursion=1):
            path = f"/1.0/instances/{instance['name']}"
            if instance["status"] != "Stopped":
                self.api.do("PUT", f"{path}/state", {"action": "stop", "force": True, "timeout": 30})
            self.api.do("DELETE", path)
        for image in self.api.get("/1.0/images", query_recursion=1):
            self.api.do("DELETE", f"/1.0/images/{image['fingerprint']}")
        self.api.do("DELETE", f"/1.0/projects/{self.project}")


def _networkd(topology: Topology, node: Node) -> str:
    """A static address; the machine has no default route, so nothing in it can leave the lab."""
    prefix = topology.networks.nodes.prefixlen
    return (
        "[Match]\nName=eth0\n[Network]\n"
        f"Address={node.address}/{prefix}\nGateway={topology.networks.gateway}\n"
        "LinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )


def _node_of(instance: Mapping[str, Any]) -> Node:
    """As much of the plan as the daemon knows: name and address."""
    address = instance["config"]["user.thwlab.network"].split("Address=")[1].split("/")[0]
    return Node(instance["name"], IPv4Address(address), frozenset())


def _place(node: Node) -> dict[str, Any]:
    return {"query_target": node.place} if node.place else {}


def _is_ours(pid: int, network: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == network.stat().st_ino
    except (FileNotFoundError, PermissionError, ProcessLookupError):
        return False


def _forward(network: Path, address: str, port: int, listen: str) -> tuple[int, int]:
    argv = [sys.executable, "-I", forward.__file__, str(network), address, str(port), listen]
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    line = process.stdout.readline() if process.stdout else b""
    if not line:
        raise LabError(f"cannot forward to {address}:{port}; `{' '.join(argv)}` ended at once")
    return process.pid, int(line)
