"""Which questions there are, whom they are asked and how often.  Pure."""

from collections.abc import Iterable
from dataclasses import replace

from lab.probes.question import SLOW, UNHASTY, Probe
from lab.probes.questions import acting, api, etcd, network, observers
from lab.probes.workload import Workload
from lab.topology import Topology

QUESTIONS = (
    *api.QUESTIONS,
    *etcd.QUESTIONS,
    *acting.QUESTIONS,
    *network.QUESTIONS,
    *observers.QUESTIONS,
)
MEASURING = ("api", "cluster-ip", "etcd-patient")  # what outages and lost writes are measured by
WORDS = tuple(question.word for question in QUESTIONS)


def probes(topology: Topology, workload: Workload, words: tuple[str, ...]) -> list[Probe]:
    """The probes behind these words, in the order of the catalogue; observers are always among them."""
    return [
        probe
        for question in QUESTIONS
        if question.observes or question.word in words
        for probe in question.probes(topology, workload)
    ]


def spared(asked: Iterable[Probe]) -> list[Probe]:
    """The same for emulated machines, for which each new connection is much work.

    What outages and lost writes are measured by asks once a second, everything else every few seconds. With
    36 questions a second machines whose power had been cut could not even be asked by SSH 13 minutes later.
    """
    return [
        replace(probe, interval=SLOW if probe.question in MEASURING else max(probe.interval, UNHASTY))
        for probe in asked
    ]
