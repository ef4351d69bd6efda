"""Which words a scenario file may use in this plan: faults, targets, programs, probes, invariants.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import IPv4Address
from typing import Any, get_type_hints

from lab.addons.coredns import CoreDns
from lab.components.catalogue import components
from lab.faults import targets
from lab.faults.base import Fault
from lab.faults.catalogue import FAULTS
from lab.invariants.base import Invariant
from lab.invariants.catalogue import INVARIANTS
from lab.machine import Platform, Substrate
from lab.probes.catalogue import QUESTIONS
from lab.probes.question import Probe, Question
from lab.probes.workload import Workload
from lab.topology import Role, Topology

NOWHERE = Workload("10.0.0.10", 30080, {})  # where a probe asks does not matter here
BALANCER, COREDNS = "load-balancer", CoreDns.name
OWN = "thwlab-"  # units that are no program of the cluster
USUAL = "usual"  # in a list of probes, all that are asked where there is none
ALWAYS_ASKED = "etcd"  # whose acknowledged writes are held against what members have in the end


@dataclass(frozen=True)
class Known:
    """The words of one plan.  Tests put words in that this version does not have.

    `anywhere`: machines, roles and programs may be those of another plan, for runs that are judged again.
    """

    topology: Topology
    anywhere: bool = False
    faults: Mapping[str, type[Fault]] = field(default_factory=lambda: FAULTS)
    invariants: Mapping[str, type[Invariant]] = field(default_factory=lambda: INVARIANTS)
    questions: Mapping[str, Question] = field(
        default_factory=lambda: {question.word: question for question in QUESTIONS}
    )

    @cached_property
    def machines(self) -> tuple[str, ...]:
        """The plan's machines by name."""
        return tuple(node.name for node in self.topology.nodes)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Whom a fault may be done to: machines, then roles."""
        return targets.words(self.topology)

    def outside(self, named: Any) -> str:
        """What to say of an address where a machine is to be named; nothing of anything else."""
        try:
            address = IPv4Address(named if isinstance(named, str) else "")
        except ValueError:
            return ""
        network = self.topology.networks.nodes
        for node in self.topology.nodes:
            if node.address == address:
                return f"machines are named, not addressed; write {node.name}"
        where = "is no machine of it" if address in network else f"lies outside the lab's network {network}"
        return f"{address} {where}, and nothing outside the lab is ever faulted"

    def possible(self, target: str) -> frozenset[str]:
        """The machines that may be behind a target when its fault begins; empty if that is not known."""
        if target in self.machines:
            return frozenset([target])
        roles = {
            "load-balancer": Role.LOAD_BALANCER,
            "control-plane": Role.CONTROL_PLANE,
            "workers": Role.WORKER,
            "etcd": Role.ETCD,
            "master": Role.CONTROL_PLANE,
            "node-of": Role.WORKER,
            "nodes-of": Role.WORKER,
            "kube-apiserver": Role.CONTROL_PLANE,
            "kube-controller-manager": Role.CONTROL_PLANE,
            "kube-scheduler": Role.CONTROL_PLANE,
        }
        if target == "all":
            return frozenset(self.machines)
        role = roles.get(target.partition(":")[0])
        return frozenset(node.name for node in self.topology.of(role)) if role else frozenset()

    @cached_property
    def units(self) -> Mapping[str, frozenset[str]]:
        """The programs of the plan, and the machines on which each runs."""
        platform = Platform(Substrate.CONTAINER, 2)
        found = {
            each.unit.removesuffix(".service"): frozenset(node.name for node in each.nodes())
            for each in components(self.topology, platform)
            if each.unit and not each.unit.startswith(OWN)
        }
        found[BALANCER] = frozenset(node.name for node in self.topology.of(Role.LOAD_BALANCER))
        found[COREDNS] = frozenset(node.name for node in self.topology.of(Role.WORKER))
        return {name: machines for name, machines in found.items() if machines}

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The questions that a scenario may ask for; observers are always at work."""
        return tuple(word for word, question in self.questions.items() if not question.observes)

    @cached_property
    def usual(self) -> tuple[str, ...]:
        """The questions that are asked unless a file says which."""
        return tuple(word for word in self.asked if not self.questions[word].rare)

    def hints(self, fault: str) -> Mapping[str, Any]:
        """The types of a fault's fields, with what their numbers mean."""
        return get_type_hints(self.faults[fault], include_extras=True)

    def deadline(self, question: str) -> float:
        """After how many seconds its probes give up."""
        return min((probe.deadline for probe in self._probes(question)), default=0.0)

    def interval(self, question: str) -> float:
        """How many seconds lie between two questions of a probe."""
        return max((probe.interval for probe in self._probes(question)), default=0.0)

    def count(self, question: str) -> int:
        """How many probes ask it."""
        return len(self._probes(question))

    def _probes(self, question: str) -> list[Probe]:
        workers = [node.name for node in self.topology.of(Role.WORKER)]
        resolvers = tuple((name, "10.0.0.11") for name in workers[: CoreDns(self.topology).replicas])
        return list(self.questions[question].probes(self.topology, replace(NOWHERE, resolvers=resolvers)))
