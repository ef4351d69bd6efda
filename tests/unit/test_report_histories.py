"""Runs made by hand for the tests of the report, with findings of the real invariants."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random
from typing import Any

import pytest
from made_histories import KILL, SILENCE, Asked, asked, made, raft, stepped

from lab.history import History, Outcome, Span
from lab.invariants.answers import Availability, LongestOutage
from lab.invariants.base import Invariant
from lab.invariants.consensus import LeaderChanges, MinorityAcks, ReElection
from lab.invariants.finding import Finding, Verdict
from lab.invariants.leaders import LeaseTakeover, OverlappingHolders
from lab.invariants.since import Recovery
from lab.invariants.terms import Among, Count, Lease, Question, Seconds, Share
from lab.invariants.validity import reasons
from lab.invariants.workload import EndpointDropped, NodeFlaps
from lab.invariants.writes import LostWrites
from lab.report.verdict import judge

PHASES = {"steady": Span(0, 30), "fault": Span(30, 90), "recovery": Span(90, 120)}
END = 120.0
ONE, TWO, LB = "k8s-master1", "k8s-master2", "k8s-lb"
GONE = [(30.0, 97.3)]  # when the first of them has no power
MASTERS, WORKERS = (ONE, TWO), ("k8s-worker1", "k8s-worker2")
RESET = "ConnectionResetError: [Errno 104] Connection reset by peer"
CUT = replace(
    KILL,
    fault="power-cut",
    asked="etcd:leader",
    machines=(ONE,),
    begun=30.0,
    in_force=30.42,
    evidence="37 packets to it dropped, none answered",
    heal_begun=90.0,
    healed=97.3,
)
API, DIRECT, DNS = Question("api"), Question("api-direct"), Question("dns")
INVARIANTS: tuple[Invariant, ...] = (
    Availability(of=API, at_least=Share(0.95)),
    LongestOutage(of=API, at_most=Seconds(10)),
    Recovery(of=API, at_most=Seconds(10)),
    Availability(of=DIRECT, at_least=Share(0.99), among=Among.SURVIVORS),
    LongestOutage(of=DNS, at_most=Seconds(1)),
    ReElection(at_most=Seconds(5)),
    LeaderChanges(at_most=Count(1)),
    LeaseTakeover(lease=Lease("kube-scheduler"), at_most=Seconds(20)),
    OverlappingHolders(),
    MinorityAcks(),
    NodeFlaps(),
    EndpointDropped(at_most=Seconds(20)),
    LostWrites(),
)
FACTS: dict[str, Any] = {
    "scenario": "silent loss of the leading master",
    "about": "The master that leads etcd loses its power without a word, for a minute.",
    "run": {"profile": "hardened", "provider": "incus", "seed": "7", "began": "2026-11-26T15:40:12+0000"},
    "versions": {"kubernetes": "1.37.2", "etcd": "3.7.3", "containerd": "2.4.2", "coredns": "1.14.7"},
    "settings": {
        "load-balancer": {"value": "haproxy", "origin": "plan.yaml:12"},
        "apiserver": {"request-timeout": "10s", "etcd-servers": "own member only"},
        "kubelet": {"node-status-update-frequency": {"value": "4s", "origin": "profile hardened"}},
    },
    "logs": [
        {
            "machine": TWO,
            "source": "etcd",
            "incident": 1,
            "begin": 30.0,
            "end": 34.0,
            "file": f"logs/{TWO}/journal.txt",
            "lines": [
                "15:40:43.101 etcd: lost the TCP streaming connection with peer 8e9e05c52164694d",
                "15:40:44.310 etcd: 91bc3c398fb3c146 became candidate at term 4",
                "15:40:44.318 etcd: 91bc3c398fb3c146 became leader at term 4",
            ],
        }
    ],
    "probers": {"api": {"priority": -10, "cpu": 9.31}},
    "notes": [{"at": 0.4, "text": "the host's load was 3.1"}],
    "files": ["records.jsonl", "plan.json", f"logs/{TWO}/journal.txt"],
}


@dataclass(frozen=True)
class Made:
    """A run with its findings and what is known beside them."""

    history: History
    findings: list[Finding]
    facts: dict[str, Any]


def judged(history: History, invariants: Sequence[Invariant] = INVARIANTS, **more: Any) -> Made:
    """The run as the harness would hand it to the report."""
    why = reasons(history, invariants)
    return Made(history, [each.judge(history) for each in invariants], {**FACTS, "reasons": why, **more})


PARTS = (0.05, 0.4, 0.8)  # of an answer's time, until connected, until TLS stood, until its first byte


def timed(probe: Asked, seed: str = "") -> Asked:
    """The same with answers that take as long as answers do; what timed out took all of its deadline."""
    probed, samples = probe
    chance = Random(f"{probed.name}{seed}")
    found = []
    for sample in samples:
        took = min(probed.deadline, 0.006 * chance.lognormvariate(0, 0.45))
        steps = tuple(round(took * part, 6) for part in PARTS[: 2 if probed.question == "dns" else 3])
        if not sample.ok:
            took, steps = (0.0012, (0.0012,)) if sample.said == RESET else (probed.deadline, ())
        sent = sample.scheduled + 0.0003
        found.append(replace(sample, sent=sent, answered=sent + took, phases=steps))
    return probed, tuple(found)


def every_other(begin: float, end: float, every: float) -> Iterator[tuple[float, float]]:
    """Every second beat of a grid: half of the connections go to a backend that is silent."""
    beat = begin
    while beat < end:
        yield (beat - every / 4, beat + every / 4)
        beat += 2 * every


def masters(question: str, *course: tuple[float, Any]) -> list[Asked]:
    """An observer at each master; the first of them is silent as long as it has no power."""
    every = {"end": END, "deadline": 2.0}
    return [
        stepped(
            question, *course, name=f"{question}@{name}", target=name, failing=GONE * (name == ONE), **every
        )
        for name in MASTERS
    ]


def holders(manager: str, scheduler: str) -> dict[str, Any]:
    """What an observer of leases sees; the second to hold one is its second holder."""
    held = {"kube-controller-manager": manager, "kube-scheduler": scheduler}
    return {
        lease: {"holder": f"{machine}_0a1b", "transitions": MASTERS.index(machine) + 1}
        for lease, machine in held.items()
    }


def users() -> Iterator[Asked]:
    """What is asked as users ask, in `silent_master`."""
    yield asked("api", failing=every_other(30.05, 34.2, 0.05), every=0.05, end=END, writes=True)
    for name in MASTERS:
        gone = GONE * (name == ONE)
        yield asked("api-direct", name=f"api@{name}", target=name, every=0.2, end=END, failing=gone)
    for name in (ONE, TWO, LB):
        told: dict[str, Any] = {"every": 0.2, "end": END, "writes": True, "outcome": Outcome.UNKNOWN}
        gone = GONE if name == ONE else [(30.2, 31.6)]
        yield asked("etcd", name=f"etcd@{name}", target=name, failing=gone, **told)
    for name in WORKERS:
        missing = [(61.0, 63.4)] if name == WORKERS[0] else []
        yield asked("cluster-ip", name=f"cluster-ip@{name}", at=name, every=0.05, end=END, missing=missing)
    for name in WORKERS:
        failing = [(30.2, 31.0)] if name == WORKERS[0] else []
        yield asked("dns", name=f"dns@{name}", at=name, every=0.2, end=END, failing=failing, said=RESET)


def observers() -> Iterator[Asked]:
    """What observers see meanwhile."""
    for name, number in ((ONE, "11"), (TWO, "22"), (LB, "33")):
        old, new = ({"term": t, "leader": each, "member": number} for t, each in ((3, "11"), (4, "22")))
        told: dict[str, Any] = {"every": 0.25, "end": END, "deadline": 2.0, "failing": GONE * (name == ONE)}
        yield stepped("raft", (0.0, old), (31.5, new), name=f"raft@{name}", target=name, **told)
    both = [f"192.168.100.{number}" for number in (11, 12)]
    pods = {f"kube-system/coredns-{n}": ["k8s-worker1", "Running", True, ""] for n in (1, 2)}
    yield from masters("leases", (0, holders(ONE, ONE)), (46, holders(TWO, ONE)), (48, holders(TWO, TWO)))
    yield from masters("nodes", (0, dict.fromkeys(WORKERS, "True")))
    yield from masters("endpoints", (0, both), (41, both[1:]), (99, both))
    yield from masters("pods", (0, pods))


@cache
def silent_master() -> Made:
    """A power cut of the leading master: half of the API's questions fail until the balancer notices."""
    every = [timed(probe) for probe in (*users(), *observers())]
    history = made(*every, injections=[CUT], phases=PHASES)
    keys = sorted({s.key for some in history.samples.values() for s in some if s.acked})
    return judged(replace(history, facts={"ledger": dict.fromkeys((ONE, TWO, LB), keys)}))


@cache
def two_leaders() -> Made:
    """A partition in which the old leader goes on believing; something that must not happen."""
    members = [raft("a", (0, 3, "a")), *(raft(name, (0, 3, "a"), (12, 4, "b")) for name in "bc")]
    left = asked("etcd", name="etcd@a", target="a", writes=True)
    return judged(made(*members, left, asked()))


@cache
def vantage_lost() -> Made:
    """The machine from which one probe asked was off itself for a while."""
    lost = asked("dns", name="dns@k8s-worker1", at=WORKERS[0], missing=[(10, 30)], lost="power-cut")
    return judged(made(asked(failing=[(10, 13)]), lost))


@cache
def nothing() -> Made:
    """A run that ended before anything was asked."""
    return judged(made(injections=(), phases={}))


@cache
def many(count: int = 100_000, *, alternating: bool = False) -> Made:
    """So many samples in ten probes, two of which fail for a while; or every second one fails."""
    each, every = count // 10, 0.01
    end = each * every
    probes = []
    for number in range(10):
        failing: Iterable[tuple[float, float]] = [(30.0, 34.0)] if number < 2 else []
        if alternating:
            failing = every_other(0.0, end, every)
        probes.append(timed(_fast(f"api-{number}", each, every, failing)))
    phases = {"steady": Span(0, 30), "fault": Span(30, 60), "recovery": Span(60, end)}
    return judged(made(*probes, injections=[replace(CUT, healed=60.0, heal_begun=59.0)], phases=phases))


def _fast(name: str, count: int, every: float, failing: Iterable[tuple[float, float]]) -> Asked:
    """What `asked` makes, without looking at every window for every beat."""
    probe, samples = asked("api", name=name, every=every, end=count * every)
    bad = {round(beat / every) for begin, end in failing for beat in _beats(begin, end, every)}
    failed = {"outcome": Outcome.FAILED, "said": SILENCE, "acked": False}
    return probe, tuple(replace(s, **failed) if n in bad else s for n, s in enumerate(samples))  # type: ignore[arg-type]


def _beats(begin: float, end: float, every: float) -> Iterator[float]:
    for number in range(round((end - begin) / every) or 1):
        yield begin + number * every


EVIL = '</script><img src=x onerror="document.title=1"><b>\u202egnp.exe\u2066'


@cache
def hostile() -> Made:
    """Every text of a run is meant to do harm."""
    probe = asked(name=EVIL, said=EVIL, failing=[(10, 20)], at=EVIL, target=EVIL, lost=EVIL)
    worse = replace(
        CUT,
        fault=EVIL,
        asked=EVIL,
        machines=(EVIL,),
        evidence=EVIL,
        trouble=EVIL,
        begun=10.0,
        in_force=10.2,
        heal_begun=19.0,
        healed=20.0,
    )
    history = made(probe, stepped("nodes", (0, {EVIL: EVIL}), name=f"n{EVIL}"), raft("a", (0, 1, EVIL)),
                   injections=[worse])  # fmt: skip
    found = judged(history)
    facts = {
        **found.facts,
        "scenario": EVIL,
        "about": EVIL,
        "reasons": [EVIL],
        "run": {EVIL: EVIL},
        "versions": {EVIL: EVIL},
        "settings": {EVIL: {"value": EVIL, "origin": EVIL}},
        "logs": [{"machine": EVIL, "source": EVIL, "lines": [EVIL], "file": f"javascript:{EVIL}"}],
        "notes": [{"at": EVIL, "text": EVIL}],
        "files": [EVIL, "javascript:alert(1)", "/etc/shadow", "../../secret", "https://example.org/x"],
    }
    findings = [replace(each, invariant=f"{each.invariant} {EVIL}", text=EVIL) for each in found.findings]
    return Made(history, findings, facts)


ALL = {
    "silent-master": silent_master,
    "two-leaders": two_leaders,
    "vantage-lost": vantage_lost,
    "nothing": nothing,
    "hostile": hostile,
}


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("silent-master", "held"),
        ("two-leaders", "broken"),
        ("vantage-lost", "broken"),
        ("nothing", "invalid"),
    ],
)
def test_the_runs_made_here_come_out_as_they_should(name: str, outcome: str) -> None:
    run = ALL[name]()
    assert judge(run.findings, (), run.facts["reasons"]).outcome == outcome


def test_many_samples_are_as_many_as_was_asked_for() -> None:
    run = many(1000)
    assert sum(len(some) for some in run.history.samples.values()) == 1000
    assert all(finding.verdict is not Verdict.NOT_JUDGED for finding in run.findings)
