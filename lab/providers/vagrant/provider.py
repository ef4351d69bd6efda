"""The provider `vagrant`: VMs that Vagrant makes and their hypervisor switches."""

import logging
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from lab.errors import LabError
from lab.machine import Machine, Platform, Substrate, on_each
from lab.providers.base import Capability, Missing, Provider, Snapshot
from lab.providers.commands import ENVIRONMENT
from lab.providers.reaching import Forwarders
from lab.providers.vagrant import speed
from lab.providers.vagrant.adapter import UP, Adapter
from lab.providers.vagrant.connection import Connection, Unreachable
from lab.providers.vagrant.hypervisor import PAUSED, RUNNING, Hypervisor, of_prefix
from lab.providers.vagrant.machine import VagrantMachine
from lab.providers.vagrant.plan import Box, Project
from lab.providers.vagrant.snapshots import coherent, together
from lab.topology import Node, Topology

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
        self._up_timeout = up_timeout
        self._connections: dict[str, Connection] = {}
        self._cgroup: int | None = None

    # -- the contract ----------------------------------------------------------------------------

    def preflight(self, topology: Topology) -> list[Missing]:
        """See `Provider.preflight`."""
        missing = [
            Missing(f"no {program}", f"apt-get install {package}", (package,))
            for program, package in (("ssh", "openssh-client"), ("vagrant", "vagrant"))
            if shutil.which(program) is None
        ]
        return missing or self._unusable()

    def prepare(self, topology: Topology, report: Callable[[str], None]) -> None:
        """See `Provider.prepare`: the box, where it is known beforehand which."""
        box = self.project.box
        if not box.name or (box.name, self.project.provider) in self.adapter.boxes():
            return
        report(f"fetching the box {box.name}")
        self.adapter.add_box(box.name, url=box.url, version=box.version, sha256=box.sha256)

    def create(self, topology: Topology, names: Sequence[str]) -> None:
        """See `Provider.create`; a VM that an earlier run left half-made is removed and made anew."""
        self.project.write_plan(topology)
        self.hypervisor.begin()
        self._note_networks()
        there = self._domains()
        whole = [name for name in names if self._is_whole(name, there)]
        new = [name for name in names if name not in whole]
        self._remove_halves(new, there)
        if new:
            self.adapter.up(new, parallel=self.hypervisor.parallel, timeout=self._up_timeout)
            for name, access in self.adapter.access(new).items():
                self._connection(name).learn(access, new=True)
        machines = [self._machine(topology.node(name)) for name in names]
        on_each(machines, self._have_running)
        if speed.read(self._speed) is None:
            speed.write(speed.calibrate(machines[0]), self._speed)

    def attach(self, topology: Topology) -> Mapping[str, Machine]:
        """See `Provider.attach`."""
        there = self._domains()
        return {node.name: self._machine(node) for node in topology.nodes if self._is_whole(node.name, there)}

    def states(self) -> Mapping[str, str]:
        """See `Provider.states`."""
        return {self.project.machine_of(domain): state for domain, state in self._domains().items()}

    def is_there(self) -> bool:
        """See `Provider.is_there`."""
        return self.project.folder.exists() or bool(self._domains())

    def destroy(self) -> None:
        """See `Provider.destroy`: by Vagrant, then whatever the hypervisor still lists under our prefix."""
        for name in self.project.addresses():
            self._connection(name).close()
        if self.hypervisor.is_there():
            self._destroy_by_vagrant()
            for domain in self._domains():
                self.hypervisor.remove(domain)
            if left := self._domains():
                raise LabError(
                    f"{', '.join(left)} cannot be removed", remedy=f"read {self.project.log}; remove by hand"
                )
            self._remove_networks()
        self.hypervisor.end()
        if self.project.folder.exists():
            shutil.rmtree(self.project.folder)
        self._connections.clear()

    def snapshot(self, name: str) -> None:
        """See `Provider.snapshot`."""
        with coherent(self._all()) as machines:
            try:
                on_each(machines, lambda m: self.hypervisor.take(m.domain, name))
            except BaseException:
                on_each(machines, partial(self._forget, name))
                raise

    def snapshots(self) -> list[Snapshot]:
        """See `Provider.snapshots`."""
        return together(on_each(self._all(), lambda m: self.hypervisor.snapshots(m.domain)))

    def forget_snapshot(self, name: str) -> None:
        """See `Provider.forget_snapshot`."""
        on_each(self._all(), partial(self._forget, name))

    def restore(self, name: str) -> None:
        """See `Provider.restore`: all back and paused, then all go on, their clocks set at once.

        Connections are closed before: a guest that goes back knows nothing of them, and they would hang.
        """
        machines = self._all()
        self._insist_all_have(name, machines)
        on_each(machines, lambda m: m.connection.close())
        on_each(machines, lambda m: self.hypervisor.revert(m.domain, name))
        on_each(machines, lambda m: self.hypervisor.resume(m.domain))
        on_each(machines, lambda m: m.set_clock())
        on_each(machines, lambda m: m.await_boot())

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
    def slowness(self) -> float:
        """See `Provider.slowness`."""
        found = speed.read(self._speed)
        return found.slowness if found else 1.0

    @property
    def platform(self) -> Platform:
        """See `Provider.platform`; the cgroup version is the guest's, asked once."""
        if self._cgroup is None:
            self._cgroup = self._read_cgroup()
        return Platform(Substrate.VM, cgroup=self._cgroup or 2)

    @property
    def capabilities(self) -> frozenset[Capability]:
        """See `Provider.capabilities`."""
        return frozenset(Capability)

    # -- steps -----------------------------------------------------------------------------------

    def _unusable(self) -> list[Missing]:
        """What Vagrant and the hypervisor say of themselves."""
        found = []
        try:
            self.adapter.version()
        except LabError as error:
            found.append(Missing(str(error).splitlines()[0], error.remedy or "update Vagrant"))
        if (
            self.hypervisor.name == "libvirt"
            and not found
            and "vagrant-libvirt" not in self.adapter.plugins()
        ):
            remedy = "apt-get install vagrant-libvirt, or vagrant plugin install vagrant-libvirt"
            found.append(Missing("Vagrant has no plugin for libvirt", remedy, ("vagrant-libvirt",)))
        return found

    def _domains(self) -> dict[str, str]:
        if not self.hypervisor.is_there():
            return {}
        return of_prefix(self.hypervisor.states(), self.project.prefix)

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

    def _all(self) -> list[VagrantMachine]:
        """The machines of the lab that were made whole, whatever plan made them."""
        there = self._domains()
        return [
            self._machine(Node(name, address, frozenset()))
            for name, address in self.project.addresses().items()
            if self._is_whole(name, there)
        ]

    # A VM is whole once it answered for the first time: what was killed in between lacks an address, a
    # key or a name, and nobody can tell which.
    def _mark(self, name: str) -> Path:
        return self.project.folder / "whole" / name

    def _is_whole(self, name: str, there: Mapping[str, str]) -> bool:
        return self.project.domain(name) in there and self._mark(name).exists()

    def _remove_halves(self, names: Sequence[str], there: Mapping[str, str]) -> None:
        known = self.project.data / "machines"
        halves = [
            name
            for name in names
            if self.project.domain(name) in there or (known / name / self.project.provider / "id").exists()
        ]
        for name in names:
            self._mark(name).unlink(missing_ok=True)
        if not halves:
            return
        log.info("%s: half-made, made anew", ", ".join(halves))
        self._destroy_by_vagrant(halves)
        for domain in self._domains():
            if self.project.machine_of(domain) in halves:
                self.hypervisor.remove(domain)

    def _destroy_by_vagrant(self, names: Sequence[str] = ()) -> None:
        """What it knows of; that it fails is written down, for the hypervisor's listing decides."""
        if not self.project.data.exists():
            return
        try:
            self.adapter.destroy(names)
        except LabError:
            log.warning("vagrant destroy failed; the hypervisor is asked directly", exc_info=True)

    def _note_networks(self) -> None:
        """Write down what was there before the lab, so that only what it brought is removed."""
        if not self.project.networks_before.exists():
            self.project.networks_before.write_text("\n".join(self.hypervisor.networks()))

    def _remove_networks(self) -> None:
        """Where nothing was written down, nothing is removed: it may be anybody's."""
        if not self.project.networks_before.exists():
            return
        before = self.project.networks_before.read_text().splitlines()
        gateway = str(self.project.gateway())
        for name, address in self.hypervisor.networks().items():
            if name not in before and address == gateway:
                self.hypervisor.remove_network(name)

    def _have_running(self, machine: VagrantMachine) -> None:
        if machine.state() == PAUSED:
            machine.resume()
        machine.boot()
        self._mark(machine.name).parent.mkdir(exist_ok=True)
        self._mark(machine.name).touch()

    def _forget(self, name: str, machine: VagrantMachine) -> None:
        if name in {each.name for each in self.hypervisor.snapshots(machine.domain)}:
            self.hypervisor.forget(machine.domain, name)

    def _insist_all_have(self, name: str, machines: Sequence[VagrantMachine]) -> None:
        listed = {snapshot.name: snapshot.machines for snapshot in self.snapshots()}
        lacking = [machine.name for machine in machines if machine.name not in listed.get(name, ())]
        if lacking or not machines:
            there = ", ".join(listed) or "none"
            raise LabError(
                f"{', '.join(lacking) or 'no machine'} has no snapshot {name!r}; there are: {there}",
                remedy="thwlab snapshot --list",
            )

    def _read_cgroup(self) -> int | None:
        for machine in self._all():
            if machine.state() == RUNNING:
                try:
                    return cgroup_of(machine)
                except Unreachable:
                    continue
        return None


def cgroup_of(machine: Machine) -> int | None:
    """The cgroup version of a live machine; None if it does not answer."""
    seen = machine.run("stat", "-fc", "%T", "/sys/fs/cgroup", timeout=10)
    return {"cgroup2fs": 2, "tmpfs": 1}.get(seen.stdout.strip())
