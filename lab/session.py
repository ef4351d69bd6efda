"""One pytest run's use of a lab: opened at the first request, shared, and removed by whoever made it."""

import os
import time
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path

from lab.bringup import Bringup, Outcome
from lab.cluster import Cluster
from lab.collect import collect
from lab.history import Recorder
from lab.laboratory import Laboratory
from lab.opening import open_lab, remove_lab, state_of
from lab.plan import Given, Plan, load_plan
from lab.settings import Effective, keep_policy
from lab.stages import stages_for
from lab.topology import Topology

OWNER = "owner"

Tell = Callable[[str], None]


class LabSession:
    """Settings and plan at once; machines only when a stage is required."""

    def __init__(self, settings: Mapping[str, Effective], root: Path, tell: Tell) -> None:
        self.settings = settings
        self.tell = tell
        self.wanted: set[str] = set()
        self.keep = keep_policy(settings)
        self.folder = _run_folder(settings, root)
        self._started = False

    @cached_property
    def topology(self) -> Topology:
        """The plan, with what the settings override.  Raises `ConfigError` with every mistake."""
        return plan_of(self.settings).topology

    @cached_property
    def recorder(self) -> Recorder:
        """The run's records."""
        return Recorder(self.folder / "records.jsonl")

    @cached_property
    def lab(self) -> Laboratory:
        """The lab, opened: attached to if it runs, else about to be created."""
        self._was_there = state_of(self.topology.name).path.exists()
        if self._was_there and self.settings["reuse"].value == "no":
            self.tell(
                f"lab {self.topology.name}: removed first, for {self.settings['reuse'].origin} says no reuse"
            )
            remove_lab(self.topology.name)
            self._was_there = False
        self._started = True
        return open_lab(self.topology, self.settings["provider"].value, self._told)

    @cached_property
    def bringup(self) -> Bringup:
        """The lab's stages."""
        return Bringup(self.lab, stages_for(self.topology), self._report)

    @cached_property
    def cluster(self) -> Cluster:
        """The lab as tests see it."""
        return Cluster(self.lab)

    def require(self, *stages: str) -> Cluster:
        """Have these stages true; the first request brings up all that the collected tests want.

        Raises the failure of the first of `stages` that is not; failures of others wait for their turn.
        """
        known = {stage.name for stage in stages_for(self.topology)}
        todo = (self.wanted | set(stages)) & known
        with state_of(self.topology.name).locked():
            self.bringup.attempt(*todo)
        self.bringup.insist(*(stage for stage in stages if stage in known))
        return self.cluster

    def outcomes(self) -> Mapping[str, Outcome]:
        """How each stage of this run went."""
        return self.bringup.outcomes if self._started else {}

    def finish(self, *, failed: bool) -> None:
        """Collect what explains a failure and give connections back."""
        if self._started:
            if failed:
                self._collect()
            self.lab.close()

    def remove(self, *, failed: bool) -> None:
        """Remove the lab if this run made it and it is not to be kept."""
        if not self._is_ours():
            return
        name = self.topology.name
        if self.keep == "always" or (self.keep == "on-failure" and failed):
            self.tell(_kept(name))
            return
        start = time.monotonic()
        remove_lab(name)
        self.tell(f"lab {name}: removed in {time.monotonic() - start:.1f} s")

    def _is_ours(self) -> bool:
        """Whether a process of this very run created the lab."""
        try:
            return (state_of(self.topology.name).path / OWNER).read_text() == self.folder.name
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _collect(self) -> None:
        missing = collect(self.lab.machines, self.folder / "machines")
        self.tell(f"logs and units of {len(self.lab.machines)} machines: {self.folder / 'machines'}")
        for each in missing:
            self.tell(f"  nothing from {each}")

    def _told(self, text: str) -> None:
        self.recorder.write("note", text=text)
        if not text.endswith("ready"):
            self.tell(text)

    def _report(self, stage: str, outcome: Outcome | None) -> None:
        if outcome is None:
            self.recorder.write("stage-start", stage=stage)
            return
        error = str(outcome.error) if outcome.error else None
        self.recorder.write("stage", stage=stage, seconds=round(outcome.seconds, 3), error=error)
        truth = {s.name: s.truth for s in stages_for(self.topology)}.get(stage, "booted")
        self.tell(f"  {'FAILED' if error else 'ok':6} {stage:14} {outcome.seconds:6.1f} s  {error or truth}")


def _kept(name: str) -> str:
    flag = "" if name == "thw" else f" --name {name}"
    return (
        f"lab {name}: kept; `thwlab{flag} status` shows it, `thwlab{flag} shell k8s-master1` enters it, "
        f"`thwlab{flag} down` removes it"
    )


def _run_folder(settings: Mapping[str, Effective], root: Path) -> Path:
    top = root / settings["artifacts"].value
    return top / (settings["run"].value or time.strftime("%Y%m%d-%H%M%S") + f"-{os.getpid()}")


def plan_of(settings: Mapping[str, Effective]) -> Plan:
    """The plan that the settings name, with what they override."""
    config = settings["config"].value
    return load_plan(
        Path(config) if config else None,
        name=_given(settings["name"]),
        versions=_given(settings["versions"]),
        profile=_given(settings["profile"]),
    )


def _given(setting: Effective) -> Given | None:
    return Given(setting.value, setting.origin) if setting.value else None


def stages_of(fixtures: Collection[str], table: Mapping[str, Collection[str]]) -> set[str]:
    """The stages that stand behind these fixture names."""
    return {stage for name in fixtures for stage in table.get(name, ())}
