"""All probes of a run together: begun, found at work, ended, and what they saw written into the history."""

import os
import secrets
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lab.background import start
from lab.cluster import Cluster
from lab.errors import LabError, flat
from lab.history import Recorder
from lab.machine import Machine, on_each
from lab.probes.clients import Clients
from lab.probes.clocks import Clocks
from lab.probes.crew import Crew, Lines, crews, heard
from lab.probes.keeping import Keeping
from lab.probes.question import Probe
from lab.probes.vantage import Running, begin, clear, private_folder
from lab.probes.workload import Workload
from lab.wait import NotYet, wait_until

IDLE = "idle"  # the fact with what became of the connections that were kept
AGAIN = "-again"  # after the name of a probe that was begun anew
FIRST = 30.0  # seconds until every probe must have been answered once
# Until the first beat: many processes that begin at once keep each other from their beats, so nobody asks
# before all had time to.
SETTLING, EACH = 0.5, 0.03  # seconds; the latter for each prober and processor of this host
PHASE = 1.0  # second within which the first beats are, also of those that ask more rarely
S = TypeVar("S")
T = TypeVar("T")


@dataclass
class Watch:
    """The probes of one run.

    `seconds` is how long they may go on if nobody ends them; `mark` is in the name of all that they write;
    `keeps` is what is kept open besides without a word: exec, logs, watch.
    """

    cluster: Cluster
    workload: Workload
    folder: Path
    recorder: Recorder
    seconds: float
    seed: str
    clocks: Clocks
    keeps: tuple[str, ...] = ()
    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    running: list[Running] = field(default_factory=list)
    clients: Clients | None = None
    keeping: Keeping | None = None

    def begin(self, probes: Sequence[Probe]) -> None:
        """Have every probe at work.  Raises `LabError` naming those that are not."""
        private_folder(self.folder)
        on_each(list(self.cluster.machines.values()), clear)
        marked = [_marked(probe, self.mark) for probe in probes]
        there = {probe.at for probe in marked if probe.at}
        on_each([self.cluster.machines[name] for name in sorted(there)], self.clocks.of)
        self.running, failures = self._begin(marked)
        if failures:
            self.end(keep=False)
            raise BaseExceptionGroup("probes could not be started", failures)
        self.clients = Clients(self.cluster, self.folder, self.seed, self.mark)
        if self.keeps:
            self.keeping = Keeping(self.cluster, self.folder, self.keeps, self.mark)

    def _begin(self, asked: Sequence[Probe]) -> tuple[list[Running], list[BaseException]]:
        """All at once; those at work, and why others are not."""
        asked = spread(asked, os.cpu_count() or 1)
        places = {each.at: [one for one in asked if one.at == each.at] for each in asked}
        tasks = [start(partial(self._begin_at, of_place), at) for at, of_place in places.items()]
        failures = [error for task in tasks if (error := task.exception())]
        return [each for task in tasks if not task.exception() for each in task.result()], failures

    def _begin_at(self, asked: Sequence[Probe]) -> list[Running]:
        return begin(self.cluster, asked, self.workload, self.folder, self.seconds, self.clocks)

    def again(self, names: Sequence[str]) -> None:
        """Begin anew what ended with these machines, under names of their own.

        Not what asked from a pod's network, which is no more.  One that cannot be begun is told as trouble.
        """
        known = {each.probe.name for each in self.running}
        ended = [
            replace(each.probe, name=f"{each.probe.name}{AGAIN}")
            for each in self.running
            if each.probe.at in names and not each.probe.pod and each.trouble()
        ]
        begun, failures = self._begin([each for each in ended if each.name not in known])
        self.running += begun
        for error in failures:
            self._trouble(flat(error))

    def check(self) -> None:
        """Raise `LabError` if a prober on this host, or another program of ours, ended by itself."""
        found = [each.trouble() for each in self.running if not each.probe.at]
        found += [each.trouble() for each in (self.clients, self.keeping) if each]
        if troubles := [said for said in found if said]:
            raise LabError("; ".join(dict.fromkeys(troubles)))

    def failed(self, questions: Collection[str], since: float) -> dict[str, Lines]:
        """What each probe of these was asked since then, in seconds of the recorder, and not answered well.

        By the probe's name, and only of those that have any.  Of what is under way nothing is known yet.
        """
        asking = [each for each in self.running if each.probe.question in questions]
        by_place = crews(asking)
        told = _all(by_place, lambda crew: crew.failed())
        found = {
            each.probe.name: [line for line in lines if line["scheduled"] >= self.recorder.began + since]
            for crew, of_crew in zip(by_place, told, strict=True)
            for each, lines in zip(crew.probers, of_crew, strict=True)
        }
        return {name: lines for name, lines in found.items() if lines}

    def end(self, *, keep: bool = True, lost: Mapping[str, str] | None = None) -> None:
        """End all probes and write down what they saw; ``lost`` says which machines were away, and why.

        One that cannot be asked any more, its machine being off, keeps none of the others from being ended.
        """
        by_place = crews(self.running)
        _all(by_place, lambda crew: crew.stop())
        if self.clients:
            operations, trouble = heard(partial(self.clients.told, self.recorder.began))
            self.recorder.write_all("operation", operations)
            self._trouble(trouble)
        if self.keeping:
            self._end_keeping(self.keeping)
        if keep:
            self._check_clocks(lost or {})
        told = _all(by_place, lambda crew: crew.told())
        if keep:
            self._write_all(by_place, told, lost or {})
        _all(list(self.cluster.machines.values()), _cleared)
        if self.folder.exists():  # else the lab was removed meanwhile, and its folder would be made again
            shutil.rmtree(self.folder)
        self.running, self.clients, self.keeping = [], None, None

    def _write_all(
        self, by_place: Sequence[Crew], told: Sequence[list[tuple[Lines, str]]], lost: Mapping[str, str]
    ) -> None:
        for crew, of_crew in zip(by_place, told, strict=True):
            for each, (lines, trouble) in zip(crew.probers, of_crew, strict=True):
                self._write(each, lines, lost.get(each.probe.at, ""), trouble)

    def _check_clocks(self, lost: Mapping[str, str]) -> None:
        """One that was away may have no clock any more, nor anything to tell by it."""
        names = {each.probe.at for each in self.running if each.probe.at}
        for name in sorted(names):
            try:
                self.clocks.check([name])
            except (LabError, ValueError) as error:
                said = f"{name}: nobody knows how right its clock was in the end: {flat(error)}"
                self._trouble("" if name in lost else said)
        if told := self.clocks.record():
            self.recorder.write("clocks", of=told)

    def _end_keeping(self, keeping: Keeping) -> None:
        try:
            self.recorder.write("fact", name=IDLE, value=keeping.told())
        except (LabError, OSError, ValueError) as error:
            self._trouble(flat(error))

    def _trouble(self, text: str) -> None:
        if text:
            self.recorder.write("trouble", text=text)

    def _write(self, running: Running, lines: Lines, lost: str, trouble: str) -> None:
        probe = running.probe
        again = probe.name.endswith(AGAIN)
        lost = "" if again and lines else lost
        samples = [self._sample(probe, line) for line in lines if "scheduled" in line]
        ends = {name: line for line in lines for name in ("ready", "ended") if name in line}
        began = ends["ready"]["ready"] - self.recorder.began if "ready" in ends else 0.0
        last = samples[-1]["scheduled"] + probe.interval if samples else began
        self.recorder.write(
            "probe",
            name=probe.name,
            question=probe.question,
            vantage=probe.at,
            target=probe.target,
            interval=probe.interval,
            deadline=probe.deadline,
            began=round(began, 4),
            ended=round(last, 4),
            lost=lost,
            bound=round(running.bound, 4),
            again=again,
        )
        costs = {"priority": ends.get("ready", {}).get("priority"), "cpu": ends.get("ended", {}).get("cpu")}
        self.recorder.write("prober", probe=probe.name, **costs)
        self.recorder.write_all("sample", samples)
        self._trouble("" if lost or not trouble else f"{probe.name}: {trouble}")

    def _sample(self, probe: Probe, line: dict[str, Any]) -> dict[str, Any]:
        times = {
            name: round(line[name] - self.recorder.began, 4) for name in ("scheduled", "sent", "answered")
        }
        return {"probe": probe.name, **line, **times}


def _marked(probe: Probe, mark: str) -> Probe:
    """The probe with keys of this run's own: what an earlier one left is none of ours."""
    if "prefix" not in probe.plan:
        return probe
    folder, slash, name = str(probe.plan["prefix"]).rpartition("/")
    return replace(probe, plan={**probe.plan, "prefix": f"{folder}{slash}{mark}-{name}"})


def spread(asked: Sequence[Probe], processors: int) -> list[Probe]:
    """All of them with a rest before their first beat, and no two that ask as often on one beat.  Pure."""
    settling = SETTLING + EACH * len(asked) / processors
    paces: dict[float, list[Probe]] = {}
    for each in asked:
        paces.setdefault(each.interval, []).append(each)
    phases = {
        each.name: min(each.interval, PHASE) * number / len(alike)
        for alike in paces.values()
        for number, each in enumerate(alike)
    }
    return [
        replace(each, plan={**each.plan, "rest": round(settling + phases[each.name], 4)}) for each in asked
    ]


def _all(each_of: Sequence[S], act: Callable[[S], T]) -> list[T]:
    """Act on all of them at once."""
    tasks = [start(partial(act, each), "probers") for each in each_of]
    return [task.result() for task in tasks]


def _cleared(machine: Machine) -> None:
    """As far as it can be: what ran on a machine that is off has ended with it."""
    with suppress(LabError):
        clear(machine)


def await_answers(watch: Watch) -> None:
    """Return once every prober is at work; `WaitExpired` names those that are not."""

    def check() -> None:
        looks = _all(crews(watch.running), lambda crew: crew.look())
        if dead := [said for look in looks for said in look.dead]:
            raise LabError("; ".join(dead))
        idle = [name for look in looks for name in look.idle]
        idle += watch.keeping.missing() if watch.keeping else []
        if idle:
            raise NotYet(f"{', '.join(idle)} did not begin yet")

    wait_until("every prober to be at work", check, timeout=FIRST)
