"""What stages do on machines: in which order, on which of them, and what they say if it fails."""

from types import SimpleNamespace
from typing import Any

import pytest
from fixed import guide_topology

from lab import acts as module
from lab.errors import WaitExpired
from lab.kubeapi import Refused
from lab.machine import Platform, Substrate
from lab.plan import load_topology
from lab.stages import stages_for
from lab.wait import NotYet, at_most


def test_machines_that_come_with_everything_are_not_even_asked() -> None:
    provider = SimpleNamespace(is_furnished=True, capabilities=frozenset())
    act = {stage.name: stage for stage in stages_for(load_topology())}["programs"].act
    assert act(SimpleNamespace(provider=provider)) == []  # type: ignore[arg-type]


def test_programs_go_to_the_machines_that_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is off is not of those that were asked for."""
    told: list[tuple[str, str]] = []
    provider = SimpleNamespace(
        is_furnished=False, capabilities=frozenset(), states=lambda: {"a": "running", "b": "stopped"}
    )
    lab: Any = SimpleNamespace(
        provider=provider,
        topology=load_topology(),
        machines={"a": "machine a", "b": "machine b"},
        tell=lambda *words: told.append(words),
    )

    def furnish(machines: list[str], _: Any, tell: Any) -> list[str]:
        tell("sending")
        return [each.removeprefix("machine ") for each in machines]

    monkeypatch.setattr(module, "furnish", furnish)
    act = {stage.name: stage for stage in stages_for(lab.topology)}["programs"].act
    assert act(lab) == ["programs on a"]
    assert told == [("programs", "sending")]


@pytest.mark.parametrize(("status", "kind"), [(500, NotYet), (503, NotYet), (403, Refused)])
def test_an_apiserver_that_starts_behind_the_balancer_is_waited_for(
    status: int, kind: type[Exception]
) -> None:
    """The balancer sees connections only, and gave some to the second master while it started."""

    class Api:
        def text(self, path: str) -> str:
            raise Refused(f"GET {path}", status, "[-]etcd failed")

    lab = SimpleNamespace(api=Api)
    with pytest.raises(kind, match="etcd failed"):
        module._check_api(lab)  # type: ignore[arg-type]


Call = tuple[str, set[str]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What stages did, in order: placed or awaited these components, or awaited leaders."""
    done: list[Call] = []

    def noting(word: str) -> Any:
        return lambda components, *_: done.append((word, {each.name for each in components})) or []

    monkeypatch.setattr(module, "place_all", noting("placed"))
    monkeypatch.setattr(module, "await_all", noting("awaited"))
    monkeypatch.setattr(module, "_await_leaders", lambda _: done.append(("leaders", set())))
    for check in ("_check_api", "_check_ready"):
        monkeypatch.setattr(module, check, lambda _: None)
    monkeypatch.setattr(module, "_pod_cidrs", lambda _: {})
    return done


def lab_of(*, slow: bool) -> Any:
    provider = SimpleNamespace(is_slow=slow, platform=Platform(Substrate.CONTAINER, 2))
    return SimpleNamespace(
        topology=load_topology(),
        provider=provider,
        machines={},
        credentials=None,
        outside=None,
        state=SimpleNamespace(note_pod_ranges=lambda _: None),
    )


def acts() -> dict[str, Any]:
    return {stage.name: stage.act for stage in stages_for(load_topology())}


@pytest.mark.parametrize(("slow", "placed"), [(False, {"kubelet", "kube-proxy"}), (True, {"kubelet"})])
def test_where_machines_are_slow_kubelets_start_alone(
    calls: list[Call], slow: bool, placed: set[str]
) -> None:
    acts()["kubelet"](lab_of(slow=slow))
    assert calls == [("placed", placed)]


@pytest.mark.parametrize(("slow", "placed"), [(False, {"cni"}), (True, {"cni", "kube-proxy"})])
def test_where_machines_are_slow_kube_proxy_comes_with_the_pods_network(
    calls: list[Call], slow: bool, placed: set[str]
) -> None:
    for stage in ("network", "proxy"):
        acts()[stage](lab_of(slow=slow))
    assert calls == [("placed", placed), ("awaited", {"cni"}), ("awaited", {"kube-proxy"})]


def test_controllers_are_started_by_one_stage_and_asked_by_another_once_they_lead(calls: list[Call]) -> None:
    both = {"kube-controller-manager", "kube-scheduler"}
    for stage in ("controllers", "control-plane"):
        acts()[stage](lab_of(slow=True))
    assert calls == [("placed", both), ("leaders", set()), ("awaited", both)]


def test_controllers_of_whom_none_leads_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "last_words", lambda components, _: [f"k8s-master1: {components[1].unit} ended"]
    )
    lab = leading({"kube-controller-manager": "k8s-master1_1"})
    lab.provider, lab.machines = lab_of(slow=False).provider, {}
    with at_most(0), pytest.raises(WaitExpired, match=r"nobody leads kube-scheduler; k8s-master1: .* ended"):
        module._await_leaders(lab)


CONTROLLED = ("controller-manager", "scheduler")
LATE = [("kube-apiserver", "k8s-master2"), *((f"kube-{each}", "k8s-master2") for each in CONTROLLED)]


@pytest.mark.parametrize(("slow", "wanted"), [(False, []), (True, LATE)])
def test_no_master_is_installed_twice(
    monkeypatch: pytest.MonkeyPatch, slow: bool, wanted: list[tuple[str, str]]
) -> None:
    """Where machines are not slow all masters came at once, and the later stage has nothing to do.

    Where they are, controllers that ask their apiserver again and again keep it from coming up.
    """
    plan = guide_topology()
    machines = {node.name: SimpleNamespace(name=node.name, node=node) for node in plan.nodes}
    provider = SimpleNamespace(is_slow=slow, platform=Platform(Substrate.CONTAINER, 2))
    lab = SimpleNamespace(topology=plan, machines=machines, provider=provider, credentials=None, outside=None)
    seen: list[tuple[str, str]] = []

    def install(components: Any, where: Any, *_: Any) -> list[str]:
        seen.extend((each.name, machine.name) for each in components for machine in where)
        return [machine.name for machine in where]

    monkeypatch.setattr(module, "install", install)
    {stage.name: stage for stage in stages_for(plan)}["every-master"].act(lab)  # type: ignore[arg-type]
    assert seen == wanted


@pytest.mark.parametrize(
    ("holder", "said"),
    [
        ("", "nobody leads kube-scheduler"),
        ("stranger", "stranger leads kube-scheduler"),
        ("k8s-worker1_0f1e", "k8s-worker1_0f1e leads kube-scheduler"),
    ],
)
def test_only_a_master_of_the_plan_leads(holder: str, said: str) -> None:
    leases = {"kube-controller-manager": "k8s-master2_0f1e", "kube-scheduler": holder}
    with pytest.raises(NotYet) as seen:
        module.check_leaders(leading(leases))
    assert str(seen.value).startswith(said)
    assert ("delete lease kube-scheduler" in str(seen.value)) is bool(holder)
    module.check_leaders(leading({**leases, "kube-scheduler": "k8s-master1_0f1e"}))


def leading(leases: dict[str, str]) -> Any:
    """A lab whose API knows these leases."""
    items = [
        {"metadata": {"name": name}, "spec": {"holderIdentity": holder}} for name, holder in leases.items()
    ]
    api = SimpleNamespace(items=lambda _: items)
    return SimpleNamespace(topology=load_topology(), api=lambda _: api)
