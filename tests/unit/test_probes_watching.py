"""All probes of a run together."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.errors import LabError
from lab.failover.performing import perform
from lab.history import Recorder, history, read
from lab.plan import load_topology
from lab.probes import watching
from lab.probes.catalogue import WORDS, probes, spared
from lab.probes.clocks import Clock, Clocks, Reading
from lab.probes.vantage import PLACE, Here, There, begin
from lab.probes.watching import PHASE, SETTLING, Watch, _marked, spread
from lab.probes.workload import Workload, _resolvers

SERVED = Workload("10.0.0.10", 30080, {})


def test_what_one_run_writes_has_no_name_that_another_run_uses() -> None:
    """A run that was killed leaves objects; the next one took their being there for failures of the API."""
    every = probes(load_topology(), SERVED, WORDS)
    prefixes = {str(_marked(each, "abcd").plan.get("prefix", "abcd-")) for each in every}
    assert all("abcd-" in prefix for prefix in prefixes)
    assert "/thwlab-probes/abcd-etcd-1-" in prefixes
    assert "abcd-api-" in prefixes


def test_every_probe_has_a_name_of_its_own_and_a_deadline_that_its_unit_outlives() -> None:
    every = probes(load_topology(), SERVED, WORDS)
    assert len({each.name for each in every}) == len(every)
    assert all(0 < each.interval <= 10 and 0 < each.deadline <= 30 for each in every)


def test_a_write_is_waited_for_until_etcd_itself_gives_up_and_no_other_probe_waits_for_it() -> None:
    """etcd answers after 7 s what its leader left behind; a probe that is gone by then hears nothing."""
    every = {each.name: each for each in probes(load_topology(), SERVED, WORDS)}
    patient = [each for each in every.values() if each.question == "etcd-patient"]
    assert len(patient) == 3
    assert all(each.deadline > 8 and each.interval < 0.3 for each in patient)
    assert all([ask["path"] for ask in each.plan["requests"]] == ["/v3/kv/put"] for each in patient)
    assert {each.deadline for each in every.values() if each.question == "etcd"} == {5.0}
    prefixes = [
        each.plan["prefix"]
        for each in every.values()
        if each.question.startswith("etcd") and "prefix" in each.plan
    ]
    assert len(set(prefixes)) == len(prefixes) == 6


def test_every_coredns_pod_is_asked_by_itself_and_one_client_keeps_its_port() -> None:
    served = Workload("10.0.0.10", 30080, {}, (("k8s-worker1", "10.10.1.2"), ("k8s-worker1", "10.10.1.3")))
    every = {each.name: each for each in probes(load_topology(), served, ("dns", "dns-pod", "dns-kept"))}
    pods = {name: each for name, each in every.items() if each.question == "dns-pod"}
    assert set(pods) == {f"dns-pod{n}@k8s-worker{w}" for n in (1, 2) for w in (1, 2)}
    assert {each.plan["address"] for each in pods.values()} == {"10.10.1.2", "10.10.1.3"}
    assert {each.target for each in pods.values()} == {"k8s-worker1"}
    kept = [each for each in every.values() if each.question == "dns-kept"]
    assert {each.at for each in kept} == {"k8s-worker1", "k8s-worker2"}
    assert {each.plan["source"] for each in kept} == {10053}
    fresh = [each for each in every.values() if each.question == "dns"]
    assert {each.plan.get("source", 0) for each in (*fresh, *pods.values())} == {0}
    assert {each.plan["address"] for each in (*fresh, *kept)} == {str(load_topology().networks.dns)}


def test_pods_that_do_not_run_or_have_no_address_resolve_nothing() -> None:
    """An evicted one keeps its address, which another pod has by now."""

    def pod(node: str, ip: str | None, phase: str = "Running", **metadata: str) -> dict[str, Any]:
        status = {"phase": phase, **({"podIP": ip} if ip else {})}
        return {"metadata": metadata, "spec": {"nodeName": node}, "status": status}

    found = [
        pod("k8s-worker2", "10.10.2.2"),
        pod("k8s-worker1", "10.10.1.2"),
        pod("k8s-worker1", None),
        pod("k8s-worker1", "10.10.1.7", "Failed"),
        pod("k8s-worker2", "10.10.2.8", "Pending"),
        pod("k8s-worker1", "10.10.1.9", deletionTimestamp="2026-11-27T00:00:00Z"),
    ]
    asked: list[str] = []
    api = SimpleNamespace(items=lambda path, **query: asked.append(f"{path} {query}") or found)
    cluster: Any = SimpleNamespace(api=lambda: api)
    assert _resolvers(cluster) == (("k8s-worker1", "10.10.1.2"), ("k8s-worker2", "10.10.2.2"))
    assert "kube-dns" in asked[0]


def test_observers_are_always_among_them() -> None:
    asked = {each.question for each in probes(load_topology(), SERVED, ("api",))}
    assert asked == {"api", "raft", "leases", "nodes", "pods", "endpoints"}


class Off:
    """A machine that is off: nothing can be asked of it."""

    name = "k8s-worker1"

    def run(self, *_: str, **__: Any) -> Any:
        raise LabError("k8s-worker1 is not running")

    check = run


class Prober(Here):
    """One of this host, without its process."""

    def __init__(self) -> None:
        self.probe = probes(load_topology(), SERVED, ("api",))[0]
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def told(self) -> list[dict[str, Any]]:
        return [{"ready": 1.0}, {"ended": 2.0, "cpu": 0.1}]


def test_a_machine_that_is_off_keeps_no_other_prober_from_being_ended(tmp_path: Path) -> None:
    """Its probers are gone with it; the others, and the folder with the keys, must go all the same."""
    machine: Any = Off()
    cluster: Any = SimpleNamespace(machines={"k8s-worker1": machine})
    recorder = Recorder(tmp_path / "records.jsonl")
    watch = Watch(cluster, SERVED, tmp_path / "probes", recorder, 60, "seed", Clocks(cluster))
    there = next(each for each in probes(load_topology(), SERVED, ("dns",)) if each.at == machine.name)
    last = Prober()
    watch.running = [There(there, machine, Clock(lambda: Reading(0.0, 0.0)), "unit"), last]
    watch.end()
    assert last.stopped
    assert not (tmp_path / "probes").exists()
    assert history(read(recorder.path)).troubles == (
        "dns@k8s-worker1: nothing came back from its program: k8s-worker1 is not running",
    )


def test_the_end_on_a_lab_that_was_removed_makes_no_folder_of_it_again(tmp_path: Path) -> None:
    cluster: Any = SimpleNamespace(machines={})
    recorder = Recorder(tmp_path / "records.jsonl")
    Watch(cluster, SERVED, tmp_path / "lab" / "probes", recorder, 60, "seed", Clocks(cluster)).end()
    assert not (tmp_path / "lab").exists()


class Ended(Prober):
    """A prober that ended with its machine, which runs again; one on another machine is at work."""

    def __init__(self, name: str, *, at_work: bool = False) -> None:
        super().__init__()
        asked = {each.name: each for each in probes(load_topology(), SERVED, WORDS)}
        self.probe, self.at_work = asked[name], at_work

    def trouble(self) -> str:
        return "" if self.at_work else f"{self.probe.name}: the prober ended"


def test_who_asked_from_a_machine_that_was_off_asks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a cold start nobody else would say whether names and Services are there (case D8)."""
    cluster: Any = SimpleNamespace(machines={})
    recorder = Recorder(tmp_path / "records.jsonl")
    watch = Watch(cluster, SERVED, tmp_path / "probes", recorder, 60, "seed", Clocks(cluster))
    worker = "k8s-worker1"
    names = (f"dns@{worker}", f"cluster-ip@{worker}", f"api-in-cluster@{worker}", "dns@k8s-worker2", "api")
    watch.running = [Ended(name) for name in names]  # type: ignore[misc]
    watch.running.append(Ended(f"node-port@{worker}", at_work=True))  # type: ignore[arg-type]
    begun: list[str] = []

    def begin(_: Any, asked: Any, *__: Any) -> Any:
        begun.extend(each.name for each in asked)
        made = [Ended(f"dns@{worker}", at_work=True) for _ in asked]
        for each, probe in zip(made, asked, strict=True):
            each.probe = probe
        return made

    cluster.machines[worker] = Off()
    monkeypatch.setattr(watching, "begin", begin)
    for _ in range(2):
        watch.again((worker,))
    assert sorted(begun) == [f"cluster-ip@{worker}-again", f"dns@{worker}-again"]
    watch.end(lost={worker: "cold-start"})
    told = history(read(recorder.path)).probes
    assert (told[f"dns@{worker}"].lost, told[f"dns@{worker}"].again) == ("cold-start", False)


def test_two_runs_never_share_a_stream(tmp_path: Path) -> None:
    Recorder(tmp_path / "records.jsonl")
    nothing: Any = None
    with pytest.raises(LabError, match="holds a run already"):
        perform(nothing, nothing, nothing, tmp_path, print)


def test_emulated_machines_are_asked_less_and_most_often_for_what_outages_are_measured_by() -> None:
    """With 36 questions a second, each by a new connection, they did not come back from a power cut."""
    every = probes(load_topology(), SERVED, WORDS)
    slow = spared(every)
    assert [each.name for each in slow] == [each.name for each in every]
    often = {each.question for each in slow if each.interval == 1.0}
    assert often == {"api", "cluster-ip", "etcd-patient"}
    assert min(each.interval for each in slow if each.question not in often) == 4.0
    assert all(each.interval >= before.interval for each, before in zip(slow, every, strict=True))
    asked = [each for each in slow if each.question not in ("api-read", "etcd-read", "api-kept", "dns-kept")]
    assert sum(1 / each.interval for each in asked) < 16


def test_a_machine_that_takes_no_files_is_named_and_the_others_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines: Any = {name: Worker(name) for name in ("k8s-worker1", "k8s-worker2")}
    machines["k8s-worker1"].files = None
    cluster: Any = SimpleNamespace(machines=machines)
    recorder = Recorder(tmp_path / "records.jsonl")
    served = replace(SERVED, pids={"k8s-worker1": 7, "k8s-worker2": 8})
    watch = Watch(cluster, served, tmp_path / "probes", recorder, 60, "seed", Clocks(cluster))
    monkeypatch.setattr(Clocks, "of", lambda *_: Clock(lambda: Reading(0.0, 0.0)))
    asked = [
        each for each in probes(load_topology(), SERVED, ("dns", "api-in-cluster")) if each.at in machines
    ]
    begun, failures = watch._begin(asked)
    assert {each.probe.name for each in begun} == {each.name for each in asked if each.at == "k8s-worker2"}
    assert [str(each) for each in failures] == ["k8s-worker1 takes no files"]


class Worker:
    """It takes files and notes which units were begun, by what."""

    def __init__(self, name: str) -> None:
        self.name, self.begun = name, list[tuple[str, ...]]()
        self.files: list[str] | None = []

    def apply(self, files: Any) -> None:
        if self.files is None:
            raise LabError(f"{self.name} takes no files")
        self.files += [each.path for each in files]

    def check(self, *argv: str, **_: Any) -> str:
        self.begun.append(argv)
        return ""


def test_all_that_ask_from_one_network_of_a_machine_are_begun_by_one_unit() -> None:
    """A start of Python for each took five seconds of a core for 36 probers, and ten times that on VMs."""
    worker: Any = Worker("k8s-worker1")
    cluster: Any = SimpleNamespace(machines={worker.name: worker})
    clocks: Any = SimpleNamespace(of=lambda _: Clock(lambda: Reading(0.0, 0.0)))
    asked = [each for each in probes(load_topology(), SERVED, WORDS) if each.at == worker.name]
    served = replace(SERVED, pids={worker.name: 77})
    begun = begin(cluster, asked, served, Path("nowhere"), 60, clocks)
    assert {each.probe.name for each in begun} == {each.name for each in asked}
    of_machine, of_pod = worker.begun
    assert "nsenter" not in of_machine
    assert "--net=/proc/77/ns/net" in of_pod
    plans = {f"{PLACE}/{each.name}.plan": each.pod for each in asked}
    assert {path for path, pod in plans.items() if pod} == set(of_pod) & set(plans)
    assert {path for path, pod in plans.items() if not pod} == set(of_machine) & set(plans)
    assert set(worker.files) == {f"{PLACE}/prober.py", f"{PLACE}/several.py", *plans}
    assert len({each.unit for each in begun if isinstance(each, There)}) == 2


def test_nobody_asks_before_all_had_time_to_start_and_no_two_on_one_beat() -> None:
    """Probers that were begun in one moment were late by up to 300 ms at the 99th percentile."""
    every = probes(load_topology(), SERVED, WORDS)
    rests = {each.name: each.plan["rest"] for each in spread(every, 2)}
    assert set(rests) == {each.name for each in every}
    first = min(rests.values())
    assert first > SETTLING + 0.01 * len(every)
    assert max(rests.values()) < first + PHASE
    for interval in {each.interval for each in every}:
        alike = [rests[each.name] for each in every if each.interval == interval]
        assert len(set(alike)) == len(alike)
    assert min(each.plan["rest"] for each in spread(every[:1], 2)) < 1, "one prober waits for nobody"
