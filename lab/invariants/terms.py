"""What the words of an invariant mean: types of their own, so that a scenario file is read by them alone."""

from enum import StrEnum
from typing import NewType

Seconds = NewType("Seconds", float)  # written with a unit: 500ms, 5s, 2m
Share = NewType("Share", float)  # 0 to 1, written in percent: 99.5%
Count = NewType("Count", int)
Question = NewType("Question", str)  # a word of the probes' catalogue
Phases = NewType("Phases", str)  # one phase, or from one to a later one: fault+recovery; or in-force
Lease = NewType("Lease", str)  # kube-controller-manager, kube-scheduler

NONE, FIRST = Count(0), Count(1)
MOST = Share(0.99)
ETCD, ETCD_LEASE = Question("etcd"), Question("etcd-lease")
ETCD_PATIENT = Question("etcd-patient")
HEARTBEATS, MOVED = Question("heartbeats"), Question("moved")
NEW_POD, API_WATCH = Question("new-pod"), Question("api-watch")
ALL_AFTER = Phases("fault+recovery")
IN_FORCE = Phases("in-force")  # from when every fault was proven to bite until the first one's healing began
WHOLE = Phases("steady+fault+recovery")
STEADY, FAULT, RECOVERY = PHASES = (Phases("steady"), Phases("fault"), Phases("recovery"))
LEASES = ("kube-controller-manager", "kube-scheduler")


class Among(StrEnum):
    """Which of a question's probes are looked at.

    A survivor neither runs on nor asks a machine that a fault was done to.
    """

    ALL = "all"
    SURVIVORS = "survivors"
    VICTIMS = "victims"


class Paths(StrEnum):
    """Whether each path must keep the limit, so that the worst counts, or all their questions together."""

    WORST = "worst"
    TOGETHER = "together"


class Since(StrEnum):
    """From when time counts: from when the fault began, or from when its healing began."""

    FAULT = "fault"
    HEAL = "heal"


class Tolerations(StrEnum):
    """For how long a pod stays bound to a node that is away: 300 s by default, or 30."""

    DEFAULT = "default"
    SHORT = "short"


class Step(StrEnum):
    """How far a new pod came."""

    BOUND = "bound"
    STARTED = "started"
    ANSWERING = "answering"


class Connection(StrEnum):
    """What is kept open without a word."""

    EXEC = "exec"
    LOGS = "logs"
    WATCH = "watch"
