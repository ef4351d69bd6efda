"""Outages of known length: every probe that they concern reports them as they were, and no other one does."""

from itertools import pairwise

import pytest
from support_made import history_of, longest, scenario, shortest

from lab.cluster import Cluster
from lab.history import History, Probed
from lab.limits import Limits
from lab.scenario.between import Between
from lab.session import LabSession

pytestmark = [pytest.mark.failover, pytest.mark.ci]

PHASES = "{steady: 10s, fault: 10s, recovery: 10s}"
BALANCER = "{fault: terminate, unit: load-balancer, on: load-balancer, for: 3s}"
PORT = "{fault: reject, on: k8s-master1, ports: [6443], for: 1s}"
NAMES = "{fault: silent, on: workers, ports: [53], inside: true, for: 2s}"
CASES = {
    "balancer-away": (BALANCER, {"api"}, {"api-direct", "cluster-ip", "dns", "etcd"}),
    "port-refused": (PORT, {"api@k8s-master1"}, {"api@k8s-master2", "cluster-ip", "dns", "etcd"}),
    "names-away": (NAMES, {"dns"}, {"api", "api-direct", "cluster-ip", "etcd"}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_outage_is_reported_as_long_as_it_was(
    name: str, lab: Cluster, lab_session: LabSession, between: Between, seed: str, lab_limits: Limits
) -> None:
    """No less than its true length, no more than that plus two intervals and one answer's time.

    How much more is no verdict where machines compute too slowly to be judged by time.
    """
    fault, hit, spared = CASES[name]
    asked = sorted({"api-direct" if "@" in each else each for each in hit | spared})
    text = f"""\
name: {name}
about: An outage of known length, for the proof that it is measured as it was.
phases: {PHASES}
faults:
  - {fault}
probes: [{", ".join(asked)}]
invariants: []
"""
    seen = history_of(lab_session, lab, scenario(lab, text), seed, proven=between.taken())
    injection = seen.injections[0]
    there = {name for probe in seen.probes.values() for name in (probe.name, probe.question)}
    assert hit | spared <= there, f"nobody asked {hit | spared - there}"
    wrong: list[str] = []
    limits: list[tuple[float, float, str]] = []
    for probe in seen.probes.values():
        names = {probe.name, probe.question}
        outage, answer = longest_outage(seen, probe)
        if names & hit:
            least, most = shortest(injection), longest(injection) + 2 * probe.interval + answer
            if outage < least:
                wrong.append(f"{probe.name}: {outage:.3f} s, and it lasted {least:.3f} s at least")
            limits.append((outage, most, f"{probe.name}: an outage of {least:.3f} to {most:.3f} s"))
        elif names & spared:
            what = f"{probe.name}: without an answer, and nothing was done to it"
            limits.append((outage, 3 * probe.interval + answer, what))
    assert not wrong, "; ".join(wrong)
    for outage, most, what in limits:
        lab_limits.at_most(outage, most, what)


def longest_outage(seen: History, probe: Probed) -> tuple[float, float]:
    """The longest time between good answers, and the longest that a good answer took."""
    good = sorted(sample.answered for sample in seen.samples[probe.name] if sample.ok)
    took = max(sample.answered - sample.sent for sample in seen.samples[probe.name] if sample.ok)
    return max(later - earlier for earlier, later in pairwise(good)), took
