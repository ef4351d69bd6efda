"""The provider `vagrant`: VMs that Vagrant makes and their hypervisor switches; the contract, little else."""

import logging
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.artifacts.prepare import supplies_of
from lab.errors import LabError
from lab.machine import Machine, Platform, Substrate, on_each
from lab.providers.base import Capability, Missing, Provider, Snapshot
from lab.providers.commands import ENVIRONMENT
from lab.providers.reaching import Forwarders
from lab.providers.vagrant import host, needs, networks, programs, shared, snapshots, speed, strays, unmade
from lab.providers.vagrant.adapter import UP, Adapter
from lab.providers.vagrant.connection import Connection, Unreachable
from lab.providers.vagrant.hypervisor import PAUSED, RUNNING, Hypervisor
from lab.providers.vagrant.inventory import Inventory
from lab.providers.vagrant.machine import VagrantMachine
from lab.providers.vagrant.obstacles import answer_or, namesakes
from lab.providers.vagrant.plan import BOOT_TIMEOUT, DEFAULT_BOOT, Box, Project
from lab.providers.vagrant.removal import Removal
from lab.topology import Node, Topology

MAKING = 300.0  # seconds, for all that `vagrant up` does beside waiting for machines to boot

log = logging.getLogger(__name__)


class VagrantProvider(Provider):
    """Machines as VMs.  Everything of the lab lies in its folder; what exists is read from the hypervisor."""

    name = "vagrant"

    def __init__(
        self,
        lab: str,
        state: Path,
        hypervisor: Hypervisor,
        *,
        box: Box | None = None,
        extra: Mapping[str, str] | None = None,
        up_timeout: float = UP,
    ) -> None:
        """``extra`` are variables for the Vagrantfile beside those that every lab has."""
        self.lab = lab
        self.state = state
        self.hypervisor = hypervisor
        self.project = Project(
            lab, state / "vagrant", hypervisor.name, box or Box(), tuple((extra or {}).items())
        )
        self.adapter = Adapter(self.project, hypervisor.inside)
        self._inventory = Inventory(self.project, hypervisor)
        self._removal = Removal(self._inventory, self.adapter)
        self._up_timeout = up_timeout
        self._connections: dict[str, Connection] = {}
        self._cgroup: int | None = None
        self._asking = threading.Lock()

    def preflight(self, topology: Topology) -> list[Missing]:
        """See `Provider.preflight`."""
        return [*programs.lacking(self.adapter), *self._in_the_way(topology)]

    def _in_the_way(self, topology: Topology) -> list[Missing]:
        """All that the doctor calls missing, in its words; ``state`` lies beside the folders of all labs."""
        private = self.hypervisor.network is not None
        nothing: Mapping[str, str] = {}
        enclosed = answer_or(self._inventory.domains, nothing) if private else nothing
        here = host.gather(self.hypervisor, self.state.parent, private=private, enclosed=enclosed)
        found = needs.hindering(here, topology)
        return [Missing(f"{each.what}: {each.found}; needed: {each.needed}", each.remedy) for each in found]

    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        """See `Provider.prepare`: what a plain box lacks; the box, where it is known beforehand which."""
        supplies_of(topology, report)
        there = self._inventory.domains()
        if not all(self._inventory.is_whole(node.name, there) for node in topology.nodes):
            self._fetch_box(report)

    def _fetch_box(self, report: Callable[[str], None]) -> None:
        """Not left to `vagrant up`, whose deadline is for the machines and which nobody sees at work."""
        box = self.project.box
        if not box.name or self.adapter.has_box(box):
            return
        report(f"fetching the box {box.name}")
        self.adapter.add_box(box)

    def create(self, topology: Topology, names: Sequence[str]) -> None:
        """See `Provider.create`; a VM that an earlier run left half-made is removed and made anew."""
        self.insist_ours()
        strays.end(self.project.at_work)
        self.project.write_plan(topology)
        self.hypervisor.begin()
        networks.note(self.project, self.hypervisor)
        shared.note(self.project, self.hypervisor)
        there: Mapping[str, str] = self._inventory.domains()
        new = [name for name in names if not self._inventory.is_whole(name, there)]
        self._removal.of_halves(new, there)
        try:
            there = self._up(new) if new else there
            machines = [self._machine(topology.node(name)) for name in names]
            on_each(machines, lambda m: self._have_running(m, there.get(m.domain), new=m.name in new))
        except (LabError, ExceptionGroup) as error:
            if not unmade.is_of_the_laboratory(error) or (told := self._unmade(topology, new, error)) is None:
                raise
            raise told from error
        if speed.read(self._speed) is None:
            speed.write(speed.calibrate(machines[0]), self._speed)

    def insist_ours(self) -> None:
        """See `Provider.insist_ours`: such a VM would be taken for half-made."""
        if strange := self._inventory.strange():
            found = namesakes(self.lab, strange)
            raise LabError(f"{found.what}: {found.found}", remedy=found.remedy)

    def _up(self, new: Sequence[str]) -> Mapping[str, str]:
        """By Vagrant; the lab's VMs after it."""
        parallel = self.hypervisor.parallel
        timeout = up_timeout(self._up_timeout, self.project.environment(), 1 if parallel else len(new))
        self.adapter.up(new, parallel=parallel, timeout=timeout)
        for name, access in self.adapter.access(new).items():
            self._connection(name).learn(access, new=True)
        return self._inventory.domains()

    def _unmade(self, topology: Topology, new: Sequence[str], error: Exception) -> LabError | None:
        """The error with the names of those that did not come up; what there is of them goes at once.

        Whole ones stay; None if all are.  A removal that fails is written down: the next `up` does it.
        """
        try:
            there = self._inventory.domains()
            gone = [name for name in new if not self._inventory.is_whole(name, there)]
            if not gone:
                return None
            machines = [self._machine(topology.node(name)) for name in gone]
            found = unmade.findings(machines, there, self._learn)
            told = unmade.told(found, {name: self.hypervisor.console(name) for name in gone}, error)
        except LabError:
            log.warning("%s: cannot be asked what became of them", ", ".join(new), exc_info=True)
            return None
        try:
            self._removal.of_halves(gone, there)
        except LabError:
            log.warning("%s: what was made of them is left", ", ".join(gone), exc_info=True)
        return told

    def _learn(self, name: str) -> None:
        self._connection(name).learn(self.adapter.access([name])[name], new=True)

    def attach(self, topology: Topology) -> Mapping[str, Machine]:
        """See `Provider.attach`."""
        there, is_whole = self._inventory.domains(), self._inventory.is_whole
        return {node.name: self._machine(node) for node in topology.nodes if is_whole(node.name, there)}

    def states(self) -> Mapping[str, str]:
        """See `Provider.states`."""
        self.hypervisor.insist_answers()
        return {self.project.machine_of(domain): state for domain, state in self._inventory.domains().items()}

    def is_there(self) -> bool:
        """See `Provider.is_there`."""
        there = self.project.folder.exists() or self._inventory.domains()
        return bool(there or self._inventory.belongings())

    def destroy(self) -> None:
        """See `Provider.destroy`: by Vagrant, then whatever the hypervisor still lists under our prefix."""
        strays.end(self.project.at_work)  # it would go on to make what is removed here
        for name in self.project.addresses():
            self._connection(name).close()
        if self.hypervisor.is_there():
            self._removal.of_all()
            networks.remove_brought(self.project, self.hypervisor)
            if left := shared.remove_brought(self.project, self.hypervisor):
                log.info("%s: in use, left", ", ".join(left))
        self.hypervisor.end()
        if self.project.folder.exists():
            shutil.rmtree(self.project.folder)
        self._connections.clear()

    def snapshot(self, name: str) -> None:
        """See `Provider.snapshot`."""
        snapshots.take(self.hypervisor, self._all(), name)

    def snapshots(self) -> list[Snapshot]:
        """See `Provider.snapshots`."""
        return snapshots.listed(self.hypervisor, self._all())

    def forget_snapshot(self, name: str) -> None:
        """See `Provider.forget_snapshot`."""
        snapshots.forget(self.hypervisor, self._all(), name)

    def restore(self, name: str) -> None:
        """See `Provider.restore`."""
        snapshots.go_back(self.hypervisor, self._all(), name)

    def host_argv(self, argv: Sequence[str]) -> list[str]:
        """See `Provider.host_argv`."""
        return self.hypervisor.inside(argv)

    def reach(self, machine: str, port: int) -> tuple[str, int]:
        """See `Provider.reach`; on this host's own network the machine's address is in reach."""
        address = self.project.addresses().get(machine)
        if address is None:
            raise LabError(f"{machine} is no machine of lab {self.lab}", remedy="thwlab status")
        if self.hypervisor.network is None:
            return str(address), port
        forwarders = Forwarders(self.state / "forward", self.hypervisor.network)
        return "127.0.0.1", forwarders.port_to(machine, str(address), port)

    def terminal_argv(self, machine: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` as root on the machine with this terminal."""
        connection = self._connection(machine)
        become = () if connection.is_root else ("sudo", "-n", "--")
        environment = ("env", *(f"{name}={value}" for name, value in ENVIRONMENT.items()))
        return connection.argv(shlex.join([*become, *environment, *argv]), options=("-t",))

    @property
    def is_furnished(self) -> bool:
        """See `Provider.is_furnished`: boxes are anybody's."""
        return False

    @property
    def slowness(self) -> float:
        """See `Provider.slowness`."""
        found = speed.read(self._speed)
        return found.slowness if found else 1.0

    @property
    def is_measured(self) -> bool:
        """See `Provider.is_measured`."""
        return speed.read(self._speed) is not None

    @property
    def platform(self) -> Platform:
        """See `Provider.platform`; the cgroup version is the guest's, asked once."""
        with self._asking:  # stages that begin at once would each ask
            if self._cgroup is None:
                self._cgroup = self._read_cgroup()
        return Platform(Substrate.VM, cgroup=self._cgroup or 2)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Provider.capabilities`."""
        return frozenset(Capability)

    @property
    def _speed(self) -> Path:
        return self.project.folder / "speed.json"

    def _connection(self, name: str) -> Connection:
        if name not in self._connections:
            folder = self.project.folder / "ssh"
            self._connections[name] = Connection(name, folder, self.hypervisor.inside)
        return self._connections[name]

    def _machine(self, node: Node) -> VagrantMachine:
        domain = self.project.domain(node.name)
        return VagrantMachine(node, domain, self.hypervisor, self._connection(node.name))

    def _all(self, domains: Mapping[str, str] | None = None) -> list[VagrantMachine]:
        """The machines of the lab that were made whole, whatever plan made them; by ``domains`` if known."""
        there = self._inventory.domains() if domains is None else domains
        return [
            self._machine(Node(name, address, frozenset()))
            for name, address in self.project.addresses().items()
            if self._inventory.is_whole(name, there)
        ]

    def _have_running(self, machine: VagrantMachine, state: str | None, *, new: bool) -> None:
        """One that was made just now, and runs, was never cut off: no more questions about it."""
        if state == PAUSED:
            machine.resume()
        if new and state == RUNNING:
            machine.await_boot()
        else:
            machine.boot()
        self._inventory.set_whole(machine.name, whole=True)

    def _read_cgroup(self) -> int | None:
        there = self._inventory.domains()
        for machine in self._all(there):
            if there[machine.domain] == RUNNING:
                try:
                    return cgroup_of(machine)
                except Unreachable:
                    continue
        return None


def up_timeout(least: float, environment: Mapping[str, str], turns: int) -> float:
    """Seconds for `vagrant up`: no less than it may wait for machines that boot in so many turns.  Pure."""
    return max(least, turns * float(environment.get(BOOT_TIMEOUT) or DEFAULT_BOOT) + MAKING)


def cgroup_of(machine: Machine) -> int | None:
    """The cgroup version of a live machine; None if it does not answer."""
    seen = machine.run("stat", "-fc", "%T", "/sys/fs/cgroup", timeout=10)
    return {"cgroup2fs": 2, "tmpfs": 1}.get(seen.stdout.strip())
