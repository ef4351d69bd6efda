"""Every program of the cluster meets every fault of a process: it bites, is seen to last, and is healed.

Those pairs that `test_faults.py` tries twice are left to it.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import pytest
from support_left import left_behind
from test_faults import BITES, CASES, STEADY, built, mend

from lab.cluster import Cluster
from lab.history import Still
from lab.scenario.lasting import look_again
from lab.scenario.steadiness import insist_steady
from lab.wait import wait_until

pytestmark = pytest.mark.failover
FAULTS = ("kill", "kill-and-hold", "terminate", "stop")
PROGRAMS = {
    "etcd": "etcd:leader",
    "kube-apiserver": "k8s-master1",
    "kube-controller-manager": "kube-controller-manager:leader",
    "kube-scheduler": "kube-scheduler:leader",
    "kubelet": "k8s-worker1",
    "kube-proxy": "k8s-worker1",
    "load-balancer": "load-balancer",
    "containerd": "k8s-worker1",
    "coredns": "node-of:coredns",
}
TRIED = {(word, values["unit"]) for word, _, values in CASES if word in FAULTS}
PAIRS = tuple(pair for pair in product(FAULTS, PROGRAMS) if pair not in TRIED)


@pytest.fixture
def whole(lab: Cluster) -> Iterator[Cluster]:
    """A lab that serves before and after."""
    insist_steady(lab, STEADY)
    yield lab
    insist_steady(lab, STEADY)


@pytest.mark.parametrize(("word", "unit"), PAIRS, ids=[f"{word}-{unit}" for word, unit in PAIRS])
def test_a_program_is_hurt_and_healed(
    word: str, unit: str, whole: Cluster, record_property: Callable[[str, object], None]
) -> None:
    fault = built(whole, word, PROGRAMS[unit], {"unit": unit})
    if reason := fault.unavailable(whole):
        pytest.skip(f"{word}: {reason}")
    begun = time.monotonic()
    try:
        fault.inject(whole)
        evidence = wait_until(f"{word} to bite", partial(fault.in_force, whole), timeout=BITES)
        record_property("evidence", f"{time.monotonic() - begun:.1f} s: {evidence}")
        if fault.lasts:
            found = look_again(whole, fault, time.monotonic() - begun)
            assert found.still is Still.YES, found.seen
    finally:
        mend(whole, fault)
    assert not left_behind(whole), "a fault left something on a machine"
