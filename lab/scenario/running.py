"""One scenario on a running cluster: steady, broken, healed, and everything about it written down.

It judges nothing: what it leaves is a history.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from lab.cluster import Cluster
from lab.errors import FAILURES, flat
from lab.faults.healing import heal_all
from lab.history import Recorder
from lab.probes import moving, workload
from lab.probes.catalogue import probes, spared
from lab.probes.clocks import Clocks
from lab.probes.question import Probe
from lab.probes.watching import Watch, await_answers
from lab.scenario.answered import await_answered
from lab.scenario.breaking import Breaking, insist_possible
from lab.scenario.course import FAULT, PHASES, STEADY, Course
from lab.scenario.facts import record_lab, record_logs
from lab.scenario.fitness import make_fit
from lab.scenario.healings import Healings
from lab.scenario.holding import LATELY, Holding
from lab.scenario.ledger import clear, reckon
from lab.scenario.spent import PHASES as IN_PHASES
from lab.scenario.spent import Spent
from lab.scenario.steadiness import insist_steady
from lab.wait import NotYet, dwell, stretched, telling

Tell = Callable[[str], None]
MARGIN = 300.0  # seconds that a prober on a machine may live longer than the run is meant to last


@dataclass
class Run:
    """One course on one cluster; its history goes to the recorder."""

    cluster: Cluster
    course: Course
    recorder: Recorder
    folder: Path
    tell: Tell
    proven: bool = False  # somebody has just seen that the lab is whole
    lost: dict[str, str] = field(default_factory=dict)
    moments: list[float] = field(default_factory=list)
    broken: list[Breaking] = field(default_factory=list)
    spent: Spent = field(default_factory=Spent)
    steady: bool = False  # it was seen to serve again after the run, and all members agreed

    def go(self) -> None:
        """All of it.  Whatever happens, every fault is healed and every prober ended before it returns.

        Raises `NotFit` or `Unavailable` before anything was broken; what comes up later is written down as
        trouble.
        """
        with self.spent.on("proof"):
            self._whole_before()
        with self.spent.on("set-up"):
            for doing in self.course.doings:
                insist_possible(self.cluster, doing)
            record_lab(self.cluster, self.recorder)
            self.holding.listen().result()  # before a machine's end takes its journal along
        try:
            with self._watched() as watch:
                for phase in PHASES:
                    self._phase(phase, watch)
        except (*FAILURES, NotYet) as error:  # the latter of whoever asked once where he should have waited
            self.trouble(flat(error))
        with self.spent.on("proof"):
            self._whole_after()
        with self.spent.on("reading back"):
            self._reckon()
            record_logs(self.cluster, self.recorder, self.moments)
            self.holding.record([each.injection for each in self.broken if each.told])

    @cached_property
    def holding(self) -> Holding:
        """Who believed to lead, as the masters' journals have it."""
        return Holding(self.cluster, self.recorder, self.clocks)

    @property
    def longest(self) -> float:
        """Seconds after which a prober on a machine ends by itself.  A slow lab heals slowly."""
        return self.course.seconds + stretched(MARGIN)

    @cached_property
    def clocks(self) -> Clocks:
        """The machines' own."""
        return Clocks(self.cluster)

    def trouble(self, text: str) -> None:
        """Something because of which the run proves nothing."""
        self.recorder.write("trouble", text=text)
        self.tell(f"  trouble: {text}")

    def note(self, text: str) -> None:
        """Something that a reader should know, and that is held against nobody."""
        self.recorder.write("note", text=text.strip())
        self.tell(text)

    # -- before and after ----------------------------------------------------------------------------------

    def _whole_before(self) -> None:
        with telling(self.tell):
            make_fit(self.cluster, self.tell, _as_it_is if self.proven else insist_steady)

    def _whole_after(self) -> None:
        try:
            with telling(self.tell):
                insist_steady(self.cluster)
        except FAILURES as error:
            self.trouble(f"the lab is not whole after the run: {flat(error)}")
        else:
            self.steady = True

    def _reckon(self) -> None:
        try:
            reckon(self.cluster, self.recorder)
        except FAILURES as error:
            self.trouble(f"what was written could not be read back: {flat(error)}")

    # -- phases --------------------------------------------------------------------------------------------

    @contextmanager
    def _watched(self) -> Iterator[Watch]:
        with self.spent.on("set-up"):
            served = workload.ensure(self.cluster)
            if workload.MOVED in self.course.probes:
                moving.ensure(self.cluster)
            clear(self.cluster)
        watch = Watch(
            self.cluster,
            served,
            self.cluster.lab.state.path / "probes",  # it has keys, which results must not
            self.recorder,
            seconds=self.longest,
            seed=f"{self.course.seed}/clients",
            clocks=self.clocks,
            keeps=self.course.keeps,
        )
        wanted = self._wanted(served)
        self.tell(f"  {len(wanted)} probes")
        try:
            with self.spent.on("set-up"):
                watch.begin(wanted)
                await_answers(watch)
            yield watch
        finally:
            with self.spent.on("ending probes"):
                self._end(watch)

    def _wanted(self, served: workload.Workload) -> list[Probe]:
        """All that the course asks for; of slow machines less, for they have to serve besides."""
        topology = self.cluster.topology
        if not self.cluster.lab.provider.is_slow:
            return probes(topology, served, self.course.probes)
        return spared(probes(topology, served, self.course.needed or self.course.probes))

    def _end(self, watch: Watch) -> None:
        try:
            self._heal()
        finally:
            watch.end(lost=self.lost)

    def _heal(self) -> None:
        try:
            heal_all(self.cluster, self.cluster.lab.state.path)
        except FAILURES as error:
            self.trouble(flat(error))
        self.clocks.silenced.clear()  # also what was called off

    def _phase(self, phase: str, watch: Watch) -> None:
        begin, planned = self.recorder.now(), self.course.phases[phase]
        self.tell(f"  {phase}: {planned:.0f} s")
        counts = begin
        try:
            if phase == STEADY and self.course.vital:
                counts = await_answered(self.course, watch, self.recorder.now, self.note)
            if phase == FAULT:
                self._break(begin, watch)
            dwell(counts + planned - self.recorder.now(), watch.check)
        finally:
            took = self.recorder.now() - begin
            self.spent.add({IN_PHASES: min(took, planned), "phases too long": max(0.0, took - planned)})
        self.recorder.write("phase", phase=phase, begin=round(counts, 4), end=round(self.recorder.now(), 4))

    def _break(self, begin: float, watch: Watch) -> None:
        """Every fault at its moment, and healed at its moment; those that last may overlap.

        Healings run beside each other and beside whatever else is done: one that comes late is left to its
        victim's own timer, and one may wait for what only the next brings back.  No fault begins before those
        are done whose moment has come.
        """
        numbers = itertools.count(1)
        healings = Healings(self.recorder.now)
        with healings.ended():
            for doing in sorted(self.course.doings, key=lambda each: each.at):
                dwell(begin + doing.at - self.recorder.now(), watch.check)
                healings.await_due()
                breaking = Breaking(
                    self.cluster, doing, doing.number or next(numbers), self.recorder, self.tell
                )
                self.broken.append(breaking)
                self.clocks.silenced += _silenced(breaking)
                self.lost |= breaking.begin()
                self.moments.append(breaking.begun)
                heal = partial(self._healed, breaking, watch)
                if breaking.fault.lasts:
                    healings.appoint(breaking.begun + doing.hold, heal, breaking.fault.word)
                else:
                    heal()
            healings.await_all(watch.check)

    def _healed(self, breaking: Breaking, watch: Watch) -> None:
        """Undo it; what its victims said so far is read before the next fault takes a journal along.

        Whoever asked from a machine that was off asks again from now on.
        """
        if breaking.fault.lasts:
            self.moments.append(self.recorder.now())
        try:
            breaking.heal()
            self._compare(breaking)
        finally:
            for name in _silenced(breaking):
                self.clocks.silenced.remove(name)
        self.holding.listen(LATELY)
        if breaking.fault.silences:
            watch.again(breaking.fault.machines)

    def _compare(self, breaking: Breaking) -> None:
        """The clocks of machines that may have stood still."""
        if not breaking.fault.silences or breaking.resumed is None:
            return
        began = self.recorder.began
        with suppress(*FAILURES, ValueError):  # the comparison in the end sees what has moved
            pause = began + breaking.begun, began + breaking.resumed
            self.clocks.stood_still(breaking.fault.machines, *pause)


def _as_it_is(_: Cluster) -> None:
    """Somebody has just looked."""


def _silenced(breaking: Breaking) -> tuple[str, ...]:
    return breaking.fault.machines if breaking.fault.silences else ()
