"""Every mistake of a scenario file, at once, with its line and what to write instead."""

import pytest
from test_scenario_files import known

from lab import strictyaml
from lab.errors import ConfigError
from lab.faults.catalogue import FAULTS
from lab.scenario import file
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, read, remembered

GOOD = """\
name: apiserver-crash
about: One apiserver dies and stays dead; the balancer hides it.
phases: {steady: 10s, fault: 20s, recovery: 30s}
faults:
  - {fault: kill-and-hold, unit: kube-apiserver, on: k8s-master1, for: 20s}
probes: [api, api-direct, dns]
invariants:
  - {invariant: availability, of: api, at-least: 99.5%, during: fault}
  - {invariant: longest-outage, of: api, at-most: 1s}
expect: {guide: [availability of api]}
sets: [ci]
"""
FAULT = "{fault: kill-and-hold, unit: kube-apiserver, on: k8s-master1, for: 20s}"
FIRST = "{invariant: availability, of: api, at-least: 99.5%, during: fault}"
SECOND = "{invariant: longest-outage, of: api, at-most: 1s}"
LATER = "  - {fault: kill, unit: etcd, on: etcd:leader, at: 10s}\n"


def scenario(text: str) -> Scenario:
    """The scenario of this text."""
    return read(strictyaml.read(text, "x.yaml"), known())


def mistakes(text: str) -> list[str]:
    """What is wrong with it, line by line."""
    with pytest.raises(ConfigError) as caught:
        scenario(text)
    return caught.value.problems


def test_a_good_one_is_read_as_it_is_meant() -> None:
    found = scenario(GOOD)
    assert found.phases == {"steady": 10, "fault": 20, "recovery": 30}
    assert [(d.fault, d.on, d.at, d.hold, d.values) for d in found.faults] == [
        ("kill-and-hold", "k8s-master1", 0, 20, {"unit": "kube-apiserver"})
    ]
    assert found.probes == ("api", "api-direct", "etcd", "dns")
    titles = [each.title for each in found.invariants]
    assert titles == ["availability of api during fault", "longest-outage of api during fault+recovery"]
    assert found.expect == {"guide": ("availability of api during fault",)}
    assert not found.destroys_data


def test_faults_are_done_in_the_order_of_their_moments() -> None:
    text = GOOD.replace(f"  - {FAULT}\n", LATER.replace("10s", "19s") + LATER + f"  - {FAULT}\n")
    assert [each.at for each in scenario(text).faults] == [0, 10, 19]


def test_a_fault_without_an_end_lasts_as_long_as_its_phase() -> None:
    assert scenario(GOOD.replace(", for: 20s", ", at: 5s")).faults[0].hold == 15


def test_without_probes_all_is_asked_that_is_not_rare() -> None:
    text = GOOD.replace("probes: [api, api-direct, dns]\n", "")
    assert scenario(text).probes == known().usual


def test_to_the_usual_probes_others_can_be_added() -> None:
    text = GOOD.replace("[api, api-direct, dns]", "[dns-kept, usual]")
    assert scenario(text).probes == (*known().usual, "dns-kept")
    rare = text.replace("longest-outage, of: api,", "longest-outage, of: etcd-patient,")
    assert "etcd-patient" in scenario(rare).probes


ONE = [
    ("name: apiserver-crash", "name: API_crash", 1, "name: 'API_crash' is no name"),
    (
        f"{FAULT}",
        f"{FAULT[:-1]}, unitt: etcd}}",
        5,
        "unknown key 'unitt' of kill-and-hold; did you mean 'unit'?",
    ),
    ("kill-and-hold", "kil-and-hold", 5, "'kil-and-hold' is no fault; did you mean 'kill-and-hold'?"),
    ("fault: kill-and-hold", "fault: sigstop", 5, "'sigstop' is no fault; did you mean 'stop'?"),
    ("fault: kill-and-hold", "fault: duplicate", 5, "packets are not duplicated here"),
    (f"{FAULT}", "{unit: etcd, on: all}", 5, "'fault' is missing; write for example `fault: kill`"),
    (f"{FAULT}", "kill", 5, "an entry of faults 'kill' must hold keys and values"),
    (f"{FAULT}", "", 5, "an entry of faults is empty"),
    ("unit: kube-apiserver, ", "", 5, "'unit' of kill-and-hold is missing; write for example `unit: etcd`"),
    ("kube-apiserver", "kube-apisever", 5, "is no program of this plan; did you mean 'kube-apiserver'?"),
    ("kube-apiserver", "kubelet", 5, "k8s-master1 runs no kubelet; it runs on k8s-worker1, k8s-worker2"),
    ("on: k8s-master1, ", "", 5, "'on' of kill-and-hold is missing; write for example `on: k8s-master1`"),
    ("on: k8s-master1", 'on: ""', 5, "on of kill-and-hold: is empty; write for example k8s-master1"),
    ("on: k8s-master1", "on: k8s-mastr1", 5, "is no machine or role; did you mean 'k8s-master1'?"),
    ("on: k8s-master1", "on: 192.0.2.10", 5, "192.0.2.10 lies outside the lab's network 192.168.100.0/24"),
    ("on: k8s-master1", "on: 192.168.100.77", 5, "192.168.100.77 is no machine of it, and nothing outside"),
    ("on: k8s-master1", "on: 192.168.100.11", 5, "machines are named, not addressed; write k8s-master1"),
    ("for: 20s", "for: 60", 5, "for of kill-and-hold: '60' has no unit; write 60s"),
    ("for: 20s", "for: 20s, at: 5s", 5, "ends 25s into a fault phase of 20s; let it end in time"),
    ("for: 20s", "for: 0s", 5, "kill-and-hold of k8s-master1 lasts for no time"),
    ("for: 20s", "at: 20s", 5, "kill-and-hold of k8s-master1 begins 20s into a phase of 20s"),
    ("fault: kill-and-hold", "fault: kill", 5, "kill is done once and does not last; remove 'for'"),
    (
        f"{FAULT}",
        "{fault: delay, latency: 6s, on: k8s-master1, for: 20s}",
        5,
        "a delay of 6s is longer than the probe api waits, 5s, so nothing is ever answered; shorten it",
    ),
    (
        f"{FAULT}",
        "{fault: delay, latency: 2s, on: k8s-master1, for: 2s}",
        5,
        "a delay of 2s is no shorter than the fault itself, 2s",
    ),
    (
        f"{FAULT}",
        "{fault: silent, peers: [k8s-worker3], on: k8s-master1}",
        5,
        "peers of silent: 'k8s-worker3' is no machine; did you mean 'k8s-worker2'?",
    ),
    (f"{FAULT}", "{fault: silent, ports: [0], on: k8s-master1}", 5, "'0' is no port; write numbers from 1"),
    (f"{FAULT}", "{fault: silent, ports: [], on: k8s-master1}", 5, "ports of silent: is empty; leave it out"),
    (f"{FAULT}", "{fault: silent, bigger-than: 1400, on: all}", 5, "'1400' has no unit; write 1400B"),
    (f"{FAULT}", "{fault: partition, shape: ring, on: workers}", 5, "'ring' is no choice"),
    (f"{FAULT}", "{fault: member-wiped, on: etcd:follower}", 5, "write `destroys-data: true`"),
    ("[api, api-direct, dns]", "[api, api-direct, api]", 6, "api is asked already, by probe number 1"),
    ("[api, api-direct, dns]", "[api, api-drect]", 6, "'api-drect' is no probe; did you mean 'api-direct'?"),
    ("[api, api-direct, dns]", "[api, leases]", 6, "leases is an observer and always at work"),
    ("invariant: availability", "invariant: uptime", 8, "'uptime' is no invariant"),
    (
        "of: api, at-least",
        "of: apy, at-least",
        8,
        "'apy' is no probe; did you mean 'api'?",
    ),
    ("99.5%", "99.5", 8, "at-least of availability: '99.5' has no unit; write 99.5%"),
    ("99.5%", "5s", 8, "at-least of availability: '5s' is a time, and a share is wanted; write 99.5%"),
    ("99.5%", "100.1%", 8, "'100.1%' is more than everything"),
    ("during: fault}", "during: steady+recovery}", 8, "is no phase, or from one to a later one"),
    ("at-most: 1s", "at-most: 1%", 9, "'1%' is a share, and a time is wanted; write for example 5s"),
    ("at-most: 1s", "at-most: 1", 9, "at-most of longest-outage: '1' has no unit; write 1s"),
    ("at-most: 1s", "at-most: 50s", 9, "50.00 s can never be exceeded in 50s; lower the limit"),
    (SECOND, FIRST, 9, "availability of api during fault is invariant number 1 already; keep one"),
    (
        SECOND,
        "{invariant: availability, of: node-port, at-least: 9%}",
        9,
        "node-port, which is not among",
    ),
    (SECOND, "{invariant: recovery, of: api, at-most: 45s}", 9, "lengthen `recovery` of phases to 35s"),
    (SECOND, "{invariant: recovery, of: api, at-most: 25s, since: heal}", 9, "30s after its healing"),
    (SECOND, "{invariant: re-election, at-most: 5s, fault: 2}", 9, "is about fault 2, and there is 1 fault"),
    (
        SECOND,
        "{invariant: leader-changes, at-most: 2s}",
        9,
        "'2s' is a time, and a number is wanted",
    ),
    (
        SECOND,
        "{invariant: in-flight, of: etcd, at-most: 8s}",
        9,
        "its probe gives up after 5s, before 8.00 s",
    ),
    (
        "[availability of api]",
        "[availability of dns]",
        10,
        "'availability of dns' is no invariant",
    ),
    ("guide:", "gide:", 10, "expect: 'gide' is no profile; did you mean 'guide'?"),
    ("[availability of api]", "[]", 10, "expect: guide names no invariant that must break"),
    ("sets: [ci]", "sets: [CI]", 11, "sets: 'CI' is no name"),
    ("sets: [ci]", "destroys-data: yes", 11, "destroys-data: 'yes' must be true or false"),
    ("sets: [ci]", "duration: 3s", 11, "unknown key 'duration': how long it lasts is written in `phases`"),
    ("sets: [ci]", "sets: [ci]\nsets: [ci]", 12, "key 'sets' was already given in line 11"),
    ("fault: 20s, ", "", 3, "'fault' of phases is missing; write for example `fault: 60s`"),
    ("steady: 10s", "steady: 10", 3, "phases.steady: '10' has no unit; write 10s"),
    ("steady: 10s", "steady: 100ms", 3, "steady of phases is shorter than 1s"),
    ("about: One", "abuot: One", 2, "unknown key 'abuot'; did you mean 'about'?"),
]


@pytest.mark.parametrize(
    ("old", "new", "line", "text"), ONE, ids=[f"{n}-{case[1][:30]}" for n, case in enumerate(ONE)]
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, text: str) -> None:
    assert old in GOOD, "the case replaces nothing"
    found = mistakes(GOOD.replace(old, new, 1))
    hits = [each for each in found if text in each]
    assert hits, found
    assert hits[0].startswith(f"x.yaml:{line}:"), hits


def test_all_mistakes_are_told_at_once_and_each_once() -> None:
    """Also case C6: a number without a unit and an empty target are two mistakes."""
    text = (
        GOOD.replace("for: 20s", "for: 60")
        .replace("on: k8s-master1", "on: ''")
        .replace("at-most: 1s", "at-most: 1%")
        .replace("dns]", "dsn]")
        .replace("99.5%", "99.5")
    )
    assert [each.split(":")[1] for each in mistakes(text)] == ["5", "5", "6", "8", "9"]


def test_an_empty_file_and_an_almost_empty_one_are_told_what_they_lack() -> None:
    assert "is empty" in mistakes("")[0]
    found = mistakes("sets: [ci]\n")
    assert [text.split("'")[1] for text in found] == ["name", "about", "phases", "faults", "invariants"]


def test_what_a_title_may_mean_twice_is_asked_back() -> None:
    both = f"{FIRST}\n  - {FIRST.replace('during: fault', 'during: recovery')}"
    found = mistakes(GOOD.replace(FIRST, both))
    assert "may be availability of api during fault or availability of api during recovery" in found[0]


def test_what_shapes_packets_needs_the_queue_alone() -> None:
    two = "{fault: delay, on: k8s-master1, for: 12s}\n  - {fault: loss, on: control-plane, at: 10s}"
    assert (
        "delay of k8s-master1 would share one queue; let it begin 12s into the phase"
        in mistakes(GOOD.replace(FAULT, two))[0]
    )
    assert scenario(GOOD.replace(FAULT, two.replace("at: 10s", "at: 12s"))).faults[1].at == 12
    assert scenario(GOOD.replace(FAULT, two.replace("control-plane", "k8s-master2"))).faults[1].at == 10


def test_what_is_judged_while_faults_are_in_force_needs_such_a_time() -> None:
    text = GOOD.replace("during: fault", "during: in-force")
    assert scenario(text).invariants[0].title == "availability of api during in-force"
    once = text.replace(FAULT, "{fault: kill, unit: etcd, on: etcd:leader}")
    assert mistakes(once) == ["x.yaml:8: in-force is no time in this scenario: no fault lasts"]
    apart = text.replace(f"{FAULT}\n", f"{FAULT.replace('20s', '5s')}\n{LATER}")
    assert "its faults never last at the same time" in mistakes(apart)[0]


def test_a_second_fault_leaves_less_time_to_be_judged() -> None:
    text = GOOD.replace(f"  - {FAULT}\n", f"  - {FAULT}\n{LATER}")
    later = "{invariant: re-election, at-most: 41s, fault: 2}"
    assert "the run ends 40s after the fault begins" in mistakes(text.replace(SECOND, later))[0]
    assert scenario(text.replace(SECOND, later.replace("41s", "40s"))).invariants[1].limit == 40


def test_a_probe_that_this_version_lacks_is_named() -> None:
    fewer = {word: each for word, each in known().questions.items() if word != "api-watch"}
    text = GOOD.replace(SECOND, "{invariant: watch-missed, during: fault}")
    with pytest.raises(ConfigError, match="watch-missed needs the probe api-watch, which this version"):
        read(strictyaml.read(text, "x.yaml"), Known(known().topology, questions=fewer))


def test_a_stored_scenario_is_read_whatever_the_plan_of_today() -> None:
    """Else judging a run again would judge nothing, or refuse it."""
    text = GOOD.replace("k8s-master1", "cp7").replace("kube-apiserver", "haproxy")
    assert mistakes(text)
    found = remembered(text, "stored", known())
    assert [(each.on, each.values) for each in found.faults] == [("cp7", {"unit": "haproxy"})]
    assert found.invariants == scenario(GOOD).invariants
    assert found.expect == scenario(GOOD).expect
    assert found.judged == scenario(GOOD).judged


def test_a_stored_scenario_with_words_of_another_version_is_refused() -> None:
    for old, new in (("longest-outage", "outage"), ("kill-and-hold", "slay"), ("about:", "title:")):
        with pytest.raises(ConfigError):
            remembered(GOOD.replace(old, new), "stored", known())


def test_what_other_tools_call_a_fault_is_one_of_ours_or_explained() -> None:
    assert not [hint for hint in file.HINTS.values() if " " not in hint and hint not in FAULTS]
    assert not [
        hint
        for hint in file.KEY_HINTS.values()
        if " " not in hint and hint not in ("about", "faults", "invariants", "sets")
    ]


def test_an_invariant_brings_along_the_rare_probe_that_it_is_of() -> None:
    judged = "  - {invariant: in-flight, at-most: 8s}\n"
    all_asked = GOOD.replace("probes: [api, api-direct, dns]\n", "").replace(
        "invariants:\n", f"invariants:\n{judged}"
    )
    assert "etcd-patient" in scenario(all_asked).probes
    with pytest.raises(ConfigError, match="etcd-patient, which is not among the probes; add it"):
        scenario(GOOD.replace("invariants:\n", f"invariants:\n{judged}"))
