"""A scenario from its file to its verdict on a running lab, with everything about it in one folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from lab.cluster import Cluster
from lab.errors import LabError, flat
from lab.failover.leaks import blotted, secrets_of
from lab.history import Recorder, history, read
from lab.invariants.validity import vital
from lab.ownership import adopt, make_folder
from lab.report import write_run
from lab.report.document import Document
from lab.scenario.breaking import Unavailable
from lab.scenario.fitness import NotFit
from lab.scenario.judging import CUT_SHORT, Judgement, judged, write
from lab.scenario.known import Known
from lab.scenario.loading import Scenario
from lab.scenario.plan import Plan
from lab.scenario.running import Run
from lab.scenario.spent import Spent
from lab.scenario.writing import text_of

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Performed:
    """One run of one scenario, and where its records are."""

    judgement: Judgement
    folder: Path
    document: Document
    steady: bool = False  # it was seen to serve again afterwards, and all members agreed
    spent: Spent = field(default_factory=Spent)


class CutShort(KeyboardInterrupt):
    """Somebody ended a run; what came of it until then is judged and told like any other's."""

    def __init__(self, performed: Performed) -> None:
        self.performed = performed
        super().__init__(f"{performed.judgement.scenario} was cut short; records: {performed.folder}")


def perform(
    cluster: Cluster, scenario: Scenario, plan: Plan, folder: Path, tell: Tell, *, proven: bool = False
) -> Performed:
    """Run the plan once and judge it by its scenario.

    That the lab is whole is looked at first, unless the caller has just ``proven`` it.

    Raises `NotFit` if the lab is not whole, `Unavailable` if this machine cannot do what is asked for, and
    `CutShort` where Ctrl-C or SIGTERM ended it: such a run leaves all that others do, and its verdict is
    unknown.  A run whose records held a secret of the lab proves nothing, and they hold it no more.
    """
    if (folder / "records.jsonl").exists():  # two runs in one stream would be judged as one
        raise LabError(f"{folder} holds a run already", remedy="another name in LAB_RUN, or none")
    make_folder(folder)
    recorder = Recorder(folder / "records.jsonl")
    recorder.write(
        "scenario",
        name=scenario.name,
        source=scenario.origin,
        seed=plan.seed,
        text=_text(scenario, cluster),
        steps=[step.number for step in plan.steps],
    )
    tell(f"{scenario.name}: {scenario.about}")
    course = replace(plan.course(), vital=vital(scenario.judged), needed=scenario.needed)
    run = Run(cluster, course, recorder, folder, tell, proven)
    _keep(folder / "plan.json", plan.to_json())
    begun = time.monotonic()
    try:
        run.go()
    except (NotFit, Unavailable):
        raise  # nothing was done, so there is nothing to tell
    except BaseException as end:
        performed = _until(end, run, scenario, plan, begun)
        if isinstance(end, KeyboardInterrupt):
            raise CutShort(performed) from end
        raise
    return _told(run, scenario, plan, begun)


def _until(end: BaseException, run: Run, scenario: Scenario, plan: Plan, begun: float) -> Performed:
    """What the run came to until its end, which is raised again if that cannot be told."""
    why = "Ctrl-C or SIGTERM" if isinstance(end, KeyboardInterrupt) else f"{type(end).__name__}: {end}"
    text = f"the run was cut short {run.recorder.now():.0f} s after it began, by {why}"
    run.recorder.write("fact", name=CUT_SHORT, value=text)
    run.trouble(text)
    try:
        return _told(run, scenario, plan, begun)
    except Exception as error:
        end.add_note(f"and what was recorded of it could not be told: {flat(error)}")
        raise end from error


def _told(run: Run, scenario: Scenario, plan: Plan, begun: float) -> Performed:
    """Judge what is recorded, and write the report; ``begun`` is by this host's monotonic clock."""
    recorder, folder = run.recorder, run.folder
    done = plan
    for injection in history(read(recorder.path)).injections:
        done = done.resolved(injection.number, injection.machines)
    _keep(folder / "plan.json", done.to_json())
    secrets = secrets_of(run.cluster.credentials)
    for held in blotted(folder, secrets):
        run.trouble(held)
    recorder.write("fact", name="spent", value=run.spent.record())
    judgement = judged(read(recorder.path), scenario)
    write(recorder, judgement)
    document = write_run(folder, read(recorder.path), scenario, judgement)
    if held_by_report := blotted(folder, secrets):
        raise LabError("; ".join(held_by_report), remedy=f"tell the project, with {folder}/records.jsonl")
    run.spent.add({"judging": time.monotonic() - begun - run.spent.whole})
    for line in (*lines(judgement), document["probers"]["told"]):
        run.tell(f"  {line}")
    run.tell(f"  {run.spent.told}")
    return Performed(judgement, folder, document, run.steady, run.spent)


def _text(scenario: Scenario, cluster: Cluster) -> str:
    """The scenario as it was written, or as one that was made up by a seed would be."""
    try:
        return Path(scenario.origin.partition(":")[0]).read_text()
    except OSError:
        return text_of(scenario, Known(cluster.topology))


def _keep(path: Path, text: str) -> None:
    path.write_text(text)
    adopt(path)


def lines(judgement: Judgement) -> list[str]:
    """The verdict in words, and every finding.  Pure."""
    return [
        *(finding.line() for finding in judgement.findings),
        *(f"invalid: {reason}" for reason in judgement.invalid),
        f"{judgement.scenario}: {judgement.word}",
    ]
