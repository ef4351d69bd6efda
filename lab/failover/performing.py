"""A scenario from its file to its verdict on a running lab, with everything about it in one folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.cluster import Cluster
from lab.errors import LabError
from lab.failover.leaks import blotted, secrets_of
from lab.history import Recorder, history, read
from lab.ownership import adopt, make_folder
from lab.report import write_run
from lab.report.document import Document
from lab.scenario.judging import Judgement, judged, write
from lab.scenario.known import Known
from lab.scenario.loading import Scenario
from lab.scenario.plan import Plan
from lab.scenario.running import Run
from lab.scenario.writing import text_of

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Performed:
    """One run of one scenario, and where its records are."""

    judgement: Judgement
    folder: Path
    document: Document


def perform(
    cluster: Cluster, scenario: Scenario, plan: Plan, folder: Path, tell: Tell, *, proven: bool = False
) -> Performed:
    """Run the plan once and judge it by its scenario.

    That the lab is whole is looked at first, unless the caller has just ``proven`` it.

    Raises `NotFit` if the lab is not whole, `Unavailable` if this machine cannot do what is asked for.  A run
    whose records held a secret of the lab proves nothing, and they hold it no more.
    """
    if (folder / "records.jsonl").exists():  # two runs in one stream would be judged as one
        raise LabError(f"{folder} holds a run already", remedy="another --lab-run (LAB_RUN), or none")
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
    run = Run(cluster, plan.course(), recorder, folder, tell, proven)
    _keep(folder / "plan.json", plan.to_json())
    run.go()
    done = plan
    for injection in history(read(recorder.path)).injections:
        done = done.resolved(injection.number, injection.machines)
    _keep(folder / "plan.json", done.to_json())
    secrets = secrets_of(cluster.credentials)
    for held in blotted(folder, secrets):
        run.trouble(held)
    judgement = judged(read(recorder.path), scenario)
    write(recorder, judgement)
    document = write_run(folder, read(recorder.path), scenario, judgement)
    if held_by_report := blotted(folder, secrets):
        raise LabError("; ".join(held_by_report), remedy=f"tell the project, with {folder}/records.jsonl")
    for line in (*lines(judgement), document["probers"]["told"]):
        tell(f"  {line}")
    return Performed(judgement, folder, document)


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
