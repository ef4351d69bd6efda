"""Every fault on a real lab: it bites and is healed, twice; healing what was never hurt harms nothing.

Nothing is measured here but the faults themselves; scenarios do the rest.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from support_left import left_behind

from lab.cluster import Cluster
from lab.errors import ClusterError, LabError
from lab.faults.base import Fault
from lab.faults.catalogue import FAULTS
from lab.faults.targets import resolve
from lab.history import Still
from lab.scenario.lasting import look_again
from lab.scenario.steadiness import insist_steady
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.failover
BITES, HEALED, STEADY = 30.0, 120.0, 180.0  # seconds
Values = dict[str, object]
# Word, whom it is tried on, its fields.  Ports and peers are such that something is always said there.
CASES: tuple[tuple[str, str, Values], ...] = (
    ("kill", "etcd:leader", {"unit": "etcd"}),
    ("kill", "node-of:coredns", {"unit": "coredns"}),
    ("restart", "load-balancer", {"unit": "load-balancer"}),
    ("reload", "load-balancer", {"unit": "load-balancer", "times": 3}),
    ("kill-and-hold", "kube-scheduler:leader", {"unit": "kube-scheduler"}),
    ("kill-and-hold", "node-of:coredns", {"unit": "coredns"}),
    ("terminate", "k8s-worker1", {"unit": "kubelet"}),
    ("terminate", "node-of:coredns", {"unit": "coredns"}),
    ("stop", "k8s-master1", {"unit": "kube-apiserver"}),
    ("stop", "k8s-worker1", {"unit": "containerd"}),
    ("stop", "node-of:coredns", {"unit": "coredns"}),
    ("pod-delete", "node-of:coredns", {}),
    ("silent", "k8s-master1", {}),
    ("silent", "workers", {"ports": (8080, 8181), "inside": True}),  # kubelets ask CoreDNS how it is
    ("reject", "k8s-master1", {"ports": (6443,)}),
    ("one-way", "etcd:follower", {"direction": "in", "ports": (2380,)}),
    ("one-way", "etcd:follower", {"direction": "out", "ports": (2380,)}),
    ("partition", "etcd:follower", {"ports": (2380,)}),
    ("partition", "workers", {"shape": "halves", "ports": (6443,)}),
    ("partition", "etcd:leader-and-follower", {"shape": "bridge", "ports": (2380,)}),
    ("partition", "etcd:leader", {"ports": (2380,), "bigger_than": 60}),
    ("interface-down", "k8s-worker1", {}),
    ("delay", "etcd:follower", {"latency": 0.05}),
    ("loss", "etcd:follower", {"percent": 20.0}),
    ("bandwidth", "etcd:leader", {"rate": 4_000}),
    ("disk-full", "etcd:follower", {}),
    ("disk-slow", "etcd:follower", {}),
    ("starve", "etcd:leader", {"unit": "etcd", "percent": 1.0}),
    ("clock-step", "k8s-master1", {}),
    ("certificate-expired", "k8s-master1", {"unit": "kube-apiserver"}),
    ("certificate-expired", "etcd:follower", {"unit": "etcd"}),
    ("certificate-expired", "k8s-worker1", {"unit": "kubelet"}),
    ("foreign-ca", "k8s-master1", {"unit": "kube-apiserver"}),
    ("foreign-ca", "etcd:follower", {"unit": "etcd"}),
    ("foreign-ca", "k8s-worker1", {"unit": "kubelet"}),
    ("token-revoked", "control-plane", {}),
    ("deaf", "control-plane", {}),
    ("move-leader", "etcd:leader", {}),
    ("lead", "k8s-lb", {}),
    ("gather", "k8s-master2", {}),
    ("defrag", "etcd:all", {}),
    ("disarm", "etcd:leader", {}),
    ("quorum-lost", "etcd:majority", {}),
    ("member-replaced", "etcd:follower", {}),
    ("member-wiped", "etcd:follower", {}),
    ("space-alarm", "etcd:all", {}),
    ("freeze", "k8s-master2", {}),
    ("reboot", "k8s-worker2", {}),
    ("crash", "k8s-master1", {}),
    ("power-cut", "k8s-worker1", {}),
    ("cold-start", "all", {}),
)
# What is so on every sound lab, whether somebody has just seen to it or not.
ALWAYS_SO = {"disarm": "no alarm is raised, which is all that it wants"}


def test_every_word_is_tried() -> None:
    assert {word for word, *_ in CASES} == set(FAULTS)


@pytest.fixture
def whole(lab: Cluster) -> Iterator[Cluster]:
    """A lab that serves before and after."""
    insist_steady(lab, STEADY)
    yield lab
    insist_steady(lab, STEADY)


@pytest.mark.parametrize(("word", "on", "values"), CASES, ids=[f"{word}-{on}" for word, on, _ in CASES])
def test_it_bites_and_is_healed_twice(
    word: str, on: str, values: Values, whole: Cluster, record_property: Callable[[str, object], None]
) -> None:
    fault = built(whole, word, on, values)
    if reason := fault.unavailable(whole):
        pytest.skip(f"{word}: {reason}")
    mend(whole, fault)  # nothing is wrong yet
    for turn in (1, 2):
        fault = built(whole, word, on, values)
        begun = time.monotonic()
        try:
            fault.inject(whole)
            evidence = wait_until(f"{word} to bite", partial(fault.in_force, whole), timeout=BITES)
            record_property(f"evidence_{turn}", f"{time.monotonic() - begun:.1f} s: {evidence}")
            if fault.lasts:
                found = look_again(whole, fault, time.monotonic() - begun)
                record_property(f"still_{turn}", f"{found.still}: {found.seen}")
                assert found.still is Still.YES, found.seen
                with pytest.raises((NotYet, LabError)):
                    fault.check_healed(whole)
        finally:
            begun = time.monotonic()
            mend(whole, fault)
            record_property(f"healed_{turn}", f"{time.monotonic() - begun:.1f} s")
    mend(whole, fault)
    if fault.lasts:
        assert look_again(whole, fault, 0.0).still is Still.NO, "it is healed, and nobody notices"
    assert not left_behind(whole), "a fault left something on a machine"


@pytest.mark.parametrize(("word", "on", "values"), CASES, ids=[f"{word}-{on}" for word, on, _ in CASES])
def test_nothing_proves_what_was_not_done(word: str, on: str, values: Values, lab: Cluster) -> None:
    """Else one that does not bite would count as one that did, and its run as one that proves something."""
    if word in ALWAYS_SO:
        pytest.skip(f"{word}: {ALWAYS_SO[word]}")
    fault = built(lab, word, on, values)
    if reason := fault.unavailable(lab):
        pytest.skip(f"{word}: {reason}")
    with pytest.raises((NotYet, LabError, ClusterError, BaseExceptionGroup)):
        fault.in_force(lab)


def built(cluster: Cluster, word: str, on: str, values: Values) -> Fault:
    machines = wait_until(f"{on} to be known", partial(resolve, cluster, on), timeout=BITES)
    return FAULTS[word](machines=machines, **values)


def mend(cluster: Cluster, fault: Fault) -> None:
    """As whoever pays its debt does: tried until it can be done, then proven."""

    def heal() -> None:
        try:
            fault.heal(cluster)
        except LabError as error:
            raise NotYet(str(error)) from error

    wait_until(f"healing {fault.word}", heal, timeout=HEALED)
    wait_until(f"{fault.word} to leave nothing", partial(fault.check_healed, cluster), timeout=HEALED)
