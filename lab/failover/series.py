"""Several runs one after the other on one lab, none of which inherits the damage of another."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lab.cluster import Cluster
from lab.errors import FAILURES, flat
from lab.failover.performing import CutShort, Performed, perform
from lab.ownership import adopt, make_folder
from lab.probes import workload
from lab.report import Entry, repeated, write_index, write_junit
from lab.report.stored import HTML
from lab.scenario.between import Between, Policy
from lab.scenario.breaking import Unavailable
from lab.scenario.judging import Status
from lab.scenario.loading import Scenario
from lab.scenario.plan import Plan
from lab.scenario.spent import Spent

INDEX, JUNIT, TIMES = "index.html", "junit-scenarios.xml", "times.json"
Tell = Callable[[str], None]
_RANK = (Status.HELD, Status.UNKNOWN, Status.BROKEN)


@dataclass
class Series:
    """What is to be run, and what came of it; `folder` gets a folder for each run.

    `go_on` says that somebody goes on with the lab, so that it has to be whole after the last one as well.
    """

    cluster: Cluster
    folder: Path
    policy: Policy
    tell: Tell
    go_on: bool = False
    done: list[Performed] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    ended: str = ""
    spent: Spent = field(default_factory=Spent)

    def run(self, todo: Sequence[tuple[Scenario, Plan]]) -> Status:
        """Each in turn; the worst of what they come to, unknown if every one was skipped.

        Where the lab is not whole after one, there are no more; that hides no verdict that was come to.
        After the last one it goes back only if that was asked for, or if the scenario destroyed data.
        Raises `NotFit` if it is not whole before the first.
        """
        keep = Between(self.cluster, self.policy, self.tell)
        keep.begin()
        try:
            for number, (scenario, plan) in enumerate(todo, 1):
                done = self._one(scenario, plan, self.folder / f"{number:02}-{scenario.name}", keep.taken())
                if done is None:
                    keep.unused()
                elif (number < len(todo) or self._goes_back(scenario)) and not self._whole_again(
                    keep, scenario, steady=done.steady
                ):
                    break
        finally:
            with self.spent.on("tidying"):
                tidy(self.cluster, keep, self.tell)
            self.spent.add(keep.spent.seconds)
            overview(self.done, self.skipped, self.folder, self.spent)
        statuses = [each.judgement.status for each in self.done]
        if self.ended:
            statuses.append(Status.UNKNOWN)
        return max(statuses, key=_RANK.index, default=Status.UNKNOWN)

    def _goes_back(self, scenario: Scenario) -> bool:
        return self.go_on or scenario.destroys_data or self.policy is Policy.RESTORE

    def _whole_again(self, keep: Between, scenario: Scenario, *, steady: bool) -> bool:
        try:
            if why := keep.after(destroyed=scenario.destroys_data, steady=steady):
                self.tell(f"  the lab went back to where it was: {why}")
        except FAILURES as error:
            self.ended = (
                f"the lab is not whole after {scenario.name}, so it is not broken any further: {flat(error)}"
            )
            self.tell(f"  {self.ended}")
        return not self.ended

    def summary(self) -> Iterator[str]:
        """A line for each run."""
        for each in self.done:
            yield f"{each.judgement.word:24} {each.judgement.scenario:32} {each.folder}"
        yield from (f"{'skipped':24} {name:32} {why}" for name, why in self.skipped.items())
        if self.ended:
            yield self.ended
        yield self.spent.overhead
        yield from repeated.lines([each.document for each in self.done])
        yield f"report: {self.folder / INDEX}"

    def _one(self, scenario: Scenario, plan: Plan, folder: Path, proven: bool) -> Performed | None:
        """What came of it; None if this machine cannot do it, and then nothing was done."""
        try:
            done = perform(self.cluster, scenario, plan, folder, self.tell, proven=proven)
        except Unavailable as why:
            self.skipped[scenario.name] = f"this machine cannot do it: {why}"
            self.tell(f"  skipped: {why}")
            return None
        except CutShort as cut:
            self._add(cut.performed)
            raise
        self._add(done)
        return done

    def _add(self, performed: Performed) -> None:
        self.done.append(performed)
        self.spent.add(performed.spent.seconds)


def overview(done: Sequence[Performed], skipped: Mapping[str, str], folder: Path, spent: Spent) -> None:
    """What several runs come to, in one page and for programs; their folders lie below this one.

    `times.json` has what their time went into, in seconds.
    """
    make_folder(folder)
    entries = [Entry(each.document, str(each.folder.relative_to(folder) / HTML)) for each in done]
    write_index(entries, folder / INDEX, skipped=skipped)
    write_junit([each.document for each in done], folder / JUNIT)
    (folder / TIMES).write_text(json.dumps(spent.record(), indent=1) + "\n")
    adopt(folder / TIMES)


def tidy(cluster: Cluster, keep: Between, tell: Tell) -> None:
    """Take away what was kept to go back to, and what probes talked to; what cannot be is told."""
    for act in (keep.end, partial(workload.remove, cluster)):
        try:
            act()
        except FAILURES as error:
            tell(f"  left behind: {flat(error)}")
