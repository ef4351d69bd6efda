"""A scenario with one fault of each kind, and how long after its harness was killed the lab may be broken."""

from collections.abc import Mapping

from lab.faults.catalogue import FAULTS

HOLD, LATER = 15.0, 10.0  # seconds: of the fault, and after it
BOOT, BOOTS = 60.0, 120.0  # seconds more for a machine that must boot, and for all of them at once
STARTS = 30.0  # seconds more where members are started, and waited for, one after the other
# Every kind of fault that lasts: its words, and what its healing may take besides.
LASTING: Mapping[str, tuple[str, float]] = {
    "kill-and-hold": ("unit: kube-scheduler, on: k8s-master1", 0.0),
    "terminate": ("unit: kube-proxy, on: k8s-worker1", 0.0),
    "stop": ("unit: kube-controller-manager, on: k8s-master2", 0.0),
    "freeze": ("on: k8s-worker2", 0.0),
    "power-cut": ("on: k8s-worker2", BOOT),
    "crash": ("on: k8s-worker1", BOOT),
    "cold-start": ("on: all", BOOTS),
    "silent": ("on: k8s-master2", 0.0),
    "reject": ("on: k8s-master1, ports: [6443]", 0.0),
    "one-way": ("on: k8s-worker1, direction: out", 0.0),
    "partition": ("shape: one, on: 'etcd:follower', ports: [2380]", 0.0),
    "interface-down": ("on: k8s-worker1", 0.0),
    "delay": ("on: 'etcd:follower', latency: 50ms", 0.0),
    "loss": ("on: 'etcd:follower', percent: 20%", 0.0),
    "bandwidth": ("on: 'etcd:leader', rate: 4000B/s", 0.0),
    "disk-full": ("on: 'etcd:follower'", 0.0),
    "disk-slow": ("on: 'etcd:follower', writes: 10/s", 0.0),
    "starve": ("unit: etcd, on: 'etcd:follower', percent: 5%", 0.0),
    "clock-step": ("on: k8s-master1, step: 5m", 0.0),
    "certificate-expired": ("unit: etcd, on: 'etcd:follower'", 0.0),
    "foreign-ca": ("unit: kubelet, on: k8s-worker1", 0.0),
    "token-revoked": ("on: control-plane", 0.0),
    "deaf": ("on: control-plane", 0.0),
    "quorum-lost": ("on: 'etcd:majority'", 0.0),
    "member-wiped": ("on: 'etcd:follower'", STARTS),
    "space-alarm": ("on: 'etcd:all'", STARTS),
}
# Every other kind: its words, and what its machine's boot may take.
ONCE: Mapping[str, tuple[str, float]] = {
    "kill": ("unit: etcd, on: 'etcd:follower'", 0.0),
    "restart": ("unit: kube-apiserver, on: k8s-master2", 0.0),
    "reload": ("unit: load-balancer, on: load-balancer, times: 20", 0.0),
    "pod-delete": ("on: 'node-of:coredns'", 0.0),
    "move-leader": ("on: 'etcd:leader'", 0.0),
    "defrag": ("on: 'etcd:all'", 0.0),
    "disarm": ("on: 'etcd:leader'", 0.0),
    "lead": ("on: k8s-master2", 0.0),
    "gather": ("on: k8s-master2", 0.0),
    "reboot": ("on: k8s-worker2", BOOT),
    "member-replaced": ("on: 'etcd:follower'", 0.0),
}


def text_of(kind: str) -> str:
    """A scenario with this one fault."""
    destroys = "destroys-data: true\n" if FAULTS[kind].destroys_data else ""
    lasts = f", for: {HOLD:.0f}s" if FAULTS[kind].lasts else ""
    words, _ = {**LASTING, **ONCE}[kind]
    return (
        f"name: killed-{kind}\nabout: The harness dies in the middle of it.\n"
        "phases: {steady: 10s, fault: 20s, recovery: 10s}\n"
        f"faults:\n  - {{fault: {kind}, {words}{lasts}}}\n"
        f"probes: [api]\ninvariants: []\n{destroys}"
    )


def allowance(kind: str) -> float:
    """Seconds after which it must be healed: its hold, ten more, and what boots or starts.

    What does not last is given what it may take, for nobody heals it before.
    """
    if kind in LASTING:
        return HOLD + LATER + LASTING[kind][1]
    return FAULTS[kind].takes + LATER + ONCE[kind][1]
