"""Whether a cluster is led: by a master, which renews what it holds."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from fixed import guide_topology

from lab import health
from lab.errors import ClusterError
from lab.machine import Result

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
GOOD = {"kube-controller-manager": ("k8s-master1_0f1e", 1.0), "kube-scheduler": ("k8s-master2_77aa", 14.0)}


def cluster(leases: dict[str, tuple[str, float]], clock: Result | None = None) -> Any:
    """One whose leases have these holders, who renewed them so many seconds ago."""
    items = [
        {
            "metadata": {"name": name},
            "spec": {
                "holderIdentity": holder,
                "leaseDurationSeconds": 15,
                "renewTime": (NOW - timedelta(seconds=ago)).isoformat().replace("+00:00", "Z"),
            },
        }
        for name, (holder, ago) in leases.items()
    ]
    told = clock or Result(0, f"{NOW.timestamp()}\n".encode())
    lab = SimpleNamespace(
        topology=guide_topology(),
        api=lambda _: SimpleNamespace(items=lambda _: items),
        machine=lambda name: SimpleNamespace(name=name, run=lambda *_, **__: told),
    )
    return SimpleNamespace(lab=lab)


def test_two_masters_that_renew_their_leases_lead() -> None:
    health.await_leaders(cluster(GOOD), 0)


@pytest.mark.parametrize(
    ("lease", "said"),
    [
        (("k8s-worker1_0f1e", 1.0), "k8s-worker1_0f1e leads kube-scheduler"),
        (("", 1.0), "nobody leads kube-scheduler"),
        (("k8s-master1_0f1e", 16.0), "kube-scheduler: k8s-master1_0f1e renewed its lease last 16 s ago"),
        (("k8s-master1_0f1e", -300.0), "renewed its lease last -300 s ago, and it is good for 15 s"),
    ],
)
def test_a_stranger_and_a_lease_that_nobody_renews_are_no_steady_state(
    lease: tuple[str, float], said: str
) -> None:
    """Also one that was written by a clock which was set back since."""
    with pytest.raises(ClusterError, match="controllers and schedulers to be led") as seen:
        health.await_leaders(cluster({**GOOD, "kube-scheduler": lease}), 0)
    assert said in str(seen.value)


def test_a_machine_that_does_not_tell_the_time_proves_nothing() -> None:
    with pytest.raises(ClusterError, match="does not tell the time"):
        health.await_leaders(cluster(GOOD, Result(None)), 0)


def test_who_leads_is_part_of_a_steady_state(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    for name in [name for name in vars(health) if name.startswith("await_") and name != "await_whole"]:
        monkeypatch.setattr(health, name, lambda *_, name=name: asked.append(name))
    health.await_whole(SimpleNamespace(machines={}), 0)  # type: ignore[arg-type]
    assert "await_leaders" in asked
