"""Every invariant, three ways: held, broken, and unknown where the history does not carry it."""

from dataclasses import replace
from typing import Any

import pytest
from made_histories import KILL, Asked, asked, made, raft, single, stepped

from lab.history import History, Injection, Outcome, Sample, Span
from lab.invariants import answers as a
from lab.invariants import consensus as c
from lab.invariants import heartbeats as hb
from lab.invariants import kinds as k
from lab.invariants import kubelets, since
from lab.invariants import leaders as ld
from lab.invariants import moving as mv
from lab.invariants import streams as s
from lab.invariants import workload as w
from lab.invariants import writes as wr
from lab.invariants.base import Invariant
from lab.invariants.catalogue import INVARIANTS
from lab.invariants.finding import Verdict
from lab.invariants.resample import Resample
from lab.invariants.terms import (
    ALL_AFTER,
    IN_FORCE,
    Among,
    Connection,
    Count,
    Lease,
    Paths,
    Phases,
    Question,
    Seconds,
    Share,
    Since,
    Step,
    Tolerations,
)

HELD, BROKEN, UNKNOWN = Verdict.HELD, Verdict.BROKEN, Verdict.UNKNOWN
API, DIRECT, DNS = Question("api"), Question("api-direct"), Question("dns")
CM = Lease("kube-controller-manager")
NOBODY = made()
RESET = "ConnectionResetError: [Errno 104] Connection reset by peer"
CUT = {"steady": Span(0, 10), "fault": Span(10, 20)}  # ended before its recovery


def quorum(*, lost: bool = False) -> Injection:
    """A fault that holds the majority down."""
    return replace(
        KILL, fault="quorum-lost" if lost else "partition", machines=("k8s-master1", "k8s-master2")
    )


def leases(*course: tuple[float, str, int], scheduler: str = "m2") -> Asked:
    """An observer of both leases; the course is of the controller-manager's."""
    return stepped(
        "leases",
        *(
            (
                since,
                {
                    "kube-controller-manager": {"holder": holder, "transitions": count},
                    "kube-scheduler": {"holder": scheduler, "transitions": 1},
                },
            )
            for since, holder, count in course
        ),
    )


def pod(sent: float, *phases: float, took: float = 0.0, said: str = "") -> Sample:
    """A new pod that came so far."""
    outcome = Outcome.OK if len(phases) == 3 else Outcome.FAILED
    return Sample("", sent, sent, sent + (took or phases[-1]), outcome, said, phases)


def renewal(at: float, *, found: bool = True) -> Sample:
    """A lease of etcd that is renewed for 10 s, or found to be gone."""
    outcome = Outcome.OK if found else Outcome.FAILED
    value = {"ttl": 10, "found": found}
    return Sample("", at, at, at + 0.01, outcome, acked=found, value=value)


def workers_pod(number: int, *pods: Sample) -> Asked:
    """New pods of one worker."""
    probe, samples = single("new-pod", *pods)
    name = f"new-pod@{number}"
    return replace(probe, name=name), tuple(replace(each, probe=name) for each in samples)


def hung_read(*, by_phase: bool) -> Asked:
    """Nobody writes from 12 to 20 s; the last write before is acknowledged, its read given up 5 s later."""
    probe, samples = asked("etcd", failing=[(12, 20)], writes=True)
    last = max(place for place, sample in enumerate(samples) if sample.scheduled < 12)
    known = {"phases": (0.001, 0.002, 0.01)} if by_phase else {"acknowledged": 0.01}
    changed = replace(
        samples[last], outcome=Outcome.FAILED, answered=samples[last].sent + 5, acked=True, **known
    )
    return probe, (*samples[:last], changed, *samples[last + 1 :])


def event(at: float, delay: float | None, seen: int = 1, *, ordered: bool = True) -> Sample:
    """An acknowledged write and what the watch showed of it."""
    value = {"delay": delay, "seen": seen, "ordered": ordered}
    return Sample("", at, at, at + 0.01, Outcome.OK, key=f"k{at:g}", acked=True, value=value)


def watch(*more: Sample) -> Asked:
    """A watch that shows a write of every second, and these."""
    return single("api-watch", *(event(float(at), 0.1) for at in range(60)), *more, every=1)


WRITES = asked("etcd", name="etcd@m1", target="m1", writes=True)
KEYS = [sample.key for sample in WRITES[1]]
MEMBERS = (raft("m1", (0, 4, "m1")), raft("m2", (0, 4, "m1")))
ELECTED = (
    raft("m1", (0, 4, "m1"), silent=[(10, 30)]),
    raft("m2", (0, 4, "m1"), (11, 4, ""), (12.5, 5, "m2")),
)
# A member that says nothing while another one is elected.
UNSEEN = raft("m1", (0, 4, "m1"), (12, 6, "m2"), silent=[(11, 16)])
# One that says nothing when the phases end, and something soon after.
SOON = {"steady": Span(0, 10), "fault": Span(10, 30), "recovery": Span(30, 40)}
LATE = raft("m1", (0, 4, "m1"), silent=[(36, 41)])
LATE_AND_NEW = raft("m1", (0, 4, "m1"), (38, 5, "m2"), silent=[(36, 41)])
READY = {"k8s-worker1": "True", "k8s-worker2": "True"}
DOWN = {**READY, "k8s-worker1": "Unknown"}
STAYED = stepped("nodes", (0, READY))
FLAPPED = stepped("nodes", (0, READY), (25, DOWN), (38, READY))
WORKER = replace(KILL, machines=("k8s-worker1",))
PODS = {
    "default/web": ["k8s-worker1", "Running", True, ""],
    "default/dns": ["k8s-worker2", "Running", True, ""],
}
FEWER = {"default/dns": PODS["default/dns"]}
FLICKER = asked(failing=[(t, t + 0.1) for t in range(60)])
TAKEN = leases((0, "m1", 1), (25, "m2", 2))
LATER = replace(KILL, number=2, begun=29.5, in_force=30.0, heal_begun=33.0, healed=34.0)
APART = (KILL, LATER)
SILENT, REFUSING = asked(failing=[(10, 30)]), asked(failing=[(30, 32)], said=RESET)
REBOOTED = (SILENT[0], (*SILENT[1][:300], *REFUSING[1][300:]))
SAID = {"m1": [[9.0, f"{CM}: E leaderelection lost"], [21.5, f"{CM}[7]: E1126 Leaderelection lost"]]}
GAVE_UP: dict[str, Any] = {"failing": [(0, 60)], "deadline": 12, "writes": True, "outcome": Outcome.UNKNOWN}
NEVER = {CM: {"m1": [[0, None]]}}

ADDRESSES = {"machines.k8s-master1.address": "a", "machines.k8s-master2.address": "b"}
ENDED = [
    13.2,
    'E1127 "Unhandled Error" err="part of the existing bootstrap client certificate in'
    ' /opt/kubernetes/cfg/kubelet.kubeconfig is expired: 2026-11-26 04:00:00 +0000 UTC"',
]
REFUSED = [
    14.5,
    'E1127 "Unhandled Error" err="kubernetes.io/kube-apiserver-client-kubelet: Failed while requesting a'
    ' signed certificate from the control plane: cannot create certificate signing request: Unauthorized"',
]


def slow(seconds: float) -> Asked:
    """Answers of the fault phase's first half that take so long."""
    probe, samples = asked()
    return probe, tuple(
        replace(each, answered=each.sent + seconds) if 10 <= each.scheduled < 20 else each for each in samples
    )


def moved(*course: tuple[float, str], of: str = "moved") -> Asked:
    """Where the pods of a Deployment and of a StatefulSet were, from when on."""
    pods = [
        (since, {f"thwlab-probes/{of}-{node}": [node, "Running", True, ""],
                 "thwlab-probes/ordinal-0": [node, "Running", True, ""]})
        for since, node in course
    ]  # fmt: skip
    return stepped("pods", *pods)


def on_worker(*probes: Asked) -> History:
    """A run in which the first worker was hit."""
    return made(*probes, injections=[WORKER])


def late_heartbeats(*counts: tuple[int, int, int]) -> list[Asked]:
    """What each member had counted when the fault began, in its middle, and from 40 s on."""
    return [
        stepped("heartbeats", (0, {"late": 0}), (9, {"late": before}), (20, {"late": then}),
                (40, {"late": last}), name=f"heartbeats@{n}", target=f"k8s-master{n}")
        for n, (before, then, last) in enumerate(counts, 1)
    ]  # fmt: skip


CASES: list[tuple[Invariant, History, Verdict, float | None]] = [
    # availability: 5 of 50 s without an answer
    (a.Availability(of=API, at_least=Share(0.89)), made(asked(failing=[(10, 15)])), HELD, 0.9),
    (a.Availability(of=API, at_least=Share(0.91)), made(asked(failing=[(10, 15)])), BROKEN, 0.9),
    (a.Availability(of=API, at_least=Share(0.9)), NOBODY, UNKNOWN, None),
    (a.Availability(of=API, at_least=Share(0.9)), made(asked(), phases=CUT), UNKNOWN, None),
    (a.Availability(of=API, at_least=Share(0.95)), made(asked(missing=[(10, 15)])), UNKNOWN, 0.9),
    (a.Availability(of=API, at_least=Share(0.9)), made(asked(lost="off", missing=[(10, 40)])), UNKNOWN, None),
    (a.Away(of=API, during=Phases("fault"), at_most=Share(0.01)), made(asked(failing=[(10, 30)])), HELD, 0),
    (a.Away(of=API, during=Phases("fault"), at_most=Share(0.01)), made(asked()), BROKEN, 1),
    (a.Away(of=API, during=Phases("fault"), at_most=Share(0.01)), NOBODY, UNKNOWN, None),
    (a.Away(of=API, during=IN_FORCE, at_most=Share(0)), made(asked(failing=[(10.2, 30)])), HELD, 0),
    # asked before the healing began and answered after it, at 33 s: that was not while it was in force
    (a.Away(of=API, during=IN_FORCE, at_most=Share(0)), made(asked(took=25)), HELD, 0),
    (a.Away(of=API, during=IN_FORCE, at_most=Share(0)), made(asked(), injections=[]), UNKNOWN, None),
    (
        a.Away(of=API, during=IN_FORCE, at_most=Share(0)),
        made(asked(), injections=[KILL, LATER]),
        UNKNOWN,
        None,
    ),
    # the last good answer is that of 9.9 s, 0.01 s later; the window begins at 10 s
    (a.LongestOutage(of=API, at_most=Seconds(3.1)), made(asked(failing=[(12, 15)])), HELD, 3.1),
    (a.LongestOutage(of=API, at_most=Seconds(3.0)), made(asked(failing=[(12, 15)])), BROKEN, 3.1),
    (a.LongestOutage(of=API, at_most=Seconds(5)), made(asked(failing=[(10, 60)])), BROKEN, 50),
    (a.LongestOutage(of=API, at_most=Seconds(5)), NOBODY, UNKNOWN, None),
    (a.LongestOutage(of=API, at_most=Seconds(1)), made(asked(missing=[(12, 15)])), UNKNOWN, 3.1),
    (
        a.LongestOutage(of=API, at_most=Seconds(1)),
        made(asked(missing=[(12, 15)], failing=[(40, 44)])),
        BROKEN,
        4.1,
    ),
    (a.LongestBlock(of=API, at_most=Seconds(3)), made(asked(failing=[(12, 15)])), HELD, 3),
    (a.LongestBlock(of=API, at_most=Seconds(2.9)), made(asked(failing=[(12, 15)])), BROKEN, 3),
    (a.LongestBlock(of=API, at_most=Seconds(3)), NOBODY, UNKNOWN, None),
    # a block of 3 s and two single failures, of 500 questions
    (
        a.Scattered(of=API, at_most=Share(0.004)),
        made(asked(failing=[(12, 15), (20, 20.1), (40, 40.1)])),
        HELD,
        0.004,
    ),
    (a.Scattered(of=API, at_most=Share(0.001)), made(asked(failing=[(12, 15), (20, 20.1)])), BROKEN, 0.002),
    (a.Scattered(of=API, at_most=Share(0.001)), NOBODY, UNKNOWN, None),
    # 100 of 600 answers are slow, which are those of the slowest hundredth
    (a.Latency(of=API, at_most=Seconds(0.5)), made(slow(0.5)), HELD, 0.5),
    (a.Latency(of=API, at_most=Seconds(0.4)), made(slow(0.5)), BROKEN, 0.5),
    (a.Latency(of=API, at_most=Seconds(0.4), quantile=Share(0.5)), made(slow(0.5)), HELD, 0.01),
    (a.Latency(of=API, at_most=Seconds(0.4)), made(asked(failing=[(0, 60)])), UNKNOWN, None),
    (since.FirstFailure(of=API, at_least=Seconds(2)), made(asked(failing=[(12, 13)])), HELD, 2),
    (since.FirstFailure(of=API, at_least=Seconds(2)), made(asked(failing=[(11, 13)])), BROKEN, 1),
    (since.FirstFailure(of=API, at_least=Seconds(2)), made(asked()), HELD, None),
    (since.FirstFailure(of=API, at_least=Seconds(60)), made(asked()), UNKNOWN, None),
    (since.Recovery(of=API, at_most=Seconds(6)), made(asked(failing=[(10, 15)])), HELD, 5.01),
    (since.Recovery(of=API, at_most=Seconds(4)), made(asked(failing=[(10, 15)])), BROKEN, 5.01),
    (since.Recovery(of=API, at_most=Seconds(4)), made(asked(failing=[(10, 60)])), BROKEN, None),
    (since.Recovery(of=API, at_most=Seconds(45)), made(asked(failing=[(10, 52)])), UNKNOWN, None),
    (
        since.Recovery(of=API, since=Since.HEAL, at_most=Seconds(2)),
        made(asked(failing=[(10, 31)])),
        HELD,
        1.01,
    ),
    (since.Recovery(of=API, at_most=Seconds(4)), made(asked(), injections=()), UNKNOWN, None),
    # kinds of failure
    (k.ResetsOnly(of=API), made(asked(failing=[(10, 11)], said=RESET)), HELD, 0),
    (k.ResetsOnly(of=API), made(asked(failing=[(11, 12)])), BROKEN, 10),
    (k.ResetsOnly(of=API), made(asked()), UNKNOWN, None),
    (k.TimeoutsOnly(of=API), made(asked(failing=[(10, 11)])), HELD, 0),
    (k.TimeoutsOnly(of=API), made(asked(failing=[(11, 12)], said=RESET)), BROKEN, 10),
    (k.TimeoutsOnly(of=API), made(asked()), UNKNOWN, None),
    (k.TimeoutsOnly(of=API, during=IN_FORCE), made(REBOOTED), HELD, 0),
    (k.TimeoutsOnly(of=API, during=ALL_AFTER), made(REBOOTED), BROKEN, 20),
    (
        k.RefusedWithin(of=API, at_most=Seconds(5)),
        made(asked(failing=[(12, 20)], said="SSLError: certificate has expired")),
        HELD,
        2.01,
    ),
    (k.RefusedWithin(of=API, at_most=Seconds(5)), made(asked(failing=[(12, 60)])), BROKEN, None),
    (k.RefusedWithin(of=API, at_most=Seconds(90)), made(asked(failing=[(12, 60)])), UNKNOWN, None),
    (
        k.ResetWithin(of=API, at_most=Seconds(5)),
        made(asked(failing=[(12, 20)], said=RESET, outcome=Outcome.UNKNOWN)),
        HELD,
        2.01,
    ),
    (
        k.ResetWithin(of=API, at_most=Seconds(5)),
        made(asked(failing=[(12, 60)], said="HTTP 500: no")),
        BROKEN,
        None,
    ),
    (k.ResetWithin(of=API, at_most=Seconds(90)), made(asked(failing=[(12, 60)])), UNKNOWN, None),
    # once a second, from 12 s on: 13 to 15, so three questions
    (Resample(of=API, at_most=Seconds(1)), made(asked(failing=[(12.5, 15.5)])), HELD, 0),
    (
        Resample(of=API, at_most=Seconds(1)),
        made(FLICKER),
        BROKEN,
        49.9,
    ),
    (Resample(of=API, at_most=Seconds(1), hz=Count(100)), made(asked()), UNKNOWN, None),
    # etcd
    (c.ReElection(at_most=Seconds(5)), made(*ELECTED), HELD, 2.51),
    (c.ReElection(at_most=Seconds(2)), made(*ELECTED), BROKEN, 2.51),
    (c.ReElection(at_most=Seconds(5)), made(raft("m2", (0, 4, "m1"), (11, 5, ""))), BROKEN, None),
    (c.ReElection(at_most=Seconds(5)), made(*MEMBERS), UNKNOWN, None),
    (c.ReElection(at_most=Seconds(5)), made(raft("m1", (0, 4, "m1"), silent=[(10, 60)])), UNKNOWN, None),
    (c.LeaderChanges(at_most=Count(1)), made(*ELECTED), HELD, 1),
    (c.LeaderChanges(at_most=Count(0)), made(*ELECTED), BROKEN, 1),
    (c.LeaderChanges(at_most=Count(0)), made(raft("m1", (0, 4, "m1"), silent=[(10, 20)])), HELD, 0),
    (c.LeaderChanges(at_most=Count(0)), made(raft("m1", (0, 4, "m1"), silent=[(10, 99)])), UNKNOWN, None),
    (c.LeaderChanges(at_most=Count(0)), made(LATE, phases=SOON), HELD, 0),
    (c.LeaderChanges(at_most=Count(0)), made(LATE_AND_NEW, phases=SOON), UNKNOWN, None),
    (c.LeaderChanges(at_most=Count(1)), made(UNSEEN), UNKNOWN, None),
    (c.LeaderChanges(at_most=Count(2)), made(UNSEEN), HELD, 1),
    (c.LeaderChanges(at_most=Count(0)), made(UNSEEN), BROKEN, 1),
    (c.TermChanges(at_most=Count(2)), made(raft("m1", (0, 4, "m1"), (12, 6, "m2"))), HELD, 2),
    (c.TermChanges(at_most=Count(1)), made(raft("m1", (0, 4, "m1"), (12, 6, ""))), BROKEN, 2),
    (c.TermChanges(at_most=Count(0)), NOBODY, UNKNOWN, None),
    # terms 5 and 6 had candidates only
    (c.SplitVotes(at_most=Count(2)), made(raft("m1", (0, 4, "m1"), (12, 5, ""), (14, 7, "m2"))), HELD, 2),
    (c.SplitVotes(at_most=Count(1)), made(raft("m1", (0, 4, "m1"), (12, 5, ""), (14, 7, "m2"))), BROKEN, 2),
    (c.SplitVotes(at_most=Count(0)), made(*ELECTED), HELD, 0),
    (c.SplitVotes(at_most=Count(0)), NOBODY, UNKNOWN, None),
    (c.MinorityAcks(), made(WRITES, *MEMBERS), HELD, 0),
    # m1 goes on to acknowledge in term 4 from 12 to 20 s, when m2 leads in term 5;
    # of what it acknowledged last it may have known better
    (
        c.MinorityAcks(),
        made(WRITES, raft("m1", (0, 4, "m1"), (20, 5, "m2")), raft("m2", (0, 4, "m1"), (12, 5, "m2"))),
        BROKEN,
        78,
    ),
    (c.MinorityAcks(), made(WRITES, *MEMBERS, injections=[quorum(lost=True)]), BROKEN, 198),
    (c.MinorityAcks(), made(asked("etcd"), *MEMBERS), UNKNOWN, None),
    (wr.WriteGap(at_most=Seconds(3.1)), made(asked("etcd", failing=[(12, 15)], writes=True)), HELD, 3.1),
    (wr.WriteGap(at_most=Seconds(3)), made(asked("etcd", failing=[(12, 15)], writes=True)), BROKEN, 3.1),
    (wr.WriteGap(at_most=Seconds(5)), made(hung_read(by_phase=False)), BROKEN, 8.1),
    (wr.WriteGap(at_most=Seconds(5)), made(hung_read(by_phase=True)), BROKEN, 8.1),
    (wr.WriteGap(at_most=Seconds(3)), NOBODY, UNKNOWN, None),
    (wr.WriteGap(at_most=Seconds(3)), made(asked("etcd", missing=[(12, 16)], writes=True)), UNKNOWN, None),
    (wr.InFlight(at_most=Seconds(4)), made(asked("etcd-patient", took=3, writes=True)), HELD, 3),
    (wr.InFlight(at_most=Seconds(2)), made(asked("etcd-patient", took=3, writes=True)), BROKEN, 3),
    (wr.InFlight(at_most=Seconds(2)), made(asked("etcd-patient", writes=False)), UNKNOWN, None),
    (
        wr.InFlight(of=Question("etcd"), at_most=Seconds(8)),
        made(asked("etcd", failing=[(0, 60)], took=5, deadline=5, writes=True)),
        UNKNOWN,
        None,
    ),
    # etcd says after 7 s that it gave up; who waits longer hears it, and a silent victim is no survivor
    (wr.InFlight(at_most=Seconds(8)), made(asked("etcd-patient", took=7.1, **GAVE_UP)), HELD, 7.1),
    (wr.InFlight(at_most=Seconds(8)), made(asked("etcd-patient", took=12, **GAVE_UP)), BROKEN, 12),
    (
        wr.InFlight(at_most=Seconds(8), among=Among.SURVIVORS),
        made(
            asked("etcd-patient", took=12, name="p@m1", target="k8s-master1", **GAVE_UP),
            asked("etcd-patient", took=7.1, name="p@m2", target="k8s-master2", **GAVE_UP),
        ),
        HELD,
        7.1,
    ),
    (wr.LostWrites(), made(WRITES, *MEMBERS, ledger={"m1": KEYS, "m2": KEYS}), HELD, 0),
    (wr.LostWrites(), made(WRITES, *MEMBERS, ledger={"m1": KEYS, "m2": KEYS[:-2]}), BROKEN, 2),
    (wr.LostWrites(), made(WRITES, *MEMBERS, ledger={"m1": KEYS[1:], "m2": None}), BROKEN, 1),
    (wr.LostWrites(), made(WRITES, *MEMBERS, ledger={"m1": KEYS, "m2": None}), UNKNOWN, None),
    (wr.LostWrites(), made(WRITES, *MEMBERS, ledger={"m1": KEYS}), UNKNOWN, None),
    (wr.LostWrites(), made(WRITES), UNKNOWN, None),
    (wr.LostWrites(), made(asked("etcd"), ledger={"m1": []}), UNKNOWN, None),
    (wr.Linearizable(), made(linearizable={"a": "held", "b": {"verdict": "held"}}), HELD, 0),
    (wr.Linearizable(), made(linearizable={"a": "unknown", "b": {"verdict": "broken"}}), BROKEN, 1),
    (wr.Linearizable(), made(linearizable={"a": "held", "b": "unknown"}), UNKNOWN, 0),
    (wr.Linearizable(), made(linearizable={}), UNKNOWN, None),
    (wr.HashKv(), made(*MEMBERS, hash_kv={"m1": 7, "m2": 7}), HELD, 0),
    (wr.HashKv(), made(*MEMBERS, hash_kv={"m1": 7, "m2": 8}), BROKEN, 1),
    (wr.HashKv(), made(*MEMBERS, hash_kv={"m1": 7, "m2": None}), UNKNOWN, None),
    (wr.HashKv(), made(*MEMBERS, hash_kv={"m1": 7}), UNKNOWN, None),
    (wr.BrokenPromises(), made(single("etcd-lease", *(renewal(t) for t in range(0, 60, 2)))), HELD, 0),
    (wr.BrokenPromises(), made(single("etcd-lease", renewal(12), renewal(14, found=False))), BROKEN, 1),
    (wr.BrokenPromises(), made(single("etcd-lease", renewal(12), renewal(30, found=False))), HELD, 0),
    (wr.BrokenPromises(), made(single("etcd-lease", renewal(14, found=False))), UNKNOWN, None),
    (
        wr.BrokenPromises(),
        made(single("etcd-lease", renewal(9.5), renewal(11.5, found=False), renewal(13.5))),
        BROKEN,
        1,
    ),
    # controller-manager and scheduler
    (ld.LeaseTakeover(lease=CM, at_most=Seconds(20)), made(TAKEN), HELD, 15.01),
    (
        ld.LeaseTakeover(lease=CM, at_most=Seconds(10)),
        made(TAKEN),
        BROKEN,
        15.01,
    ),
    (ld.LeaseTakeover(lease=CM, at_most=Seconds(20)), made(leases((0, "m1", 1))), BROKEN, None),
    (ld.LeaseTakeover(lease=CM, at_most=Seconds(90)), made(leases((0, "m1", 1))), UNKNOWN, None),
    (ld.OverlappingHolders(), made(TAKEN), HELD, 0),
    (ld.OverlappingHolders(), made(leases((0, "m1", 1), (25, "m2", 1))), BROKEN, 1),
    (
        ld.OverlappingHolders(),
        made(leases((0, "m1", 1)), holding={CM: {"m1": [[0, 26]], "m2": [[25, None]]}}),
        BROKEN,
        1,
    ),
    (ld.OverlappingHolders(), NOBODY, UNKNOWN, None),
    (ld.ExitOfOldHolder(lease=CM, at_most=Seconds(12)), made(holding={CM: {"m1": [[0, 20]]}}), HELD, 10),
    (
        ld.ExitOfOldHolder(lease=CM, at_most=Seconds(12)),
        made(holding=NEVER),
        BROKEN,
        None,
    ),
    (ld.ExitOfOldHolder(lease=CM, at_most=Seconds(12)), NOBODY, UNKNOWN, None),
    (ld.ExitOfOldHolder(lease=CM, at_most=Seconds(12)), made(TAKEN, logs=SAID), HELD, 11.5),
    (ld.ExitOfOldHolder(lease=CM, at_most=Seconds(11)), made(TAKEN, logs=SAID), BROKEN, 11.5),
    (ld.ExitOfOldHolder(lease=CM, at_most=Seconds(12)), made(TAKEN, logs={"m1": []}), UNKNOWN, None),
    # nodes and pods
    (
        w.NodeNotReady(at_most=Seconds(20)),
        made(stepped("nodes", (0, READY), (25, DOWN)), injections=[WORKER]),
        HELD,
        15.01,
    ),
    (
        w.NodeNotReady(at_most=Seconds(20)),
        made(STAYED, injections=[WORKER]),
        BROKEN,
        None,
    ),
    (w.NodeNotReady(at_most=Seconds(20)), made(STAYED), UNKNOWN, None),
    (
        w.NodesReady(at_most=Seconds(9)),
        made(FLAPPED),
        HELD,
        8.01,
    ),
    (w.NodesReady(at_most=Seconds(5)), made(stepped("nodes", (0, READY), (25, DOWN))), BROKEN, None),
    (w.NodesReady(at_most=Seconds(60)), made(stepped("nodes", (0, DOWN))), UNKNOWN, None),
    (w.NodeFlaps(), made(STAYED), HELD, 0),
    (w.NodeFlaps(), made(FLAPPED), BROKEN, 1),
    (w.NodeFlaps(), made(stepped("nodes", (0, READY), failing=[(20, 40)])), UNKNOWN, None),
    (w.Evictions(), made(stepped("pods", (0, PODS))), HELD, 0),
    (w.Evictions(), made(stepped("pods", (0, PODS), (40, FEWER))), BROKEN, 1),
    (w.Evictions(), made(stepped("pods", (0, PODS), failing=[(35, 60)])), UNKNOWN, None),
    (
        w.EndpointDropped(at_most=Seconds(30)),
        made(stepped("endpoints", (0, ["a", "b"]), (27, ["b"]))),
        HELD,
        17.01,
    ),
    (w.EndpointDropped(at_most=Seconds(30)), made(stepped("endpoints", (0, ["a", "b"]))), BROKEN, None),
    (w.EndpointDropped(at_most=Seconds(90)), made(stepped("endpoints", (0, ["a", "b"]))), UNKNOWN, None),
    (w.EndpointFlaps(), made(stepped("endpoints", (0, ["a", "b"])), plan=ADDRESSES), HELD, 0),
    # a's machine is the victim's
    (w.EndpointFlaps(), made(stepped("endpoints", (0, ["a", "b"]), (27, ["b"])), plan=ADDRESSES), HELD, 0),
    (w.EndpointFlaps(), made(stepped("endpoints", (0, ["a", "b"]), (27, ["a"])), plan=ADDRESSES), BROKEN, 1),
    (
        w.EndpointFlaps(),
        made(stepped("endpoints", (0, ["a"]), failing=[(20, 40)]), plan=ADDRESSES),
        UNKNOWN,
        None,
    ),
    (kubelets.LockedOut(at_most=Seconds(15)), made(logs={"k8s-master1": [ENDED, REFUSED]}), HELD, 4.5),
    (kubelets.LockedOut(at_most=Seconds(4)), made(logs={"k8s-master1": [ENDED, REFUSED]}), BROKEN, 4.5),
    (kubelets.LockedOut(at_most=Seconds(15)), made(logs={"k8s-master1": [ENDED]}), UNKNOWN, None),
    (kubelets.LockedOut(at_most=Seconds(15)), made(logs={"k8s-master2": [ENDED, REFUSED]}), UNKNOWN, None),
    # the victim counted 7, was started anew and counted 2 more; the other one 1
    (hb.LateHeartbeats(at_least=Share(0.9)), made(*late_heartbeats((5, 12, 2), (0, 1, 1))), HELD, 0.9),
    (hb.LateHeartbeats(at_least=Share(0.5)), made(*late_heartbeats((5, 5, 6), (0, 2, 3))), BROKEN, 0.25),
    (hb.LateHeartbeats(at_least=Share(0.5)), made(*late_heartbeats((5, 5, 5), (0, 0, 0))), UNKNOWN, None),
    (w.NewPod(at_most=Seconds(5)), made(single("new-pod", pod(12, 1, 2, 3), pod(22, 1, 2, 4.5))), HELD, 4.5),
    (w.NewPod(at_most=Seconds(2), step=Step.BOUND), made(single("new-pod", pod(12, 3, 4, 5))), BROKEN, 3),
    (w.NewPod(at_most=Seconds(30)), made(single("new-pod", pod(12, took=40))), BROKEN, None),
    (w.NewPod(at_most=Seconds(30)), made(single("new-pod", pod(12, 1, took=20))), UNKNOWN, None),
    (
        w.NewPod(at_most=Seconds(30)),
        made(workers_pod(1, pod(12, took=1)), workers_pod(2, pod(12, 1, took=40))),
        BROKEN,
        None,
    ),
    (
        w.NewPod(at_most=Seconds(30)),
        made(workers_pod(1, pod(12, 1, took=40)), workers_pod(2, pod(12, took=1))),
        BROKEN,
        None,
    ),
    (w.NewPod(at_most=Seconds(30)), NOBODY, UNKNOWN, None),
    (
        mv.Rescheduled(at_most=Seconds(20)),
        on_worker(moved((0, "k8s-worker1"), (28, "k8s-worker2"))),
        HELD,
        18.01,
    ),
    (
        mv.Rescheduled(at_most=Seconds(10)),
        on_worker(moved((0, "k8s-worker1"), (28, "k8s-worker2"))),
        BROKEN,
        18.01,
    ),
    (
        mv.Rescheduled(at_most=Seconds(20), tolerations=Tolerations.SHORT),
        on_worker(moved((0, "k8s-worker1"), (28, "k8s-worker2"), of="early")),
        HELD,
        18.01,
    ),
    (
        mv.Rescheduled(at_most=Seconds(20), tolerations=Tolerations.SHORT),
        on_worker(moved((0, "k8s-worker1"), (28, "k8s-worker2"))),
        UNKNOWN,
        None,
    ),
    (mv.Rescheduled(at_most=Seconds(20)), on_worker(moved((0, "k8s-worker1"))), BROKEN, None),
    (mv.Rescheduled(at_most=Seconds(90)), on_worker(moved((0, "k8s-worker1"))), UNKNOWN, None),
    (mv.Rescheduled(at_most=Seconds(20)), on_worker(moved((0, "k8s-worker2"))), UNKNOWN, None),
    (mv.TwiceRunning(), on_worker(moved((0, "k8s-worker1"))), HELD, 0),
    (mv.TwiceRunning(), on_worker(moved((0, "k8s-worker1"), (58, "k8s-worker2"))), BROKEN, 2),
    (mv.TwiceRunning(), on_worker(moved((0, "k8s-worker2"))), UNKNOWN, None),
    # streams
    (
        s.WatchDelay(at_most=Seconds(5)),
        made(watch(event(30.5, 4.0))),
        HELD,
        4,
    ),
    (
        s.WatchDelay(at_most=Seconds(3)),
        made(watch(event(30.5, 4.0))),
        BROKEN,
        4,
    ),
    (s.WatchDelay(at_most=Seconds(3)), made(single("api-watch", event(30, None, 0))), UNKNOWN, None),
    (s.WatchMissed(), made(watch()), HELD, 0),
    (s.WatchMissed(), made(watch(event(30.5, None, 0))), BROKEN, 1),
    (s.WatchMissed(), NOBODY, UNKNOWN, None),
    (s.WatchDoubled(), made(watch()), HELD, 0),
    (s.WatchDoubled(), made(watch(event(30.5, 1.0, 2))), BROKEN, 1),
    (s.WatchDoubled(), NOBODY, UNKNOWN, None),
    (s.WatchOutOfOrder(), made(watch()), HELD, 0),
    (
        s.WatchOutOfOrder(),
        made(watch(event(30.5, 1, ordered=False))),
        BROKEN,
        1,
    ),
    (s.WatchOutOfOrder(), NOBODY, UNKNOWN, None),
    (
        s.IdleCut(kept=Connection.EXEC, at_least=Seconds(19)),
        made(idle={"exec": {"lived": 20, "cut": True}}),
        HELD,
        20,
    ),
    (
        s.IdleCut(kept=Connection.EXEC, at_least=Seconds(60)),
        made(idle={"exec": {"lived": 20, "cut": True}}),
        BROKEN,
        20,
    ),
    (
        s.IdleCut(kept=Connection.EXEC, at_least=Seconds(60)),
        made(idle={"exec": {"lived": 20, "cut": False}}),
        UNKNOWN,
        None,
    ),
]


@pytest.mark.parametrize(
    ("invariant", "history", "verdict", "value"),
    CASES,
    ids=[f"{case[0].word}-{case[2]}-{n}" for n, case in enumerate(CASES)],
)
def test_an_invariant_is_judged(
    invariant: Invariant, history: History, verdict: Verdict, value: float | None
) -> None:
    finding = invariant.judge(history)
    assert (finding.verdict, finding.value) == (verdict, value if value is None else pytest.approx(value))
    assert finding.text, "a finding says what it rests on, or why it rests on nothing"
    assert finding.invariant == invariant.title


@pytest.mark.parametrize("word", INVARIANTS)
def test_every_invariant_is_tried_three_ways(word: str) -> None:
    assert {verdict for each, _, verdict, _ in CASES if each.word == word} == {HELD, BROKEN, UNKNOWN}


def test_the_worst_path_counts_and_is_named() -> None:
    good = asked("dns", name="dns@w1", at="w1")
    bad = asked("dns", name="dns@w2", at="w2", failing=[(10, 15)])
    finding = a.Availability(of=DNS, at_least=Share(0.95)).judge(made(good, bad))
    assert (finding.verdict, finding.value) == (BROKEN, pytest.approx(0.9))
    assert finding.text.startswith("dns@w2: 450 of 500 answered; 50 timed out in connect")


def test_all_paths_together_may_be_judged_instead() -> None:
    good, bad = asked("dns", name="dns@w1"), asked("dns", name="dns@w2", failing=[(10, 15)])
    finding = a.Availability(of=DNS, at_least=Share(0.95), paths=Paths.TOGETHER).judge(made(good, bad))
    assert (finding.verdict, finding.value) == (HELD, pytest.approx(0.95))
    assert finding.invariant == "availability of dns together during fault+recovery"
    assert finding.text.startswith("dns@w1: all 500 answered; dns@w2: 450 of 500")
    away = asked("dns", name="dns@w2", lost="off", missing=[(10, 60)])
    alone = a.Availability(of=DNS, at_least=Share(0.95), paths=Paths.TOGETHER).judge(made(good, away))
    assert alone.verdict is UNKNOWN


def test_a_broken_path_beats_one_whose_vantage_point_was_away() -> None:
    bad = asked("dns", name="dns@w2", failing=[(10, 15)])
    away = asked("dns", name="dns@w1", at="w1", lost="it was off", missing=[(10, 60)])
    invariant = a.Availability(of=DNS, at_least=Share(0.95))
    assert invariant.judge(made(bad, away)).verdict is BROKEN
    alone = invariant.judge(made(asked("dns", name="dns@w2"), away))
    assert alone.verdict is UNKNOWN
    assert "it was off" in alone.text


def test_survivors_are_those_that_neither_run_on_nor_ask_a_victim() -> None:
    dead = asked("api-direct", name="api@m1", target="k8s-master1", failing=[(10, 30)])
    alive = asked("api-direct", name="api@m2", target="k8s-master2")
    history = made(dead, alive)
    verdicts = {
        among: a.Availability(of=DIRECT, at_least=Share(0.99), among=among).judge(history).verdict
        for among in Among
    }
    assert verdicts == {Among.ALL: BROKEN, Among.SURVIVORS: HELD, Among.VICTIMS: BROKEN}


def test_no_survivor_is_unknown() -> None:
    dead = asked("api-direct", target="k8s-master1")
    finding = a.Availability(of=DIRECT, at_least=Share(0.5), among=Among.SURVIVORS).judge(made(dead))
    assert (finding.verdict, finding.text) == (UNKNOWN, "nobody asked api-direct among survivors")


def test_a_fault_that_did_not_bite_starts_no_clock() -> None:
    blunt = replace(KILL, in_force=None, evidence="")
    finding = c.ReElection(at_most=Seconds(5)).judge(made(*ELECTED, injections=[blunt]))
    assert (finding.verdict, finding.text) == (
        UNKNOWN,
        "nothing proves that kill-and-hold of k8s-master1 bit",
    )


def test_time_is_not_judged_where_machines_are_emulated() -> None:
    history = made(asked(failing=[(10, 30)]), emulated=True)
    outage = a.LongestOutage(of=API, at_most=Seconds(5)).judge(history)
    assert (outage.verdict, outage.value) == (Verdict.NOT_JUDGED, pytest.approx(20.01))
    assert a.LongestOutage(of=DNS, at_most=Seconds(5)).judge(history).verdict is UNKNOWN


def test_observers_that_look_too_seldom_are_late_where_machines_are_emulated() -> None:
    """A master was silent for 76 s there, and nobody saw the nodes for 44 s."""
    seldom = stepped("nodes", (0, READY), failing=[(20, 40)])
    assert w.NodeFlaps().judge(made(seldom)).verdict is UNKNOWN
    found = w.NodeFlaps().judge(made(seldom, emulated=True))
    assert (found.verdict, found.text) == (Verdict.NOT_JUDGED, "for 21.0 s nobody saw the nodes")
    assert w.NodeFlaps().judge(made(FLAPPED, emulated=True)).verdict is BROKEN
    never = stepped("nodes", (0, READY), failing=[(0, 60)])
    assert w.NodeFlaps().judge(made(never, emulated=True)).verdict is UNKNOWN
    hidden = c.LeaderChanges(at_most=Count(1)).judge(made(UNSEEN, emulated=True))
    assert hidden.verdict is Verdict.NOT_JUDGED


def test_a_share_that_turns_on_deadlines_is_a_limit_of_time() -> None:
    """An emulated lab gives up questions that it would have answered."""
    most = a.Availability(of=API, at_least=Share(0.9))
    slow = asked(failing=[(10, 12), (20, 24)])
    assert most.judge(made(slow)).verdict is BROKEN
    found = most.judge(made(slow, emulated=True))
    assert (found.verdict, found.value) == (Verdict.NOT_JUDGED, pytest.approx(0.88))
    assert most.judge(made(asked(failing=[(10, 10.5)]), emulated=True)).verdict is HELD
    refused = asked(failing=[(10, 18)], said=RESET, name="api@other")
    assert most.judge(made(slow, refused, emulated=True)).verdict is BROKEN
    assert most.judge(made(refused, emulated=True)).verdict is BROKEN
    assert most.judge(made(asked(failing=[(0, 60)]), emulated=True)).verdict is BROKEN, "not slow, but away"
    some = a.Availability(of=API, at_least=Share(0.9), paths=Paths.TOGETHER)
    assert some.judge(made(slow, emulated=True)).verdict is Verdict.NOT_JUDGED


def test_both_figures_tell_an_election_from_a_dead_backend() -> None:
    finding = a.LongestBlock(of=API, at_most=Seconds(5)).judge(
        made(asked(failing=[(12, 15), *((t, t + 0.1) for t in range(20, 40))]))
    )
    assert finding.text == (
        "api: longest run of failures 30 questions (3.00 s), 4 % failed scattered besides"
    )


def test_a_pod_that_nobody_binds_points_to_who_held_the_lease() -> None:
    """Case D8: a fresh lease is no proof that anybody works."""
    finding = w.NewPod(at_most=Seconds(30), step=Step.BOUND).judge(
        made(single("new-pod", pod(12, took=40, said="Pending")), leases((0, "m1", 1), scheduler="m2"))
    )
    assert finding.verdict is BROKEN
    assert "Pending; m2 held the scheduler's lease meanwhile" in finding.text


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("timed out in connect", k.Kind.TIMEOUT),
        (RESET, k.Kind.RESET),
        ("ConnectionRefusedError: [Errno 111] Connection refused", k.Kind.RESET),
        ("RemoteDisconnected: Remote end closed connection without response", k.Kind.RESET),
        ("SSLEOFError: EOF occurred in violation of protocol", k.Kind.RESET),
        ("SSLCertVerificationError: certificate verify failed", k.Kind.TLS),
        ("HTTP 500: etcdserver: request timed out", k.Kind.STATUS),
        ("Wrong: HTTP 503: connection reset", k.Kind.STATUS),
        ("DNS rcode 2, 0 answers", k.Kind.STATUS),
        ("OSError: [Errno 113] No route to host", k.Kind.TIMEOUT),  # our own kernel found nobody there
        ("OSError: [Errno 101] Network is unreachable", k.Kind.OTHER),
    ],
)
def test_a_failure_is_told_by_what_the_prober_said(said: str, kind: k.Kind) -> None:
    assert k.kind_of(said) is kind


def test_a_kubelet_that_is_locked_out_says_since_when_and_why() -> None:
    """Case A8: not the network, and not unknown."""
    finding = kubelets.LockedOut(at_most=Seconds(15)).judge(made(logs={"k8s-master1": [ENDED, REFUSED]}))
    ended = "client certificate ended at 2026-11-26 04:00:00 +0000 UTC"
    assert finding.text == f"k8s-master1: {ended}, bootstrap token refused"


def test_of_a_worker_that_was_off_recovery_is_judged_by_who_asked_there_since() -> None:
    """Case D8: the probers of before are gone with their machine, and what they wrote with it."""
    gone = asked("dns", name="dns@w1", at="w1", lost="cold-start", end=0.0)
    probe, samples = asked("dns", name="dns@w1-again", at="w1", failing=[(40, 45)])
    later = tuple(each for each in samples if each.scheduled >= 40)
    back = replace(probe, again=True, began=40.0), later
    wanted = since.Recovery(of=DNS, since=Since.HEAL, at_most=Seconds(16))
    assert wanted.judge(made(gone)).verdict is UNKNOWN
    found = wanted.judge(made(gone, back))
    assert (found.verdict, found.value) == (HELD, pytest.approx(15.01))
    late = since.Recovery(of=DNS, since=Since.HEAL, at_most=Seconds(10)).judge(made(gone, back))
    assert late.verdict is BROKEN
    whole = a.Availability(of=DNS, at_least=Share(0.1)).judge(made(gone, back))
    assert whole.verdict is UNKNOWN, "what was answered while nobody asked is not known"
