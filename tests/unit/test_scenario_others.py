"""Case C6: what scenarios of other tools do, as scenarios of ours: accepted, or refused by name."""

from dataclasses import replace

import pytest
from made_histories import KILL, asked, made
from test_scenario_files import known
from test_scenario_mistakes import mistakes, scenario

from lab.faults.catalogue import FAULTS
from lab.invariants.terms import Seconds
from lab.invariants.validity import reasons
from lab.probes.question import DEADLINE
from lab.scenario.loading import Scenario

FORM = """\
name: other
about: As another tool has it.
phases: {steady: 30s, fault: %s, recovery: 90s}
faults:
%s
probes: [api, cluster-ip]
invariants: []
"""


def written(*faults: str, fault: str = "150s") -> str:
    """A file with these faults."""
    return FORM % (fault, "\n".join(f"  - {{{each}}}" for each in faults))


def read(*faults: str, fault: str = "150s") -> Scenario:
    """Read, and found usable."""
    return scenario(written(*faults, fault=fault))


def test_a_whole_cluster_off_for_150_seconds() -> None:
    """krkn: cluster_shut_down_scenario."""
    (only,) = read("fault: cold-start, on: all, for: 150s").faults
    assert (only.fault, only.on, only.hold) == ("cold-start", "all", 150)


def test_outgoing_packets_to_a_port_that_nobody_has() -> None:
    """krkn: node-network-filter, with 2309 where 2379 was meant: the file is fine, the run proves nothing."""
    (only,) = read("fault: one-way, direction: out, ports: [2309], on: k8s-master1, for: 10s").faults
    assert only.values == {"direction": "out", "ports": (2309,)}
    met_nothing = replace(KILL, fault="one-way", in_force=None, evidence="")
    assert reasons(made(asked(), injections=[met_nothing]), [], faults=1) == [
        "one-way of k8s-master1: nothing proves that it bit"
    ]


def test_an_interface_down_for_a_minute_with_half_a_minute_to_recover() -> None:
    """krkn: node_interface_down."""
    found = read("fault: interface-down, on: k8s-worker1, for: 60s", fault="60s")
    assert [each.hold for each in found.faults] == [60]


def test_a_partition_that_rejects_stays_another_word_than_one_that_drops() -> None:
    """chaos-mesh: network-partition-reject-example."""
    rejects = read("fault: reject, direction: both, peers: [k8s-lb], on: k8s-worker1, for: 60s").faults[0]
    drops = read("fault: partition, peers: [k8s-lb], on: k8s-worker1, for: 60s").faults[0]
    assert FAULTS[rejects.fault] is not FAULTS[drops.fault]


@pytest.mark.parametrize("where", ["on: 192.0.2.10", "peers: [192.0.2.10], on: k8s-worker1"])
def test_an_address_outside_the_lab_is_refused(where: str) -> None:
    """chaos-mesh: the same, towards 192.0.2.10."""
    (only,) = mistakes(written(f"fault: reject, {where}, for: 60s"))
    assert only.startswith("x.yaml:5: ")
    assert "192.0.2.10 lies outside the lab's network 192.168.100.0/24" in only


DELAY = "fault: delay, latency: 90ms, jitter: 90ms, peers: [k8s-worker2], on: k8s-worker1, for: 60s"
LOSS = "fault: loss, percent: 25%, peers: [k8s-worker2], on: k8s-worker1"


def test_delay_and_loss_at_once_are_refused_and_one_after_the_other_are_not() -> None:
    """chaos-mesh: network-netem-with-target-example; a machine has one queue."""
    (only,) = mistakes(written(DELAY, LOSS))
    assert "loss and delay of k8s-worker1 would share one queue" in only
    found = read(DELAY, f"{LOSS}, at: 60s, for: 60s")
    assert [(each.fault, each.at) for each in found.faults] == [("delay", 0), ("loss", 60)]
    assert found.faults[0].values["jitter"] == 0.09


SERIAL = [f"fault: kill, unit: kubelet, on: k8s-worker1, at: {n}s" for n in (0, 10, 20)]


def test_steps_in_a_row_each_with_its_own_time_under_one_total() -> None:
    """chaos-mesh: workflow/serial."""
    lasting = [f"fault: stop, unit: kubelet, on: k8s-worker1, at: {n}s, for: 20s" for n in (30, 60)]
    assert [each.at for each in read(*SERIAL, *lasting, fault="80s").faults] == [0, 10, 20, 30, 60]
    (only,) = mistakes(written(*SERIAL, *lasting, fault="70s"))
    assert "x.yaml:9: stop of k8s-worker1 ends 80s into a fault phase of 70s" in only


def test_an_http_check_all_the_while() -> None:
    """chaos-mesh: workflow/status-check; ours is a probe, and a limit on what it must answer."""
    text = written(SERIAL[0]).replace(
        "invariants: []", "invariants:\n  - {invariant: availability, of: cluster-ip, at-least: 99.9%}"
    )
    assert "cluster-ip" in scenario(text).probes


def test_a_number_without_a_unit_and_an_empty_target_are_two_mistakes() -> None:
    """litmus: kubelet-service-kill, with '60' and no target."""
    found = mistakes(written("fault: terminate, unit: kubelet, on: '', for: '60'"))
    assert [text.partition(": ")[2] for text in found] == [
        "on of terminate: is empty; write for example k8s-master1",
        "for of terminate: '60' has no unit; write 60s",
    ]
    assert len(mistakes(written("fault: kubelet-service-kill, on: all"))) == 1
    assert "did you mean 'terminate'?" in mistakes(written("fault: kubelet-service-kill, on: all"))[0]


@pytest.mark.parametrize(
    ("latency", "hold", "text"),
    [
        ("5m", "150s", "a delay of 300s is longer than the probe api waits, 5s"),
        ("5m", "150s", "a delay of 300s is no shorter than the fault itself, 150s"),
        ("4s", "4s", "a delay of 4s is no shorter than the fault itself, 4s"),
    ],
)
def test_a_delay_that_can_neither_work_nor_end_is_refused(latency: str, hold: str, text: str) -> None:
    """chaos-mesh #4392: a delay of five minutes could neither work nor be deleted."""
    found = mistakes(written(f"fault: delay, latency: {latency}, on: k8s-worker1, for: {hold}"))
    assert [each for each in found if each.startswith(f"x.yaml:5: {text}")]


def test_the_probes_patience_is_what_the_catalogue_says() -> None:
    assert Seconds(DEADLINE) == known().deadline("api")
