"""The provider `incus`: system containers of an Incus or LXD daemon."""

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from lab.artifacts.prepare import root_of
from lab.errors import LabError
from lab.machine import Machine, Platform, Substrate, on_each
from lab.providers.base import Capability, Missing, Provider, Snapshot
from lab.providers.incus import ground, snapshots
from lab.providers.incus.api import Api, ApiError, Json
from lab.providers.incus.daemon import PrivateDaemon
from lab.providers.incus.description import instance_of, node_of, placement
from lab.providers.incus.image import Image, image_of
from lab.providers.incus.labdaemon import LabDaemon
from lab.providers.incus.machine import IncusMachine
from lab.providers.reaching import Forwarders
from lab.providers.restoring import all_back
from lab.rights import sudo
from lab.topology import Node, Topology

WORDS = {"Frozen": "paused"}
NEEDED = (("ip", "iproute2"), ("nsenter", "util-linux"), ("mkfs.btrfs", "btrfs-progs"))


class IncusProvider(Provider):
    """Machines as instances in a project of the lab's own.

    With a private daemon the lab has a network namespace of its own; with the running daemon its
    bridge is on this host.
    """

    name = "incus"
    word = "incus"  # as users name it
    kind: type[IncusMachine] = IncusMachine
    creation_timeout = 120.0  # seconds

    def __init__(self, lab: str, state: Path, *, image: Image | None = None, daemon: str = "auto") -> None:
        """`image` is one at hand, else `prepare` brings it.

        `daemon` is the one that is wanted, see `LabDaemon`.
        """
        self.lab = lab
        self.state = state
        self.daemon = LabDaemon(lab, state, wanted=daemon, word=self.word)
        self._image = image

    @property
    def private(self) -> PrivateDaemon | None:
        """The lab's own daemon, or None where the running one is used."""
        return self.daemon.private

    @property
    def api(self) -> Api:
        """The daemon's API in the lab's project; starts nothing."""
        return self.daemon.api

    # -- the contract ----------------------------------------------------------------------------

    def preflight(self, topology: Topology) -> list[Missing]:
        """See `Provider.preflight`."""
        missing = self.daemon.lacking()
        path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        for program, package in NEEDED:
            if shutil.which(program, path=path) is None:
                missing.append(Missing(f"no {program}", sudo(f"apt-get install {package}"), (package,)))
        missing = missing or self._lacking_for_machines()
        return missing or ([] if self.private else ground.taken(self.lab, topology))

    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        """See `Provider.prepare`."""
        self._image = image_of(self._root(topology, report))

    def create(self, topology: Topology, names: Sequence[str]) -> None:
        """See `Provider.create`."""
        self._begin()
        self.insist_ours()
        ground.lay(self.api, topology, self._image, self.private, self.state.resolve())
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
        if not ground.is_laid(self.api):
            return {}
        there = {i["name"] for i in self.api.get("/1.0/instances", query_recursion=1)}
        return {node.name: self._machine(node) for node in topology.nodes if node.name in there}

    def states(self) -> Mapping[str, str]:
        """See `Provider.states`."""
        if self.private and not self.private.is_there():
            return {}
        if self.private:
            self.private.insist_answers()
        if not ground.is_laid(self.api):
            return {}
        listed = self.api.get("/1.0/instances", query_recursion=1)
        return {each["name"]: WORDS.get(each["status"], each["status"].lower()) for each in listed}

    def is_there(self) -> bool:
        """See `Provider.is_there`."""
        if self.private:
            return self.private.is_there()
        return self.daemon.is_known and ground.is_laid(self.api)

    def insist_ours(self) -> None:
        """See `Provider.insist_ours`."""
        if self.private or not self.daemon.is_known:
            return
        if (begun := ground.begun_from(self.api)) not in (None, self.state.resolve()):
            raise LabError(
                f"project {self.api.project} of the daemon that runs here is of a lab begun from {begun}",
                remedy=f"another name: --lab-name; if it is yours: thwlab --name {self.lab} down --force",
            )

    def destroy(self) -> None:
        """See `Provider.destroy`."""
        if self.private:
            self.private.end()
            if self.private.directory.exists():
                shutil.rmtree(self.private.directory)
            return
        ground.clear(self.api, self.lab)

    def snapshot(self, name: str) -> None:
        """See `Provider.snapshot`; of disks only, so machines have theirs written first."""
        machines = self._all()
        on_each(machines, lambda m: m.flush())
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
        with all_back(name, lambda: on_each(machines, lambda m: m.boot())):
            on_each(machines, partial(self._go_back, name))
        on_each(machines, lambda m: m.boot())

    def _go_back(self, name: str, machine: IncusMachine) -> None:
        self.api.do("PUT", f"/1.0/instances/{machine.name}", {"restore": name}, timeout=120)

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
        return self.daemon.ends_with_boot

    @property
    def platform(self) -> Platform:
        """See `Provider.platform`."""
        v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        return Platform(Substrate.CONTAINER, cgroup=2 if v2 else 1)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Provider.capabilities`."""
        return frozenset({Capability.SNAPSHOT, Capability.PAUSE, Capability.POWER_CUT})

    # -- what another kind of machine has otherwise -----------------------------------------------

    def _lacking_for_machines(self) -> list[Missing]:
        """What this host lacks for such machines, beyond a daemon."""
        return []

    def _begin(self) -> None:
        """Have a daemon that can run such machines."""
        self.daemon.begin()

    def _root(self, topology: Topology, report: Callable[[str], None]) -> Path:
        """What they are made of, from the cache; see `prepare`."""
        return root_of(topology, report)

    def _wish(self, topology: Topology, node: Node, fingerprint: str) -> Json:
        """What the daemon is asked for one of them."""
        return instance_of(topology, node, fingerprint, self.platform.cgroup)

    # -- steps -----------------------------------------------------------------------------------

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
        wish = self._wish(topology, node, self._image.fingerprint)
        self.api.do("POST", "/1.0/instances", wish, timeout=self.creation_timeout, **placement(node))

    def _machine(self, node: Node) -> IncusMachine:
        return self.kind(node, self.api)

    def _all(self) -> list[IncusMachine]:
        found = self.api.get("/1.0/instances", query_recursion=1)
        return [self._machine(node_of(instance)) for instance in found]
