"""Scenarios made up for a test, and what a run of one has left."""

from pathlib import Path

from lab import strictyaml
from lab.cluster import Cluster
from lab.failover.performing import perform
from lab.history import History, Injection, read
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
    folder = session.folder / "scenarios" / made.name
    performed = perform(cluster, made, plan_of(made, seed), folder, session.tell, proven=proven)
    assert not performed.judgement.invalid, performed.judgement.invalid
    return told(read(Path(performed.folder) / "records.jsonl"))


def shortest(injection: Injection) -> float:
    """Seconds for which it certainly lasted: from the proof that it was there until it was taken away."""
    assert injection.in_force is not None
    assert injection.heal_begun is not None
    return injection.heal_begun - injection.in_force


def longest(injection: Injection) -> float:
    """Seconds for which it can have lasted at most: from before it was done until it was proven gone."""
    assert injection.healed is not None
    return injection.healed - injection.begun
