"""What the e2e tests of several chapters share: test pods on every worker, and room for another lab."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
import support_pods
from support_pods import PodSet

from lab import health
from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.machine import on_each
from lab.plugin import SESSION, is_laboratory
from lab.providers.base import Capability
from lab.session import LabSession
from lab.topology import Profile


@pytest.fixture(scope="session")
def pods(lab_network: Cluster) -> Iterator[PodSet]:
    """A server and a client pod on every worker, ready and answering there; removed at the end."""
    namespace = f"e2e-pods-{uuid.uuid4().hex[:8]}"
    try:
        yield support_pods.create(lab_network, namespace)
    finally:
        lab_network.api().delete(f"/api/v1/namespaces/{namespace}")


def pytest_configure(config: pytest.Config) -> None:
    """The marker of what the guide's own settings break."""
    config.addinivalue_line(
        "markers",
        "guide_defect(number, why): must fail under the profile `guide`, which keeps that defect",
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that bring up labs of their own come last: for them the session's lab is switched off."""
    items.sort(key=lambda item: "room" in getattr(item, "fixturenames", ()))
    with suppress(ConfigError):  # which is told once it is known that a plan is needed at all
        if config.stash[SESSION].topology.profile is Profile.GUIDE:
            expect_defects(items)


OF_THE_CLUSTER = pytest.RaisesExc(
    (AssertionError, pytest.fail.Exception, ExceptionGroup), check=lambda error: not is_laboratory(error)
)


def expect_defects(items: Iterable[pytest.Item]) -> None:
    """Every test of what the guide leaves open must fail, and by its own words: passing is a failure."""
    for item in items:
        for mark in item.iter_markers("guide_defect"):
            number, why = mark.args
            item.add_marker(pytest.mark.xfail(reason=f"{number}: {why}", raises=OF_THE_CLUSTER, strict=True))


@pytest.fixture
def flags(lab_session: LabSession) -> list[str]:
    """The options of `thwlab` that name this session's lab."""
    return [word.replace("--lab-", "--") for word in lab_session.arguments()]


@pytest.fixture(scope="session")
def room(lab_session: LabSession) -> Iterator[None]:
    """The lab of this session is off, if it has one: two labs may be more than a host can bear at once.

    All its machines lose their power at once, and the session fails unless everything comes back by
    itself: a cold start of the whole lab.
    """
    if not lab_session.outcomes():
        yield
        return
    cluster = lab_session.cluster
    if Capability.POWER_CUT not in cluster.lab.provider.capabilities:
        yield
        return
    machines = list(cluster.machines.values())
    on_each(machines, lambda machine: machine.pull_plug())
    try:
        yield
    finally:
        on_each(machines, lambda machine: machine.boot())
        cluster.lab.close()
        if not any(outcome.error for outcome in lab_session.outcomes().values()):  # else it never was
            health.await_whole(cluster)
