"""One pytest run's use of a lab: opened at the first request, shared, and removed by whoever made it."""

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from lab.bringup import Bringup, Outcome, Stage, mark, remark
from lab.choice import decided
from lab.cluster import Cluster
from lab.collect import collect
from lab.debts import Quarantined, insist_none
from lab.disks import why_unwritable
from lab.errors import ConfigError, LabError, flat
from lab.heartbeat import Heartbeat
from lab.history import Recorder
from lab.laboratory import Laboratory
from lab.limits import Limits
from lab.opening import open_lab, remove_lab, state_of
from lab.ownership import make_folder, point
from lab.plan import Plan
from lab.settings import Effective, asked, keep_policy, plan_of, shown
from lab.stages import stages_for
from lab.state import StateFolder
from lab.summary import Row
from lab.topology import Topology
from lab.turns import Turns
from lab.users import InUse, Sign
from lab.vanished import vanished

COLLECT_TIMEOUT = 60.0

Tell = Callable[[str], None]


class LabSession:
    """Settings and plan at once; machines only when a stage is required."""

    def __init__(
        self,
        settings: Mapping[str, Effective],
        root: Path,
        tell: Tell,
        heartbeat: Callable[[Tell], Heartbeat] = Heartbeat,
    ) -> None:
        self.settings = settings
        self.tell = tell
        self.wanted: set[str] = set()
        self.keep = keep_policy(settings)
        self.folder = _run_folder(settings, root)
        self._heartbeat = heartbeat(tell)
        self._opened: Laboratory | None = None
        self._sign: Sign | None = None
        self.gone: LabError | None = None
        self._explained = False
        self._refusal: Exception | None = None
        self._elsewhere: dict[str, Outcome] = {}

    def check(self) -> None:
        """Raise `ConfigError` with every mistake of the plan, and if results cannot be written."""
        errors: list[ConfigError] = []
        for look in (lambda: self.plan, self._insist_writable):
            try:
                look()
            except ConfigError as error:
                errors.append(error)
        if errors[1:]:
            raise ConfigError("what the lab is asked for", [str(error) for error in errors])
        if errors:
            raise errors[0]

    def _insist_writable(self) -> None:
        artifacts = self.settings["artifacts"]
        if why := why_unwritable(self.folder):
            problem = f"{artifacts.origin}: {artifacts.value!r} cannot hold a run's results: {why}"
            raise ConfigError("the lab's settings", [problem], remedy="--lab-artifacts=FOLDER names another")

    @cached_property
    def plan(self) -> Plan:
        """The plan, with what the settings override.  Raises `ConfigError` with every mistake."""
        return plan_of(self.settings)

    @property
    def topology(self) -> Topology:
        """The plan's machines and networks."""
        return self.plan.topology

    @cached_property
    def stages(self) -> Mapping[str, Stage]:
        """What this plan's bring-up consists of."""
        return {stage.name: stage for stage in stages_for(self.topology)}

    @cached_property
    def recorder(self) -> Recorder:
        """The run's records; a worker of xdist has a stream of its own, for a stream has one clock."""
        make_folder(self.folder)
        point(self.folder.parent / "latest", self.folder.name)
        worker = os.environ.get("PYTEST_XDIST_WORKER")
        return Recorder(self.folder / (f"records-{worker}.jsonl" if worker else "records.jsonl"))

    @property
    def lab(self) -> Laboratory:
        """The lab, opened: attached to if it runs, else about to be created.

        A failure to open it is kept: it is the answer to every later question.  Not so a quarantine, which
        lasts until somebody heals the lab.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._opened is None:
            self._heartbeat.started("programs and image")
            try:
                self._opened = self._open()
            except Quarantined:
                raise
            except Exception as error:
                self._refusal = error
                raise
            finally:
                self._heartbeat.ended("programs and image")
        return self._opened

    @cached_property
    def bringup(self) -> Bringup:
        """The lab's stages."""
        self.lab.tell = self._heartbeat.step
        return Bringup(self.lab, list(self.stages.values()), self._report, lenient=True)

    @cached_property
    def cluster(self) -> Cluster:
        """The lab as tests see it."""
        return Cluster(self.lab)

    def require(self, *stages: str) -> Cluster:
        """Have these stages true; the first request brings up all that the collected tests want.

        Raises the failure of the first of `stages` that is not; failures of others wait for their turn.
        """
        asked = [stage for stage in stages if stage in self.stages]
        todo = (self.wanted & self.stages.keys()) | set(asked)
        if not todo <= self.outcomes().keys():
            with state_of(self.topology.name).locked(), self._heartbeat:
                self.bringup.attempt(*todo)
        self.bringup.insist(*asked)
        return self.cluster

    @cached_property
    def limits(self) -> Limits:
        """The time limits of this run's tests, and those that were not judged."""
        return Limits(lambda: self.lab.provider.is_slow)

    @cached_property
    def turns(self) -> Turns:
        """When a test of this process may use the lab beside, or without, those of others."""
        return Turns(state_of(self.topology.name), self.tell)

    def look(self) -> LabError | None:
        """Whether the lab was lost since it was opened; told once, and true for the rest of the run."""
        if self.gone is None and self._opened and self._sign:
            self.gone = vanished(self._opened, self._sign)
            if self.gone is not None:
                self.tell(str(self.gone))
        return self.gone

    def insist_sound(self) -> None:
        """Raise `Quarantined` if, since the lab was opened, something was broken on purpose and is still."""
        if self._opened:
            insist_none(self._opened.state)

    def outcomes(self) -> Mapping[str, Outcome]:
        """How each stage of this run went, here or in the processes that `hear` told of."""
        if self._opened:
            return self.bringup.outcomes
        return dict(sorted(self._elsewhere.items(), key=lambda item: item[0] != "machines"))

    def hear(self, outcomes: Mapping[str, Outcome]) -> None:
        """Another process of this run brought these up; where they disagree a failure counts.

        Else the longest: the others only looked whether it was so.
        """
        for stage, outcome in outcomes.items():
            known = self._elsewhere.get(stage)
            if known is None or _weight(outcome) > _weight(known):
                self._elsewhere[stage] = outcome

    def arguments(self) -> list[str]:
        """The options with which another pytest run attaches to this very lab."""
        chosen = {
            "provider": self.settings["provider"].value,
            "name": self.topology.name,
            **asked(self.settings),
        }
        return [f"--lab-{name}={value}" for name, value in chosen.items()]

    def properties(self) -> dict[str, str]:
        """What a result must say to be told from another one's."""
        return {
            "lab.run": self.folder.name,
            "lab.plan": self.topology.digest(),
            "lab.provider": self._provider(),
            "lab.profile": self.topology.profile.value,
            **({"lab.slowness": str(self._opened.provider.slowness)} if self._opened else {}),
            **{f"lab.{n}": v for n, v in asdict(self.topology.versions).items() if isinstance(v, str)},
        }

    def _provider(self) -> str:
        """By the lab that is open, for `auto` is none; before that as it was asked for."""
        asked_for = self.settings["provider"].value
        return decided(asked_for, self._opened.state) if self._opened else asked_for

    def effective(self) -> list[tuple[str, str, str]]:
        """Every setting as (name, value, origin), with what stands behind an empty one."""
        run = Effective(self.folder.name, "the time of its start")
        return [
            (name, each.value, each.origin) for name, each in shown(self.settings, self.plan, run).items()
        ]

    def explain(self) -> None:
        """Collect what explains a failure, once and at the first: later machines may be off, or mended."""
        if self._opened and not self._explained:
            self._explained = True
            if self.look() is not None:
                self.tell("logs and units of no machine: there is none any more")
                return
            self._collect(self._opened)

    def finish(self, *, failed: bool) -> None:
        """Collect what explains a failure, if nobody has, and give connections back."""
        if failed:
            self.explain()
        if self._opened:
            self._opened.close()
        if self._sign:
            self._sign.lift()
            self._sign = None

    def ended(self, stages: Sequence[Row], parts: Sequence[Row], limits: Sequence[str]) -> None:
        """Record the tables that the run ends with, unless a test started it: then they are a part of its."""
        if not self.turns.are_inherited():
            rows = {"stages": [asdict(row) for row in stages], "parts": [asdict(row) for row in parts]}
            self.recorder.write("end", **rows, limits=list(limits))

    def remove(self, *, failed: bool) -> None:
        """Remove the lab if this run made it and it is not to be kept."""
        name = self.topology.name
        if not self._is_ours():
            if self._opened and self.gone is None:
                self.tell(f"lab {name}: it was there before this run and stays")
            return
        if self.keep == "always" or (self.keep == "on-failure" and failed):
            self.tell(_kept(name))
            return
        began = time.monotonic()
        try:
            remove_lab(name)
        except InUse as error:
            self.tell(f"lab {name}: stays, for others use it:\n{error}")
            return
        self.tell(f"lab {name}: removed in {time.monotonic() - began:.1f} s")

    def _open(self) -> Laboratory:
        state = state_of(self.topology.name)
        with state.locked():  # until the sign is there nobody may remove the lab
            lab = self._open_in(state)
            self._sign = Sign(state.path, str(self.folder))
        return lab

    def _open_in(self, state: StateFolder) -> Laboratory:
        there = state.path.exists()
        if there and self.settings["reuse"].value == "no" and not self._is_ours():
            self.tell(f"lab {state.name}: removed first, for {self.settings['reuse'].origin} says no reuse")
            remove_lab(state.name)
            there = False
        lab = open_lab(self.topology, self.settings["provider"].value, self._told, asked=asked(self.settings))
        if not there:
            state.owner.write_text(self.folder.name)
        return lab

    def _is_ours(self) -> bool:
        """Whether a process of this very run created the lab."""
        try:
            return state_of(self.topology.name).owner.read_text() == self.folder.name
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _collect(self, lab: Laboratory) -> None:
        folder = self.folder / "machines"
        try:
            with lab.state.locked(COLLECT_TIMEOUT):
                missing = collect(lab.machines, folder)
        except LabError as error:
            missing = [str(error)]
        got = len(lab.machines) - len(missing)
        self.tell(f"logs and units of {got} of {len(lab.machines)} machines{f': {folder}' if got else ''}")
        for each in missing:
            self.tell(f"  nothing from {each}")

    def _told(self, text: str) -> None:
        self.recorder.write("note", text=text)
        if not text.endswith("ready"):
            self.tell(text)

    def _report(self, stage: str, outcome: Outcome | None) -> None:
        if outcome is None:
            self.recorder.write("stage-start", stage=stage)
            self._heartbeat.started(stage)
            return
        error = flat(outcome.error) or None
        seconds = round(outcome.seconds, 3)
        self.recorder.write("stage", stage=stage, mark=mark(outcome), seconds=seconds, error=error)
        self._heartbeat.ended(stage)
        truth = self.stages[stage].truth if stage in self.stages else "booted"
        said = error or remark(outcome) or truth
        self.tell(f"  {mark(outcome):7} {stage:14} {outcome.seconds:6.1f} s  {said}")


def _kept(name: str) -> str:
    flag = "" if name == "thw" else f" --name {name}"
    return (
        f"lab {name}: kept; `thwlab{flag} status` shows it, `thwlab{flag} shell k8s-master1` enters it, "
        f"`thwlab{flag} down` removes it"
    )


def _run_folder(settings: Mapping[str, Effective], root: Path) -> Path:
    top = root / settings["artifacts"].value
    return top / (settings["run"].value or time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}")


def stages_of(fixtures: Collection[str], table: Mapping[str, Collection[str]]) -> set[str]:
    """The stages that stand behind these fixture names."""
    return {stage for name in fixtures for stage in table.get(name, ())}


def _weight(outcome: Outcome) -> tuple[bool, bool, float]:
    """Of several processes' outcomes of one stage the one with the greatest is the run's."""
    return bool(outcome.error), bool(outcome.mended), outcome.seconds
