"""One fault from its debt to its proof of being healed, written down step by step."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from lab.cluster import Cluster
from lab.debts import Debt, owe, shorten
from lab.errors import FAILURES, ClusterError, LabError, WaitExpired, flat
from lab.faults.base import Fault
from lab.faults.catalogue import FAULTS
from lab.faults.healing import arm, heal
from lab.faults.targets import resolve
from lab.faults.watchdog import guard
from lab.history import Injection, Recorder, Still
from lab.scenario.course import Doing
from lab.scenario.lasting import ANSWER, look_again
from lab.wait import NotYet, stretched, wait_until

RESOLVED = 20.0  # seconds for a role to have a holder
EVIDENCE = 15.0  # seconds for a fault to show
LATER = ANSWER + 2.0  # seconds after the hold at which victims heal themselves if we do not


class Unavailable(LabError):
    """This machine or provider cannot do the fault; the scenario is skipped with this reason."""


def fault_of(cluster: Cluster, doing: Doing) -> Fault:
    """The fault at the machines that have the role now."""
    asked = doing.on
    machines = wait_until(f"{asked} to be known", partial(resolve, cluster, asked), timeout=RESOLVED)
    return FAULTS[doing.fault](machines=machines, **doing.values)


def insist_possible(cluster: Cluster, doing: Doing) -> None:
    """Raise `Unavailable` if this cluster or host cannot do it; changes nothing.

    A role that nobody has yet may be what an earlier fault brings about: it is looked up at its moment.
    """
    if doing.at and not _known_yet(cluster, doing.on):
        return
    fault = fault_of(cluster, doing)
    if why := fault.unavailable(cluster):
        raise Unavailable(f"{fault.word}: {why}")


def _known_yet(cluster: Cluster, asked: str) -> bool:
    try:
        return bool(resolve(cluster, asked))
    except NotYet:
        return False


def hindrance(cluster: Cluster, doings: Iterable[Doing]) -> str:
    """Why not all of them can be done here; empty if they can."""
    try:
        for doing in doings:
            insist_possible(cluster, doing)
    except Unavailable as why:
        return str(why)
    return ""


@dataclass
class Breaking:
    """One fault of a run, under way."""

    cluster: Cluster
    doing: Doing
    number: int
    recorder: Recorder
    tell: Callable[[str], None]
    begun: float = 0.0
    debt: Debt | None = None
    told: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def fault(self) -> Fault:
        """The fault at the machines that have the role now."""
        return fault_of(self.cluster, self.doing)

    @property
    def injection(self) -> Injection:
        """As far as it was done."""
        return Injection(
            self.number,
            self.fault.word,
            self.doing.on,
            self.fault.machines,
            **{"begun": self.begun, **self.told},
        )

    @property
    def resumed(self) -> float | None:
        """When its victims went on at the earliest, in seconds of the run; None before it was healed."""
        return self.injection.heal_begun

    def begin(self) -> dict[str, str]:
        """Break it and prove that it is broken; the machines where nothing runs any more, and why."""
        fault = self.fault
        hold = fault.takes + (self.doing.hold if fault.lasts else 0.0)
        self.debt = owe(self.cluster.lab.state.path, fault.record(), hold)
        guard(self.cluster.topology.name, self.debt)
        # The timers run from before the hold; where commands are slow, setting them takes as much longer.
        arm(self.cluster, fault, self.debt, hold + stretched(LATER))
        self.begun = self.recorder.now()
        self._write(begun=self.begun, unit=str(self.doing.values.get("unit", "")))
        self.tell(f"  {fault.word} {self._values()}on {self.doing.on}, now {', '.join(fault.machines)}")
        try:
            fault.inject(self.cluster)
        except NotYet as error:  # what it has to know before it can begin, nobody told
            raise ClusterError(f"{fault.word} of {', '.join(fault.machines)}: {flat(error)}") from error
        if fault.takes and fault.lasts:  # what it was given for doing it is no part of its hold
            self.debt = shorten(self.debt, self.doing.hold)
        self._prove()
        return dict.fromkeys(fault.machines, fault.word) if fault.silences else {}

    def _prove(self) -> None:
        try:
            evidence = wait_until(
                f"evidence of {self.fault.word}",
                partial(self.fault.in_force, self.cluster),
                timeout=min(EVIDENCE, self.doing.hold or EVIDENCE),
                every=0.05,
            )
        except WaitExpired as error:
            self._write(trouble=f"it does not bite: {error}")
            return
        self._write(in_force=self.recorder.now(), evidence=evidence)
        self.tell(f"    in force after {self.recorder.now() - self.begun:.1f} s: {evidence}")

    def heal(self) -> None:
        """Undo it and prove that; `Unhealed` if that cannot be."""
        if self.debt is None:
            return
        self._look_again()
        self._write(heal_begun=self.recorder.now())
        try:
            heal(self.cluster, self.debt, undone=lambda: self._write(undone=self.recorder.now()))
        except FAILURES as error:
            self._write(trouble=flat(error))
            raise
        self._write(healed=self.recorder.now())
        self.tell(f"    healed {self.told['healed'] - self.begun:.1f} s after it began")

    def _look_again(self) -> None:
        """What was not there any more must not be judged as if it had been."""
        if not self.fault.lasts or "in_force" not in self.told:
            return
        now = self.recorder.now()
        found = look_again(self.cluster, self.fault, now - self.told["in_force"])
        self._write(looked=now, still=found.still, seen=found.seen)
        if found.still is not Still.YES:
            words = {Still.NO: "no longer in force", Still.UNKNOWN: "nobody knows whether still in force"}
            self.tell(f"    {words[found.still]}: {found.seen}")

    def _write(self, **more: Any) -> None:
        rounded = {
            name: round(value, 4) if isinstance(value, float) else value for name, value in more.items()
        }
        self.told |= rounded
        self.recorder.write(
            "injection",
            number=self.number,
            fault=self.fault.word,
            asked=self.doing.on,
            machines=self.fault.machines,
            **self.told,
        )

    def _values(self) -> str:
        return "".join(f"{name}={value} " for name, value in self.doing.values.items())
