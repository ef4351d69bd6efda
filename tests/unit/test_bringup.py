"""The stage graph: order, parallelism, and whose failure a failure is."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fake_lab import FakeProvider, events, raise_for, until
from fixed import guide_topology

from lab.acts import last_pod_network
from lab.background import start
from lab.bringup import Blocked, Bringup, Outcome, Stage, StageFailed, ancestors, machines_for, mark
from lab.cli.progress import ended
from lab.components.apiserver import ApiServer
from lab.components.etcd import Etcd
from lab.errors import ClusterError, CommandFailed, LabError, WaitExpired
from lab.laboratory import Laboratory
from lab.machine import on_each
from lab.state import StateFolder
from lab.summary import stage_rows, stage_table
from lab.topology import Role, Topology
from lab.wait import NotYet, stretch, stretched, wait_until

ETCD_UNIT = "/etc/systemd/system/etcd.service"
ETCD, WORKER = frozenset({Role.ETCD}), frozenset({Role.WORKER})
Act = Callable[[Laboratory], None]


class Log(list[str]):
    """What stages did, in order."""

    def act(self, name: str, how: str = "") -> Act:
        def run(_: Laboratory) -> None:
            self.append(name)
            raise_for(how)

        return run

    def stage(self, name: str, *needs: str, how: str = "", roles: frozenset[Role] = frozenset()) -> Stage:
        return Stage(name, f"{name} is true", self.act(name, how), needs, roles)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    monkeypatch.setenv("FAKE_EVENTS", str(tmp_path / "events"))
    return Laboratory(guide_topology(), FakeProvider(), StateFolder(tmp_path / "thw"))


def raising(error: BaseException) -> Act:
    def act(_: Laboratory) -> None:
        raise error

    return act


def failure(lab: Laboratory, error: BaseException) -> BaseException:
    bringup = Bringup(lab, [Stage("etcd", "", raising(error))])
    bringup.attempt("etcd")
    found = bringup.outcomes["etcd"].error
    assert found is not None
    return found


def test_a_stage_comes_after_all_it_needs_and_nothing_else_comes(lab: Laboratory, log: Log) -> None:
    stages = [log.stage("c", "b", "a"), log.stage("b", "a"), log.stage("a"), log.stage("other")]
    Bringup(lab, stages).require("c")
    assert log == ["a", "b", "c"]


def test_what_was_tried_is_not_tried_again(lab: Laboratory, log: Log) -> None:
    bringup = Bringup(lab, [log.stage("a"), log.stage("b", "a")])
    bringup.require("a")
    bringup.require("b", "a")
    assert log == ["a", "b"]


def test_independent_stages_run_at_the_same_time(lab: Laboratory) -> None:
    together = threading.Barrier(2, timeout=5)
    stages = [Stage(name, "", lambda _: together.wait() and None) for name in ("a", "b")]
    Bringup(lab, stages).require("a", "b")


def test_a_stage_starts_when_its_own_needs_are_true_and_waits_for_no_others(
    lab: Laboratory, log: Log
) -> None:
    reached = threading.Event()
    slow = Stage("slow", "", lambda _: until(reached.is_set))
    stages = [slow, log.stage("quick"), Stage("next", "", lambda _: reached.set(), ("quick",))]
    Bringup(lab, stages).require("slow", "next")
    assert log == ["quick"]


def test_a_stage_that_is_not_there_is_named_with_those_that_are(lab: Laboratory, log: Log) -> None:
    with pytest.raises(LabError, match="no stage 'etdc'; the stages are a, b"):
        Bringup(lab, [log.stage("a"), log.stage("b")]).require("etdc")


def test_only_machines_that_the_stages_need_are_created(lab: Laboratory, log: Log) -> None:
    bringup = Bringup(lab, [log.stage("etcd", roles=ETCD), log.stage("runtime", roles=WORKER)])
    bringup.require("etcd")
    assert list(lab.machines) == ["k8s-master1", "k8s-master2", "k8s-lb"]
    bringup.require("runtime")
    assert len(lab.machines) == 5


def test_what_concerns_every_machine_meets_those_made_later(lab: Laboratory, log: Log) -> None:
    stages = [
        log.stage("hosts"),
        log.stage("etcd", "hosts", roles=ETCD),
        log.stage("runtime", "hosts", roles=WORKER),
    ]
    bringup = Bringup(lab, stages)
    bringup.require("etcd")
    bringup.require("runtime")
    assert log == ["hosts", "etcd", "hosts", "runtime"]


def test_machines_that_cannot_be_created_fail_every_question_with_one_attempt(
    lab: Laboratory, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "create")
    bringup = Bringup(lab, [log.stage("etcd", roles=ETCD)])
    for _ in range(2):
        with pytest.raises(LabError, match="no room"):
            bringup.require("etcd")
    assert log == []
    assert lab.provider.there == []  # type: ignore[attr-defined]


# -- failures ---------------------------------------------------------------------------------------


def test_the_first_failure_is_the_answer_to_every_later_question(lab: Laboratory, log: Log) -> None:
    bringup = Bringup(lab, [log.stage("a", how="cluster")])
    seen = []
    for _ in range(2):
        with pytest.raises(StageFailed) as caught:
            bringup.require("a")
        seen.append(caught.value)
    assert seen[0] is seen[1]
    assert log == ["a"]


def test_dependants_are_blocked_and_name_the_root_and_others_go_on(lab: Laboratory, log: Log) -> None:
    stages = [
        log.stage("etcd", how="cluster"),
        log.stage("api", "etcd"),
        log.stage("nodes", "runtime", "api"),
        log.stage("runtime"),
    ]
    bringup = Bringup(lab, stages)
    bringup.attempt("nodes")
    assert sorted(log) == ["etcd", "runtime"]
    with pytest.raises(Blocked, match="nodes was not tried, it needs etcd"):
        bringup.insist("nodes")
    words = {name: mark(outcome) for name, outcome in bringup.outcomes.items()}
    assert words == {"etcd": "FAILED", "api": "blocked", "nodes": "blocked", "runtime": "ok"}


def test_a_stage_that_is_true_is_so_whatever_failed_beside_it(lab: Laboratory, log: Log) -> None:
    bringup = Bringup(lab, [log.stage("a"), log.stage("b", how="lab")])
    bringup.attempt("a", "b")
    bringup.require("a")


@pytest.mark.parametrize(
    "error", [WaitExpired("a quorum", 60, "1 of 3"), NotYet("1 of 3"), ClusterError("refused")]
)
def test_what_keeps_a_component_from_serving_is_the_clusters_failure(
    lab: Laboratory, error: Exception
) -> None:
    found = failure(lab, error)
    assert isinstance(found, StageFailed)
    assert isinstance(found, ClusterError)
    assert str(found) == f"stage etcd: {error}"
    assert found.__cause__ is error


@pytest.mark.parametrize(
    "error", [LabError("x"), CommandFailed("a", "b", 1, "c"), ValueError("x"), KeyboardInterrupt()]
)
def test_all_else_stays_what_it_is(lab: Laboratory, error: BaseException) -> None:
    assert failure(lab, error) is error


def test_in_a_group_each_is_judged_by_itself(lab: Laboratory) -> None:
    group = BaseExceptionGroup(
        "2 of 3", [NotYet("x"), BaseExceptionGroup("1", [LabError("y"), ClusterError("z")])]
    )
    found = failure(lab, group)
    assert isinstance(found, BaseExceptionGroup)
    inner = found.exceptions[1]
    assert isinstance(inner, BaseExceptionGroup)
    assert [type(e) for e in (found.exceptions[0], *inner.exceptions)] == [StageFailed, LabError, StageFailed]


def test_ctrl_c_is_heard_while_stages_are_at_work(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The main thread must not be held by what it has started; it left the stage behind."""
    release = threading.Event()

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.bringup.wait", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            Bringup(lab, [Stage("a", "", lambda _: release.wait(30) and None)]).require("a")
        assert all(t.daemon for t in threading.enumerate() if t.name == "a")
    finally:
        release.set()


# -- what is carried --------------------------------------------------------------------------------


def test_the_first_files_that_a_machine_gets_bring_all_that_is_asked_for(lab: Laboratory) -> None:
    """And no more; what was right in one attempt is not taken for right in the next."""
    seen: dict[str, list[set[str]]] = {"etcd": [], "masters": []}

    def act(name: str) -> Act:
        def look(lab: Laboratory) -> None:
            load = lab.machines["k8s-master1"].load
            assert load is not None
            seen[name].append({f.path for more in load.pack().lacking.values() for f in more})

        return look

    stages = [
        Stage("etcd", "", act("etcd"), (), ETCD, carries=(Etcd,)),
        Stage("masters", "", act("masters"), (), frozenset({Role.CONTROL_PLANE}), carries=(ApiServer,)),
    ]
    etcd, apiserver = ETCD_UNIT, "/etc/systemd/system/kube-apiserver.service"
    bringup = Bringup(lab, stages)
    bringup.require("etcd")
    assert lab.machines["k8s-master1"].load is None
    bringup.require("masters", "etcd")
    Bringup(lab, stages).require("masters", "etcd")
    assert [{etcd, apiserver} & paths for paths in seen["etcd"]] == [{etcd}, {etcd, apiserver}]
    assert [{etcd, apiserver} & paths for paths in seen["masters"]] == [{apiserver}, {etcd, apiserver}]


ROUTES = "/etc/systemd/system/thwlab-routes.service"
WHOLE = {"k8s-worker1": "10.244.0.0/24", "k8s-worker2": "10.244.1.0/24"}


@pytest.mark.parametrize(
    ("ranges", "there"),
    [
        (WHOLE, True),
        ({}, False),
        ({"k8s-worker1": "10.244.0.0/24"}, False),
        (WHOLE | {"k8s-worker2": "damaged"}, False),
    ],
)
def test_what_was_known_of_the_cluster_is_carried_the_second_time(
    lab: Laboratory, ranges: dict[str, str], there: bool
) -> None:
    """By its own stage it were a round trip more on every machine; of half the nodes it would be wrong."""
    seen: list[bool] = []

    def act(lab: Laboratory) -> None:
        load = lab.machines["k8s-master1"].load
        assert load is not None
        seen.append(ROUTES in load.pack().lacking)

    stage = Stage("etcd", "", act, (), ETCD, carries=(Etcd,), recalls=last_pod_network)
    Bringup(lab, [stage]).require("etcd")
    lab.state.path.mkdir(parents=True, exist_ok=True)
    lab.state.note_pod_ranges(ranges)
    Bringup(lab, [stage]).require("etcd")
    assert seen == [False, there]


def test_of_a_new_machine_no_pod_range_is_remembered(lab: Laboratory) -> None:
    lab.state.path.mkdir(parents=True, exist_ok=True)
    lab.state.note_pod_ranges(WHOLE)
    assert lab.state.pod_ranges() == WHOLE
    lab.state.disprove()
    assert lab.state.pod_ranges() == {}
    (lab.state.path / "pod-ranges.json").write_text("[1")
    assert lab.state.pod_ranges() == {}


def test_where_nothing_is_carried_no_machine_has_a_load(lab: Laboratory) -> None:
    def act(lab: Laboratory) -> None:
        assert [machine.load for machine in lab.machines.values()] == [None] * len(lab.machines)

    Bringup(lab, [Stage("etcd", "", act, (), ETCD)]).require("etcd")


# -- what is told -----------------------------------------------------------------------------------


def test_each_stage_is_told_when_it_starts_and_when_it_ended(lab: Laboratory, log: Log) -> None:
    told: list[tuple[str, bool | None]] = []

    def report(stage: str, outcome: Outcome | None) -> None:
        told.append((stage, None if outcome is None else outcome.error is None))

    Bringup(lab, [log.stage("a", how="lab"), log.stage("b", "a")], report).attempt("b")
    assert told == [("a", None), ("a", False), ("b", False)]


def test_ancestors_and_machines_are_pure(log: Log) -> None:
    stages = {s.name: s for s in (log.stage("a"), log.stage("b", "a"), log.stage("c", "b", roles=WORKER))}
    assert ancestors(stages, ["b"]) == {"a", "b"}
    assert machines_for(guide_topology(), stages.values()) == ["k8s-worker1", "k8s-worker2"]


def proven_once(lab: Laboratory, *names: str) -> None:
    lab.state.intend("fake", lab.topology.digest())
    lab.state.prove(lab.topology.digest(), names)


def breaking(log: Log) -> list[Stage]:
    return [log.stage("etcd", how="cluster"), log.stage("apiserver", "etcd")]


def test_what_was_true_before_and_is_not_keeps_no_test_from_its_turn(lab: Laboratory, log: Log) -> None:
    proven_once(lab, "etcd", "apiserver")
    bringup = Bringup(lab, breaking(log), lenient=True)
    bringup.require("apiserver", "etcd")
    assert log == ["etcd", "apiserver"]
    assert mark(bringup.outcomes["etcd"]) == "BROKEN"


@pytest.mark.parametrize(
    ("lenient", "known"), [(False, ["etcd", "apiserver"]), (True, []), (True, ["apiserver"])]
)
def test_what_never_was_true_or_must_be_stops_what_needs_it(
    lab: Laboratory, log: Log, lenient: bool, known: list[str]
) -> None:
    proven_once(lab, *known)
    bringup = Bringup(lab, breaking(log), lenient=lenient)
    with pytest.raises(StageFailed):
        bringup.require("etcd", "apiserver")
    assert isinstance(bringup.outcomes["apiserver"].error, Blocked)


def test_a_laboratory_that_cannot_ask_is_never_tolerated(lab: Laboratory) -> None:
    proven_once(lab, "etcd")
    bringup = Bringup(lab, [Stage("etcd", "", raising(LabError("no daemon")))], lenient=True)
    with pytest.raises(LabError, match="no daemon"):
        bringup.require("etcd")


def test_a_new_machine_makes_every_stage_unproven(lab: Laboratory, log: Log) -> None:
    proven_once(lab, "etcd")
    stage = log.stage("etcd", how="cluster", roles=ETCD)
    with pytest.raises(StageFailed):
        Bringup(lab, [stage], lenient=True).require("etcd")
    assert lab.state.proven(lab.topology.digest()) == frozenset()


def test_stages_that_came_true_are_remembered_and_broken_ones_are_not_forgotten(
    lab: Laboratory, log: Log
) -> None:
    proven_once(lab, "etcd")
    Bringup(lab, [log.stage("hosts"), log.stage("etcd", how="cluster")], lenient=True).attempt(
        "hosts", "etcd"
    )
    assert lab.state.proven(lab.topology.digest()) == {"hosts", "etcd"}
    assert lab.state.proven("another plan") == frozenset()


def test_a_stage_that_was_true_is_not_waited_for_as_long(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.bringup.RECHECK_SECONDS", 0.1)
    proven_once(lab, "etcd")

    def never(_: Laboratory) -> None:
        on_each([], lambda machine: machine)
        start(lambda: wait_until("a member", hopeless, timeout=60), "thread").result()

    bringup = Bringup(lab, [Stage("etcd", "", never)], lenient=True)
    bringup.require("etcd")
    assert bringup.outcomes["etcd"].seconds < 10
    assert "a member" in str(bringup.outcomes["etcd"].error)


@pytest.mark.parametrize("lenient", [True, False])
def test_what_had_to_be_put_right_in_a_lab_that_was_whole_is_told(lab: Laboratory, lenient: bool) -> None:
    def repairing(_: Laboratory) -> list[str]:
        return ["nginx on k8s-lb"]

    stages = [Stage(name, "", repairing) for name in ("load-balancer", "etcd")]
    stages.append(Stage("hosts", "", lambda _: []))
    proven_once(lab, "load-balancer", "hosts")
    bringup = Bringup(lab, stages, lenient=lenient)
    bringup.require("load-balancer", "etcd", "hosts")
    assert {name: mark(each) for name, each in bringup.outcomes.items()} == {
        "load-balancer": "mended",
        "etcd": "ok",  # for the first time: then everything is new
        "hosts": "ok",
    }
    assert "put right: nginx on k8s-lb" in ended(bringup.outcomes["load-balancer"], "it accepts")
    (line,) = stage_table(stage_rows([bringup.outcomes["load-balancer"]]))
    assert line.startswith("mended")
    assert line.endswith("put right: nginx on k8s-lb")


def hopeless() -> None:
    raise NotYet("no quorum")


def test_a_machine_that_is_off_or_paused_runs_before_the_first_stage(lab: Laboratory, log: Log) -> None:
    stage = log.stage("etcd", roles=ETCD)
    Bringup(lab, [stage]).require("etcd")
    lab.provider.off = {"k8s-lb": "stopped", "k8s-worker1": "paused"}  # type: ignore[attr-defined]
    Bringup(lab, [stage]).require("etcd")
    assert events()[-1] == "create k8s-lb"
    Bringup(lab, [stage]).require("etcd")
    assert [line.split()[0] for line in events()] == ["create", "create"]


@pytest.mark.parametrize(("slowness", "order"), [(1.0, ["late", "urgent"]), (15.0, ["urgent", "late"])])
def test_on_slow_machines_what_is_urgent_comes_first(
    lab: Laboratory, log: Log, monkeypatch: pytest.MonkeyPatch, slowness: float, order: list[str]
) -> None:
    monkeypatch.setattr(FakeProvider, "slowness", slowness)
    monkeypatch.setattr("lab.bringup.stretch", lambda _: None)
    late = replace(log.stage("late"), after=("urgent",))
    urgent = Stage(
        "urgent", "", lambda _: until(lambda: slowness > 1 or "late" in log) or log.append("urgent")
    )
    Bringup(lab, [late, urgent]).require("late", "urgent")
    assert log == order


@pytest.mark.parametrize(
    ("slowness", "order"), [(1.0, ["leaders", "kubelet"]), (15.0, ["kubelet", "leaders"])]
)
def test_what_only_fast_machines_wait_for_may_fail(
    lab: Laboratory, log: Log, monkeypatch: pytest.MonkeyPatch, slowness: float, order: list[str]
) -> None:
    """Whoever needs it says so, and names the stage at the root."""
    monkeypatch.setattr(FakeProvider, "slowness", slowness)
    monkeypatch.setattr("lab.bringup.stretch", lambda _: None)

    def leaders(_: Laboratory) -> None:
        until(lambda: slowness < 4 or "kubelet" in log)
        log.append("leaders")
        raise WaitExpired("leaders", 60, "nobody")

    stages = [
        Stage("leaders", "", leaders),
        replace(log.stage("kubelet"), fast_after=("leaders",)),
        log.stage("nodes", "leaders", "kubelet"),
    ]
    bringup = Bringup(lab, stages)
    bringup.attempt("leaders", "kubelet", "nodes")
    assert log == order
    assert {name: mark(each) for name, each in bringup.outcomes.items()} == {
        "leaders": "FAILED",
        "kubelet": "ok",
        "nodes": "blocked",
    }
    assert "it needs leaders" in str(bringup.outcomes["nodes"].error)


def test_on_slow_machines_what_nobody_asked_for_is_not_waited_for(
    lab: Laboratory, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProvider, "slowness", 15.0)
    monkeypatch.setattr("lab.bringup.stretch", lambda _: None)
    Bringup(lab, [replace(log.stage("late"), after=("urgent",)), log.stage("urgent")]).require("late")
    assert log == ["late"]


def test_waits_are_as_long_as_the_machines_are_slow(
    lab: Laboratory, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    monkeypatch.setattr(FakeProvider, "slowness", 15.0)
    monkeypatch.setattr("lab.bringup.stretch", told.append)
    Bringup(lab, [log.stage("a")]).require("a")
    assert set(told) == {15.0}


def test_machines_that_are_off_are_waited_for_as_long_as_they_are_slow(
    lab: Laboratory, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were measured when they were new; what is measured now is for the waits after this."""
    known, waits = [15.0], list[float]()
    monkeypatch.setattr(FakeProvider, "slowness", property(lambda _: known[0]))
    real = FakeProvider.create

    def create(self: FakeProvider, topology: Topology, names: Sequence[str]) -> None:
        waits.append(stretched(1.0))
        known[0] = 5.0
        real(self, topology, names)

    monkeypatch.setattr(FakeProvider, "create", create)
    try:
        Bringup(lab, [log.stage("a", roles=ETCD)]).require("a")
        assert (waits, stretched(1.0)) == ([15.0], 5.0)
    finally:
        stretch(1.0)
