"""Scenarios made up for a test, and what a run of one has left."""

from pathlib import Path

from lab import strictyaml
from lab.cluster import Cluster
from lab.failover.performing import perform
from lab.history import History, read
from lab.report.document import Document
from lab.scenario.judging import told
from lab.scenario.known import Known
from lab.scenario.loading import Scenario
from lab.scenario.loading import read as understood
from lab.scenario.plan import plan_of
from lab.session import LabSession


def scenario(cluster: Cluster, text: str) -> Scenario:
    """The scenario that the text describes in this lab's plan."""
    return understood(strictyaml.read(text, "a test's own"), Known(cluster.topology))


def history_of(
    session: LabSession, cluster: Cluster, made: Scenario, seed: str, *, proven: bool = False
) -> History:
    """Run it, and read what it left."""
    return reported_of(session, cluster, made, seed, proven=proven)[0]


def reported_of(
    session: LabSession, cluster: Cluster, made: Scenario, seed: str, *, proven: bool = False
) -> tuple[History, Document]:
    """Run it, read what it left, and what its report says."""
    folder = session.folder / "scenarios" / made.name
    performed = perform(cluster, made, plan_of(made, seed), folder, session.tell, proven=proven)
    assert not performed.judgement.invalid, performed.judgement.invalid
    return told(read(Path(performed.folder) / "records.jsonl")), performed.document
