"""Every file of scenarios/ can be run and judged, and the editors' schema is in step with what is read."""

import json
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from component_files import CONTAINER, files_of
from fixed import fixed_credentials

from lab.addons.coredns import CoreDns
from lab.errors import ConfigError
from lab.faults.catalogue import FAULTS
from lab.invariants.catalogue import ALWAYS, INVARIANTS
from lab.plan import load_topology
from lab.scenario.known import Known
from lab.scenario.loading import Scenario, load, load_all
from lab.scenario.schema import schema
from lab.topology import Topology

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "scenarios"
FILES = sorted(FOLDER.glob("*.yaml"))
SCHEMA = FOLDER / "schema.json"


@cache
def known() -> Known:
    """The words of the guide's plan, as this version has them."""
    return Known(load_topology())


@cache
def scenarios() -> tuple[Scenario, ...]:
    """Every scenario."""
    return load_all(FOLDER, known())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_can_be_run_and_judged(path: Path) -> None:
    assert load(path, known()).name == path.stem


def test_all_of_them_are_read_at_once() -> None:
    assert [each.name for each in scenarios()] == [path.stem for path in FILES]


# What is broken and on whom: the twenty that are asked for, by their numbers, the control and a cold start.
WANTED: dict[str, dict[str, list[tuple[str, str]]]] = {
    "control": {"baseline": []},
    "1": {"etcd-leader-killed": [("kill-and-hold", "etcd:leader")]},
    "2": {"etcd-leader-stopped": [("terminate", "etcd:leader")]},
    "3": {"etcd-leader-hung": [("stop", "etcd:leader")]},
    "4": {"etcd-follower-partitioned": [("partition", "etcd:follower")]},
    "5": {"etcd-leader-partitioned": [("partition", "etcd:leader")]},
    "6": {"etcd-bridge": [("partition", "etcd:leader-and-follower")]},
    "7": {"etcd-quorum-lost": [("quorum-lost", "etcd:majority")]},
    "8": {"etcd-power-cut": [("power-cut", "etcd:all")]},
    "9": {
        "etcd-member-wiped": [("member-wiped", "etcd:follower")],
        "etcd-member-replaced": [("member-replaced", "etcd:follower")],
    },
    "10": {
        "etcd-disk-full": [("disk-full", "etcd:leader")],
        "etcd-disk-slow": [("disk-slow", "etcd:leader")],
    },
    "11": {"apiserver-gone": [("kill-and-hold", "k8s-master1")]},
    "12": {"master-silent": [("silent", "k8s-master1")]},
    "13": {"load-balancer-lost": [("power-cut", "load-balancer")]},
    "14": {
        "load-balancer-reloaded": [("reload", "load-balancer")],
        "load-balancer-restarted": [("restart", "load-balancer")],
    },
    "15": {
        "controller-manager-killed": [("kill-and-hold", "kube-controller-manager:leader")],
        "controller-manager-hung": [("stop", "kube-controller-manager:leader")],
        "scheduler-killed": [("kill-and-hold", "kube-scheduler:leader")],
    },
    "16": {"local-apiserver-stopped": [("kill-and-hold", "kube-controller-manager:leader")]},
    "17": {"worker-power-cut": [("power-cut", "k8s-worker1")]},
    "18": {
        "kubelet-stopped": [("terminate", "k8s-worker1")],
        "workers-cut-off": [("partition", "workers")],
    },
    "19": {
        "coredns-deleted": [("pod-delete", "node-of:coredns")],
        "coredns-node-lost": [("power-cut", "node-of:coredns")],
        "kube-proxy-killed": [("kill-and-hold", "k8s-worker1")],
    },
    "20": {
        "clock-stepped": [("clock-step", "k8s-master1")],
        "apiserver-foreign-ca": [("foreign-ca", "k8s-master1")],
        "bootstrap-token-revoked": [("token-revoked", "control-plane")],
    },
    "cold start": {"cold-start": [("cold-start", "all")]},
}


@pytest.mark.parametrize("number", WANTED)
def test_each_of_the_twenty_breaks_what_its_number_says(number: str) -> None:
    found = {each.name: each for each in scenarios()}
    for name, faults in WANTED[number].items():
        assert name in found, f"no. {number} is not there"
        assert [(doing.fault, doing.on) for doing in found[name].faults] == faults, name
        assert found[name].invariants or number == "control", name


def test_twenty_are_twenty() -> None:
    assert [each for each in WANTED if each.isdigit()] == [str(number) for number in range(1, 21)]


def test_ten_make_up_the_set_of_ci_and_last_a_minute_each() -> None:
    """Ten in at most 15 min: what is checked between two of them has half of that time."""
    ci = [each for each in scenarios() if "ci" in each.sets]
    assert len(ci) == 10
    assert {tuple(each.phases.values()) for each in ci} == {(10, 20, 30)}
    assert not [each.name for each in ci if each.destroys_data]


# What containers cannot do, the power cut whose cache only a VM loses, and the one with everything at once.
OF_VMS = {
    "clock-stepped",
    "etcd-disk-slow",
    "etcd-delayed",
    "etcd-lossy",
    "etcd-power-cut",
    "master-leading-silent",
}


def test_what_only_vms_can_do_is_the_set_that_runs_on_them_every_night() -> None:
    found = {each.name for each in scenarios() if "vm" in each.sets}
    assert {"clock-stepped", "etcd-disk-slow", "etcd-power-cut"} <= found
    assert found == OF_VMS & {each.name for each in scenarios()}


def test_what_is_rare_is_asked_only_where_it_is_named() -> None:
    asked = {each.name: "etcd-patient" in each.probes for each in scenarios()}
    assert [name for name, is_asked in asked.items() if is_asked] == ["etcd-leader-killed"]
    rare = {"api-read", "api-kept", "etcd-patient", "etcd-read", "heartbeats", "moved", "dns-kept"}
    assert set(known().asked) - set(known().usual) == rare


def test_every_scenario_asks_the_usual_questions() -> None:
    """What a fault does to others than those it aims at is felt only where they are asked."""
    lacking = {each.name: sorted(set(known().usual) - set(each.probes)) for each in scenarios()}
    assert {name: words for name, words in lacking.items() if words} == {}
    for name in ("coredns-deleted", "coredns-node-lost"):
        (found,) = [each for each in scenarios() if each.name == name]
        assert set(found.probes) == {*known().usual, "dns-kept"}


def test_the_figures_of_the_issue_are_the_limits() -> None:
    found = {each.name: {i.title: i for i in each.invariants} for each in scenarios()}
    whole = " during steady+fault+recovery"
    assert found["master-silent"][f"availability of api{whole}"].limit == 0.95
    assert found["master-silent"]["recovery of api since fault"].limit == 10
    assert found["apiserver-gone"]["availability of api during fault+recovery"].limit == 0.995
    assert found["apiserver-crash"]["longest-outage of api during fault+recovery"].limit == 1
    assert found["apiserver-hung"][f"availability of api{whole}"].limit == 0.97
    killed = found["etcd-leader-killed"]
    assert killed["write-gap of etcd among survivors during fault+recovery"].limit == 5
    measured = {each.name: each for each in scenarios()}
    for name in ("master-silent", "apiserver-hung", "apiserver-gone"):
        assert sum(measured[name].phases.values()) == 120
        assert [doing.hold for doing in measured[name].faults] == [60]


def test_what_must_always_hold_is_judged_in_each_of_them() -> None:
    always = {each.title for each in ALWAYS}
    assert always == {"lost-writes", "linearizable", "minority-acks", "hash-kv", "overlapping-holders"}
    assert not [each.name for each in scenarios() if not always <= {i.title for i in each.judged}]
    assert not [each.name for each in scenarios() if "etcd" not in each.probes]


def test_every_word_is_used() -> None:
    """A fault or an invariant that no scenario uses is not known to work."""
    used = {doing.fault for each in scenarios() for doing in each.faults}
    assert set(FAULTS) - used == set()
    judged = {i.word for each in scenarios() for i in each.judged}
    assert set(INVARIANTS) - judged == set()


def test_only_what_the_guide_lacks_is_expected_to_break_there() -> None:
    expected = {each.name for each in scenarios() if each.expect}
    assert expected == {*LACKS, "scheduler-deaf"}, "a control breaks always"
    assert {name for name, lacks in LACKS.items() if lacks(GUIDE) and not lacks(OURS)} == set(LACKS)


OURS = load_topology()
GUIDE = load_topology(profile="guide")


def waits_a_minute(plan: Topology) -> bool:
    """Whether the balancer connects for as long as nginx does by itself, so that a silent master is felt."""
    files = files_of(plan, CONTAINER, plan.node("k8s-lb"))
    return b"proxy_connect_timeout" not in files["/etc/nginx/nginx.conf"].content


def has_one_name_server(plan: Topology) -> bool:
    """Whether all names go with the node of one pod, and for as long as pods stay there by default."""
    (deployment,) = [
        each for each in CoreDns(plan).manifests(fixed_credentials()) if each["kind"] == "Deployment"
    ]
    pods = deployment["spec"]
    return pods["replicas"] == 1 and "tolerations" not in pods["template"]["spec"]


# Why each must break there, as the files of that profile say it; none of them may hold of ours.
LACKS: dict[str, Callable[[Topology], bool]] = {
    "master-silent": waits_a_minute,
    "master-leading-silent": waits_a_minute,
    "master-power-cut": waits_a_minute,
    "coredns-node-lost": has_one_name_server,
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_editor_finds_the_schema(path: Path) -> None:
    assert path.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_the_editors_schema_is_in_step() -> None:
    """THWLAB_GOLDEN=write writes it anew."""
    text = json.dumps(schema(known()), indent=1, ensure_ascii=True) + "\n"
    if os.environ.get("THWLAB_GOLDEN") == "write":
        SCHEMA.write_text(text)
    assert SCHEMA.read_text() == text


def test_a_night_is_long_enough_for_all_of_them() -> None:
    """With half a minute for each to begin and to be proven whole, and as long again for the other tests."""
    text = (ROOT / ".github/workflows/nightly.yaml").read_text()
    found = re.search(r"timeout-minutes: (\d+)\n(?:.*\n){0,4}?\s+run: make failover", text)
    assert found, "no step of the night runs them"
    phases = sum(sum(each.phases.values()) for each in scenarios()) / 60
    assert phases + 0.5 * len(scenarios()) + 90 <= int(found[1])


def test_the_alarm_that_nobody_disarms_is_a_file_that_can_be_run() -> None:
    """Case A9: no scenario of its own, for its run must be invalid."""
    (doing,) = load(ROOT / "tests/failover/etcd-space-alarm-kept.yaml", known()).faults
    assert (doing.fault, doing.values) == ("space-alarm", {"disarm": False})


def test_a_folder_without_scenarios_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no scenario"):
        load_all(tmp_path, known())


def test_mistakes_of_several_files_are_told_together(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\n")
    with pytest.raises(ConfigError) as caught:
        load_all(tmp_path, known())
    assert {text.split(":")[0].rpartition("/")[2] for text in caught.value.problems} == {
        "one.yaml",
        "two.yaml",
    }
