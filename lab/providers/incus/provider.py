"""The provider `incus`: system containers of an Incus or LXD daemon, or its virtual machines."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from shlex import quote
from typing import Any

from lab.artifacts.prepare import disk_of, root_of
from lab.artifacts.vmdisk import SIZE_GIB
from lab.background import start
from lab.errors import LabError
from lab.machine import Machine, Platform, Substrate, on_each
from lab.providers.base import Capability, Missing, Provider, Snapshot
from lab.providers.incus import snapshots, vmneeds
from lab.providers.incus.api import Api, ApiError, Upload, ignoring
from lab.providers.incus.daemon import (
    PROGRAMS,
    PrivateDaemon,
    closed_socket,
    installed_program,
    running_socket,
    unit_of,
)
from lab.providers.incus.description import (
    bridge_of,
    instance_of,
    network_of,
    node_of,
    placement,
    pool_of,
    project_of,
    vm_of,
)
from lab.providers.incus.image import Image, image_of
from lab.providers.incus.machine import IncusMachine
from lab.providers.incus.vm import IncusVm
from lab.providers.reaching import Forwarders
from lab.providers.sockets import listens
from lab.providers.subnets import free_network, networks_of_host
from lab.rights import again_as_root, group_of, joining, sudo
from lab.topology import Node, Topology

WORDS = {"Frozen": "paused"}
NEEDED = (("ip", "iproute2"), ("nsenter", "util-linux"), ("mkfs.btrfs", "btrfs-progs"))


class IncusProvider(Provider):
    """Machines as instances in a project of the lab's own.

    With a private daemon the lab has a network namespace of its own; with the running daemon its
    bridge is on this host.
    """

    name = "incus"

    def __init__(
        self,
        lab: str,
        state: Path,
        *,
        image: Image | None = None,
        daemon: str = "auto",
        vms: bool = False,
    ) -> None:
        """`image` is one at hand, else `prepare` brings it.

        `daemon`: auto (the running one, else private), running, private, or a program's name.
        """
        self.vms = vms
        self.lab = lab
        self.state = state
        self._image = image
        self._wanted = daemon

    # -- the daemon ----------------------------------------------------------------------------

    @cached_property
    def private(self) -> PrivateDaemon | None:
        """The lab's own daemon, or None where the running one is used."""
        if self._theirs.exists():
            return None
        directory = self.state / "incus"
        ours = directory.exists() or PrivateDaemon(self.lab, directory, "").is_there()
        if self._wanted in ("auto", "running") and not ours and running_socket():
            return None
        if self._wanted == "running":
            raise LabError(
                "no running Incus or LXD daemon answers to this user",
                remedy=f"systemctl start incus, or --lab-provider={self._kind}:private as root",
            )
        program = self._wanted if self._wanted in PROGRAMS else installed_program()
        return PrivateDaemon(self.lab, directory, program or PROGRAMS[0])

    @cached_property
    def api(self) -> Api:
        """The daemon's API in the lab's project; starts nothing.

        A lab that was made with a running daemon is that one's, whichever else runs by now.
        """
        noted = self._noted
        if noted and not listens(noted):
            raise self._off(noted)
        socket = noted or (self.private.socket if self.private else running_socket())
        if socket is None:
            raise LabError("no Incus or LXD daemon answers", remedy="thwlab doctor")
        return Api(socket, self.project)

    @property
    def _theirs(self) -> Path:
        """The socket of the running daemon that the lab was made with; there is none for one of its own."""
        return self.state / "daemon"

    @property
    def _noted(self) -> Path | None:
        """What `_theirs` says; None where it says nothing, as after a full disk."""
        try:
            said = self._theirs.read_text().strip()
        except FileNotFoundError:
            return None
        return Path(said) if said else None

    def _off(self, noted: Path) -> LabError:
        said = f"lab {self.lab} was made with the daemon at {noted}, which does not answer to this user"
        cures = [f"{sudo(f'systemctl start {unit_of(noted)}')}, and once more"]
        if (other := running_socket()) and listens(other):
            said += f"; the one at {other} does, and is not asked in its place"
            cures.append(f"if the lab was moved there: echo {quote(str(other))} >{quote(str(self._theirs))}")
        cures.append(f"if that daemon was removed, the machines with it: rm -r {quote(str(self.state))}")
        return LabError(said, remedy="; ".join(cures))

    @property
    def _kind(self) -> str:
        return "incus-vm" if self.vms else "incus"

    @property
    def project(self) -> str:
        """The project all of the lab's instances live in."""
        return str(project_of(self.lab)["name"])

    # -- the contract ----------------------------------------------------------------------------

    def preflight(self, topology: Topology) -> list[Missing]:
        """See `Provider.preflight`."""
        missing = self._no_daemon()
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        for program, package in NEEDED:
            if shutil.which(program, path=path) is None:
                missing.append(Missing(f"no {program}", sudo(f"apt-get install {package}"), (package,)))
        if self.vms and not missing:
            missing = vmneeds.lacking(vmneeds.look(None if self.private else self.api.socket))
        return missing or self._subnet_taken(topology)

    def _no_daemon(self) -> list[Missing]:
        """Why there will be none; a lab that was made with a running one needs that one."""
        if noted := self._noted:
            if listens(noted):
                return []
            off = self._off(noted)
            return [Missing(str(off).splitlines()[0], off.remedy)]
        if installed_program() is None and running_socket() is None:
            return [Missing("no Incus or LXD", sudo("apt-get install lxd"), ("lxd", "lxd-client"))]
        if running_socket() is None and os.geteuid() != 0:
            return [_no_rights()]
        return []

    def _subnet_taken(self, topology: Topology) -> list[Missing]:
        """With the running daemon the lab's network is this host's too, and must be nobody else's."""
        if self.private:
            return []
        wanted, own = topology.networks.nodes, bridge_of(self.lab)
        taken = {name: net for name, net in networks_of_host().items() if name != own}
        free = free_network(
            wanted.prefixlen, [*taken.values(), topology.networks.pods, topology.networks.services]
        )
        return [
            Missing(
                f"{wanted} overlaps {net} of {name}", f"another `network: cidr` in the plan, such as {free}"
            )
            for name, net in taken.items()
            if net.overlaps(wanted)
        ]

    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        """See `Provider.prepare`."""
        self._image = image_of((disk_of if self.vms else root_of)(topology, report))

    def create(self, topology: Topology, names: Sequence[str]) -> None:
        """See `Provider.create`."""
        self._ground(topology)
        there = {i["name"]: i["status"] for i in self.api.get("/1.0/instances", query_recursion=1)}
        nodes = [topology.node(name) for name in names]

        def create_and_boot(machine: Machine) -> None:
            self._create_one(topology, there, machine.node)
            self._machine(machine.node).await_boot()

        on_each([self._machine(node) for node in nodes], create_and_boot)

    def attach(self, topology: Topology) -> Mapping[str, Machine]:
        """See `Provider.attach`."""
        if self.private and not self.private.is_running():
            return {}
        if not self.api.exists(f"/1.0/projects/{self.project}"):
            return {}
        there = {i["name"] for i in self.api.get("/1.0/instances", query_recursion=1)}
        return {node.name: self._machine(node) for node in topology.nodes if node.name in there}

    def states(self) -> Mapping[str, str]:
        """See `Provider.states`."""
        if self.private and not self.private.is_there():
            return {}
        if self.private:
            self.private.insist_answers()
        if not self.api.exists(f"/1.0/projects/{self.project}"):
            return {}
        listed = self.api.get("/1.0/instances", query_recursion=1)
        return {each["name"]: WORDS.get(each["status"], each["status"].lower()) for each in listed}

    def is_there(self) -> bool:
        """See `Provider.is_there`."""
        if self.private:
            return self.private.is_there()
        if running_socket() is None and self._noted is None:
            return False
        return self.api.exists(f"/1.0/projects/{self.project}")

    def destroy(self) -> None:
        """See `Provider.destroy`."""
        if self.private:
            self.private.end()
            if self.private.directory.exists():
                shutil.rmtree(self.private.directory)
            return
        if self.api.exists(f"/1.0/projects/{self.project}"):
            self._empty_project()
        for path in (f"networks/{bridge_of(self.lab)}", f"storage-pools/{pool_of(self.lab)['name']}"):
            ignoring(404, partial(self.api.do, "DELETE", f"/1.0/{path}", query_project="default"))

    def snapshot(self, name: str) -> None:
        """See `Provider.snapshot`; of disks only, so VMs have theirs written first."""
        machines = self._all()
        on_each([each for each in machines if isinstance(each, IncusVm)], lambda m: m.flush())
        try:
            on_each(machines, lambda m: m.pause())
            snapshots.take(self.api, machines, name)
        finally:
            on_each(machines, lambda m: m.resume())

    def snapshots(self) -> list[Snapshot]:
        """See `Provider.snapshots`."""
        return snapshots.listed(self.api, self._all())

    def forget_snapshot(self, name: str) -> None:
        """See `Provider.forget_snapshot`."""
        snapshots.forget(self.api, self._all(), name)

    def restore(self, name: str) -> None:
        """See `Provider.restore`."""
        machines = self._all()
        on_each(machines, lambda m: m.resume())
        on_each(
            machines, lambda m: self.api.do("PUT", f"/1.0/instances/{m.name}", {"restore": name}, timeout=120)
        )
        on_each(machines, lambda m: m.boot())

    def host_argv(self, argv: Sequence[str]) -> list[str]:
        """See `Provider.host_argv`."""
        return self.private.inside(argv) if self.private else list(argv)

    def reach(self, machine: str, port: int) -> tuple[str, int]:
        """See `Provider.reach`; with the running daemon the machine's own address is in reach."""
        address = str(node_of(self.api.get(f"/1.0/instances/{machine}")).address)
        if self.private is None:
            return address, port
        forwarders = Forwarders(self.state / "forward", self.private.network)
        return "127.0.0.1", forwarders.port_to(machine, address, port)

    @property
    def ends_with_boot(self) -> bool:
        """See `Provider.ends_with_boot`: a private daemon's pool is mounted by nobody afterwards."""
        if self._theirs.exists():
            return False
        ours = (self.state / "incus").exists() or self._wanted not in ("auto", "running")
        return ours or running_socket() is None

    @property
    def platform(self) -> Platform:
        """See `Provider.platform`."""
        if self.vms:
            return Platform(Substrate.VM, cgroup=2)
        v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        return Platform(Substrate.CONTAINER, cgroup=2 if v2 else 1)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Provider.capabilities`."""
        if self.vms:
            return frozenset(Capability)
        return frozenset({Capability.SNAPSHOT, Capability.PAUSE, Capability.POWER_CUT})

    # -- steps -----------------------------------------------------------------------------------

    def _ground(self, topology: Topology) -> None:
        """Daemon, pool, project, network and image: what every machine stands on."""
        if self.private:
            self.private.start()
        elif self._noted is None:
            self._theirs.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._theirs.write_text(f"{self.api.socket}\n")
        if self.vms:
            vmneeds.insist(self.api.socket, private=bool(self.private))
        self._unless("projects", project_of(self.lab))
        parts = [
            start(self._import_image),
            start(self._create_pool),
            start(partial(self._unless, "networks", network_of(topology), query_project="default")),
        ]
        for part in parts:
            part.result()

    def _create_pool(self) -> None:
        pool = pool_of(self.lab, lasting=not self.private)
        self._unless("storage-pools", pool, query_project="default")
        if self.private:
            self.private.cache_disks()

    def _unless(self, collection: str, body: dict[str, Any], **query: Any) -> None:
        if not self.api.exists(f"/1.0/{collection}/{body['name']}"):
            ignoring(409, partial(self.api.do, "POST", f"/1.0/{collection}", body, timeout=120, **query))

    def _import_image(self) -> None:
        image = self._image
        if image is None or self.api.exists(f"/1.0/images/{image.fingerprint}"):
            return
        boundary = "thwlab-image-parts"
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(image.upload_size(boundary)),
        }
        body = Upload(image.upload(boundary))
        self.api.do("POST", "/1.0/images", body, timeout=300, headers=headers)

    def _create_one(self, topology: Topology, there: Mapping[str, str], node: Node) -> None:
        if node.name not in there:
            self._create_instance(topology, node)
        cut = node.name in there and self._machine(node).end_cut()
        if cut or there.get(node.name) != "Running":
            action = "unfreeze" if there.get(node.name) == "Frozen" else "start"
            wish = {"action": action, "timeout": 60}
            try:
                self.api.do("PUT", f"/1.0/instances/{node.name}/state", wish, timeout=90)
            except ApiError as error:  # a daemon that was killed starts them by itself, just now
                if "already running" not in str(error):
                    raise

    def _create_instance(self, topology: Topology, node: Node) -> None:
        if self._image is None:
            raise LabError("this lab was attached to without an image and cannot create machines")
        image = self._image.fingerprint
        if self.vms:
            wish = vm_of(topology, node, image, SIZE_GIB)
        else:
            wish = instance_of(topology, node, image, self.platform.cgroup)
        # The first VM's disk is written whole into the pool; the others wait for it and share it.
        self.api.do("POST", "/1.0/instances", wish, timeout=600 if self.vms else 120, **placement(node))

    def _machine(self, node: Node) -> IncusMachine:
        return IncusVm(node, self.api) if self.vms else IncusMachine(node, self.api)

    def _all(self) -> list[IncusMachine]:
        found = self.api.get("/1.0/instances", query_recursion=1)
        return [self._machine(node_of(instance)) for instance in found]

    def _empty_project(self) -> None:
        for instance in self.api.get("/1.0/instances", query_recursion=1):
            path = f"/1.0/instances/{instance['name']}"
            if instance["status"] != "Stopped":
                self.api.do("PUT", f"{path}/state", {"action": "stop", "force": True, "timeout": 30})
            self.api.do("DELETE", path)
        for image in self.api.get("/1.0/images", query_recursion=1):
            self.api.do("DELETE", f"/1.0/images/{image['fingerprint']}")
        self.api.do("DELETE", f"/1.0/projects/{self.project}")


def _no_rights() -> Missing:
    if closed := closed_socket():
        return Missing(f"no right to use the daemon at {closed}", joining(group_of(closed)))
    return Missing("no running daemon, and a private one needs root", again_as_root())
