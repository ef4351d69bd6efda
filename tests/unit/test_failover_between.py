"""Between two scenarios: proof that the lab is whole, or a way back, as the policy says."""

from typing import Any

import pytest

from lab.errors import ClusterError
from lab.providers.base import Capability
from lab.scenario import between
from lab.scenario.between import SNAPSHOT, Between, Policy


class Provider:
    """Writes down what is done with snapshots."""

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
    with pytest.raises(ClusterError):
        keep.begin()
    assert cluster.provider.done == []
