"""Outages of known length: every probe that they concern reports them as they were, and no other one does.

What is held against the truth is what a user reads: the findings of `longest-outage`, as they are in the
report.  The truth is what a witness on the machine saw, not what the fault was meant to last.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from support_made import reported_of, scenario
from support_witness import Bounds, watching

from lab.cluster import Cluster
from lab.faults.targets import resolve
from lab.history import History, Probed
from lab.invariants.answers import LongestOutage
from lab.invariants.finding import Verdict
from lab.invariants.terms import Among, Question, Seconds
from lab.limits import Limits
from lab.scenario.between import Between
from lab.scenario.known import Known
from lab.session import LabSession

pytestmark = [pytest.mark.failover, pytest.mark.ci]

SECONDS = 240  # for which a witness looks at most: the run itself, its beginning and its end
FAR = 3600.0  # a limit that no run reaches: what is measured counts here, and not whether it held
TEXT = """\
name: {name}
about: An outage of known length, for the proof that it is measured as it was.
phases: {{steady: 10s, fault: 10s, recovery: 10s}}
faults:
  - {fault}
invariants:
{invariants}
"""
VICTIMS, SURVIVORS = Among.VICTIMS, Among.SURVIVORS


@dataclass(frozen=True)
class Case:
    """A fault, how a machine looks that has it, and whom it concerns.

    `hit` must report it and `spared` must not, each a question and whose probes; `touched` may, with the
    reason why nobody can say beforehand.
    """

    fault: str
    on: str
    hurt: str
    hit: tuple[tuple[str, Among], ...]
    spared: tuple[tuple[str, Among], ...]
    touched: dict[str, str]


def every(*questions: str) -> tuple[tuple[str, Among], ...]:
    return tuple((each, Among.ALL) for each in questions)


CUT = "nft list tables | grep -q 'inet thwlab-'"
CASES = {
    "balancer-away": Case(
        "{fault: terminate, unit: load-balancer, on: load-balancer, at: 2s, for: 3s}",
        "load-balancer",
        """! { IFS= read -r -d '' t </proc/net/tcp; [[ $t == *":192B 00000000:0000 0A "* ]]; }""",
        every("api", "api-watch", "scale"),
        every(
            "api-direct", "api-in-cluster", "cluster-ip", "node-port", "dns", "dns-pod", "etcd", "etcd-lease"
        ),
        {"new-pod": "kubelets reach the API through the balancer, and come back at a moment of their own"},
    ),
    "port-refused": Case(
        "{fault: reject, on: k8s-master1, ports: [6443], at: 2s, for: 1s}",
        "k8s-master1",
        CUT,
        (("api-direct", VICTIMS),),
        (
            ("api-direct", SURVIVORS),
            *every("cluster-ip", "node-port", "dns", "dns-pod", "etcd", "etcd-lease"),
        ),
        {
            "api": "what the balancer had already given to that master is cut",
            "api-watch": "its connections may lead to that master",
            "api-in-cluster": "the Service gives that master every second connection",
            "new-pod": "its controllers and kubelets may be connected to that master",
            "scale": "its controller may be connected to that master",
        },
    ),
    "names-away": Case(
        "{fault: silent, on: workers, ports: [53], inside: true, at: 2s, for: 2s}",
        "workers",
        CUT,
        every("dns"),
        every(
            "api",
            "api-direct",
            "api-in-cluster",
            "api-watch",
            "cluster-ip",
            "node-port",
            "etcd",
            "etcd-lease",
        ),
        {
            "dns-pod": "a pod's own machine may be healed before the other",
            "new-pod": "CoreDNS that nobody can ask is not ready, which costs the workers time",
            "scale": "the same",
        },
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_an_outage_is_reported_as_long_as_it_was(
    name: str, lab: Cluster, lab_session: LabSession, between: Between, seed: str, lab_limits: Limits
) -> None:
    """No less than its true length, no more than that plus two intervals and one answer's time.

    How much more is no verdict where machines compute too slowly to be judged by time.
    """
    case = CASES[name]
    asked = [each for each in (*case.hit, *case.spared) if each[0] in Known(lab.topology).usual]
    judged = [LongestOutage(of=Question(of), among=among, at_most=Seconds(FAR)) for of, among in asked]
    lines = "\n".join(
        f"  - {{invariant: longest-outage, of: {each.of}, among: {each.among}, at-most: 9s}}"
        for each in judged
    )
    text = TEXT.format(name=name, fault=case.fault, invariants=lines)
    machines = [lab.machines[each] for each in resolve(lab, case.on)]
    with watching(machines, case.hurt, SECONDS) as witness:
        seen, document = reported_of(lab_session, lab, scenario(lab, text), seed, proven=between.taken())
    true = witness.saw()
    assert true.least > 0.5, f"the fault was hardly there: {true}"
    told = {each["invariant"]: each["value"] for each in document["findings"]}
    wrong: list[str] = []
    limits: list[tuple[float, float, str]] = []
    for invariant in judged:
        values = dict(each_path(seen, invariant))
        assert told[invariant.title] == pytest.approx(max(values.values()), abs=1e-3), (
            "the report says otherwise"
        )
        hit = (invariant.of, invariant.among) in case.hit
        for probe, value in values.items():
            may = allowed(seen, seen.probes[probe], value, true if hit else None)
            if value < may.least:
                wrong.append(f"{probe}: {value:.3f} s, and it lasted {may.least:.3f} s at least")
            limits.append((value, may.most, f"{probe}: an outage" if hit else f"{probe}, which was not hit"))
    assert not wrong, "; ".join(wrong)
    for value, most, what in limits:
        lab_limits.at_most(value, most, what)


def each_path(seen: History, invariant: LongestOutage) -> list[tuple[str, float]]:
    """What the product's own invariant says of each probe by itself."""
    found = []
    for probe in seen.asking(invariant.of):
        alone = replace(seen, probes={probe.name: probe})
        finding = invariant.judge(alone)
        if finding.verdict is not Verdict.UNKNOWN:  # not among those that are meant
            assert finding.value is not None
            found.append((probe.name, finding.value))
    assert found, f"nobody asked {invariant.title}"
    return found


def allowed(seen: History, probe: Probed, value: float, true: Bounds | None) -> Bounds:
    """How long an outage may be reported that lasted so long; ``true`` is None where there was none."""
    more = 2 * probe.interval + answer_beside(seen, probe, value, began=true is not None)
    return Bounds(true.least, true.most + more) if true else Bounds(0.0, more)


def answer_beside(seen: History, probe: Probed, value: float, *, began: bool) -> float:
    """The time of the slowest good answer that was under way when the outage ended, or when it ``began``.

    What was under way when one began was cut off, so that it began, for who asked, up to one answer sooner.
    Where there was none nothing was cut off, and a slow answer before excuses nothing.
    """
    good = [sample for sample in seen.samples[probe.name] if sample.ok]
    moments = sorted(sample.answered for sample in good)
    gaps = [gap for gap in pairwise(moments) if gap[1] - gap[0] >= value - 1e-3]
    if not gaps:  # it reached to the edge of what was looked at
        return max(sample.answered - sample.sent for sample in good)
    return max(
        sample.answered - sample.sent
        for edge in (gaps[0] if began else gaps[0][1:])
        for sample in good
        if sample.sent < edge <= sample.answered
    )
