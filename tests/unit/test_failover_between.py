"""Between two scenarios: proof that the lab is whole, or a way back, as the policy says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.debts import owe
from lab.errors import ClusterError, LabError
from lab.providers.base import Capability
from lab.scenario import between, fitness
from lab.scenario.between import SNAPSHOT, Between, Policy
from lab.scenario.fitness import NotFit


class Provider:
    """Writes down what is done with snapshots."""

    is_slow = False

    def __init__(self, *, can: bool = True) -> None:
        self.capabilities = {Capability.SNAPSHOT} if can else set()
        self.done: list[str] = []

    def snapshot(self, name: str) -> None:
        self.done.append(f"snapshot {name}")

    def restore(self, name: str) -> None:
        self.done.append(f"restore {name}")

    def forget_snapshot(self, name: str) -> None:
        self.done.append(f"forget {name}")


class Cluster:
    def __init__(self, *, can: bool = True) -> None:
        self.lab = self
        self.provider = Provider(can=can)
        self.state = SimpleNamespace(path=Path("/nonexistent"))  # where nothing is owed

    def close(self) -> None: ...


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """What each look at the lab finds, in order; whole once the list is used up."""
    found: list[bool] = []

    def insist(_: Any) -> None:
        if found and not found.pop(0):
            raise ClusterError("k8s-worker1 is not Ready\nmore")

    monkeypatch.setattr(between, "insist_whole", insist)
    return found


def made(policy: Policy, *, can: bool = True) -> tuple[Any, Between]:
    cluster: Any = Cluster(can=can)
    return cluster, Between(cluster, policy)


def test_a_proof_is_good_for_one_use(whole: list[bool]) -> None:
    _, keep = made(Policy.VERIFY)
    assert not keep.taken()
    keep.begin()
    assert [keep.taken(), keep.taken()] == [True, False]
    keep.after(destroyed=False)
    assert keep.taken()
    whole.append(False)
    with pytest.raises(ClusterError):
        keep.after(destroyed=False)
    assert not keep.taken()


@pytest.mark.usefixtures("whole")
def test_a_lab_that_is_whole_stays_where_it_is() -> None:
    cluster, keep = made(Policy.AUTO)
    keep.begin()
    assert keep.after(destroyed=False) == ""
    assert not [each for each in cluster.provider.done if each.startswith("restore")]
    keep.end()
    assert cluster.provider.done[-1] == f"forget {SNAPSHOT}"


def test_a_lab_that_is_not_whole_goes_back_and_says_why(whole: list[bool]) -> None:
    cluster, keep = made(Policy.AUTO)
    keep.begin()
    whole.append(False)
    assert keep.after(destroyed=False) == "k8s-worker1 is not Ready"
    assert cluster.provider.done[-1] == f"restore {SNAPSHOT}"


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(("policy", "destroyed"), [(Policy.AUTO, True), (Policy.RESTORE, False)])
def test_it_goes_back_unasked_where_data_is_gone_and_always_where_that_was_asked(
    policy: Policy, destroyed: bool
) -> None:
    cluster, keep = made(policy)
    keep.begin()
    assert keep.after(destroyed=destroyed)
    assert cluster.provider.done[-1] == f"restore {SNAPSHOT}"


@pytest.mark.parametrize(("policy", "can"), [(Policy.VERIFY, True), (Policy.AUTO, False)])
def test_where_there_is_no_way_back_a_broken_lab_ends_the_run(
    whole: list[bool], policy: Policy, can: bool
) -> None:
    cluster, keep = made(policy, can=can)
    keep.begin()
    whole.append(False)
    with pytest.raises(ClusterError, match="k8s-worker1 is not Ready"):
        keep.after(destroyed=False)
    assert cluster.provider.done == []


def test_nothing_is_kept_of_a_lab_that_is_not_whole(whole: list[bool]) -> None:
    cluster, keep = made(Policy.AUTO)
    whole.append(False)
    with pytest.raises(NotFit, match="k8s-worker1 is not Ready") as refused:
        keep.begin()
    assert "thwlab up" in refused.value.remedy
    assert cluster.provider.done == []


@pytest.fixture
def owing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A lab that is whole once somebody healed it; `heals` are how each healing ends, the last for ever."""
    owe(tmp_path, {"fault": "silent", "machines": ["k8s-master1"]}, 60)
    seen = SimpleNamespace(path=tmp_path, done=[], told=[], heals=["silent on k8s-master1"])

    def heal_all(_: Any, state: Path) -> list[str]:
        assert state == tmp_path
        how = seen.heals.pop(0) if seen.heals[1:] else seen.heals[0]
        seen.done.append("heal")
        if isinstance(how, Exception):
            raise how
        return [how]

    def insist(_: Any) -> None:
        if "heal" not in seen.done:
            raise ClusterError("k8s-master1 does not answer")
        seen.done.append("look")

    monkeypatch.setattr(fitness, "heal_all", heal_all)
    monkeypatch.setattr(between, "insist_whole", insist)
    return seen


def of(owing: Any, policy: Policy) -> tuple[Any, Between]:
    cluster: Any = Cluster()
    cluster.state = SimpleNamespace(path=owing.path)
    return cluster, Between(cluster, policy, owing.told.append)


def test_what_is_left_broken_is_healed_before_anybody_asks_whether_the_lab_is_whole(owing: Any) -> None:
    """It does not become whole by waiting for it, and then nobody would come to heal it."""
    of(owing, Policy.VERIFY)[1].begin()
    assert owing.done == ["heal", "look"]
    assert owing.told == ["  healed what an earlier run left: silent on k8s-master1"]


def test_a_lab_that_cannot_be_healed_is_not_broken_any_further_and_the_remedy_is_to_heal_it(
    owing: Any,
) -> None:
    owing.heals = [ExceptionGroup("not everything is healed", [LabError("2 packets are still dropped")])]
    cluster, keep = of(owing, Policy.AUTO)
    with pytest.raises(NotFit, match="2 packets are still dropped") as refused:
        keep.begin()
    assert "thwlab heal --all" in refused.value.remedy
    assert (owing.done, cluster.provider.done) == (["heal"], [])


def test_a_lab_that_owes_is_not_whole_whatever_it_answers_and_goes_back(owing: Any) -> None:
    cluster, keep = of(owing, Policy.AUTO)
    keep.begin()
    owing.heals = [LabError("silent is not healed\nmore"), "silent on k8s-master1"]
    owing.done.clear()
    assert keep.after(destroyed=False) == "silent is not healed"
    assert cluster.provider.done[-1] == f"restore {SNAPSHOT}"
    assert owing.done == ["heal", "heal", "look"]


def test_a_lab_that_owes_and_cannot_go_back_is_fit_for_nobody(owing: Any) -> None:
    _, keep = of(owing, Policy.VERIFY)
    keep.begin()
    assert keep.taken()
    owing.heals = [LabError("silent is not healed")]
    with pytest.raises(LabError, match="silent is not healed"):
        keep.after(destroyed=False)
    assert not keep.taken()


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(("policy", "back"), [(Policy.AUTO, "its machines are slow"), (Policy.VERIFY, "")])
def test_a_lab_of_slow_machines_goes_back_unless_a_proof_is_asked_for(policy: Policy, back: str) -> None:
    """Emulated masters went on to lose their leases for half an hour after all had lost their power."""
    cluster, keep = made(policy)
    cluster.provider.is_slow = True
    keep.begin()
    assert keep.after(destroyed=False) == back
    assert (f"restore {SNAPSHOT}" in cluster.provider.done) is bool(back)
