"""What a question is: to whom it goes, from where and how often.

Fast ones ask 20 times a second; they are what outages are measured by.  Observers keep what they saw as the
sample's value and are judged by nobody for their availability.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lab.probes.workload import Workload
from lab.topology import Topology

FAST, BRISK, SLOW = 0.05, 0.2, 1.0  # seconds between questions
PATIENT, UNHURRIED, RARELY = 0.25, 0.5, 2.0  # what would cost too much: 40 % of a core are for all
UNHASTY = 4.0  # of an emulated machine
DEADLINE = 5.0  # seconds; what a patient user waits
OUTSIDE = ""  # the vantage point of a user: this host, in the lab's network


@dataclass(frozen=True, slots=True)
class Probe:
    """One question to one target from one vantage point.

    `at` is a machine's name or `OUTSIDE`; with `pod` it is the network of the server's pod there.  `plan` is
    what the prober needs to know; `secrets` names the certificates it shows: kubernetes, etcd, or only
    trusts: kubernetes-ca.
    """

    name: str
    question: str
    interval: float
    plan: Mapping[str, Any]
    at: str = OUTSIDE
    pod: bool = False
    secrets: str = ""
    target: str = ""
    deadline: float = DEADLINE


@dataclass(frozen=True, slots=True)
class Question:
    """What a scenario may ask for by its word; a rare one is asked only where file or invariant names it."""

    word: str
    about: str
    probes: Callable[[Topology, Workload], Iterator[Probe]] = field(repr=False)
    observes: bool = False
    rare: bool = False


def https_to(address: str, port: int) -> dict[str, Any]:
    """The part of a plan that names the server.  Pure."""
    return {"ask": "http", "address": address, "port": port, "host": address}
