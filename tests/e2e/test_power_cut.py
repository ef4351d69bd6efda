"""Silent power cuts of masters, etcd members and the balancer, one after the other, under write load.

Each machine is cut once; the tests judge what was seen.  In a container the page cache survives a power
cut, so that nothing here proves durability.
"""

from collections.abc import Callable
from functools import cache

import pytest
import support_pods
import support_power
from support_pods import PodSet
from support_power import ROW, Cut
from support_writes import first_run

from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.limits import Limits
from lab.plugin import SESSION
from lab.providers.base import Capability
from lab.topology import Role, Topology

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
OUTAGE_SECONDS = 10  # from the cut to the first of 20 acknowledged writes in a row
BACK_SECONDS = 15  # from the balancer's boot to an answer of the API through it
CutOf = Callable[[str], Cut]
Note = Callable[[str, object], None]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`member`, `master` and `entrance` are the machines of the plan that a test is about."""
    try:
        plan = metafunc.config.stash[SESSION].topology
    except ConfigError:  # told by the plugin once all is collected
        return
    kinds = {
        "member": [node.name for node in plan.of(Role.ETCD)],
        "master": [node.name for node in plan.of(Role.CONTROL_PLANE)],
        "entrance": [node.name for node in plan.of(Role.LOAD_BALANCER)],
    }
    for kind, names in kinds.items():
        if kind in metafunc.fixturenames:
            metafunc.parametrize(kind, names)


@pytest.fixture(scope="session")
def cut_of(lab: Cluster, pods: PodSet) -> CutOf:
    """What was seen of a machine's power cut, done at the first question about it."""
    if Capability.POWER_CUT not in lab.lab.provider.capabilities:
        pytest.skip(f"provider {lab.lab.provider.name} cannot cut the power here")
    if reason := unsurvivable(lab.topology):
        pytest.skip(reason)

    @cache
    def of(name: str) -> Cut | Exception:
        try:
            return support_power.cut(lab, lab.machines[name], support_pods.find(lab, pods.namespace))
        except Exception as error:  # noqa: BLE001 - the answer to every later question about this machine
            return error

    def insist(name: str) -> Cut:
        seen = of(name)
        if isinstance(seen, Exception):
            raise seen
        return seen

    return insist


@pytest.fixture
def note(record_property: Note) -> Note:
    """Keep a figure with the test's result."""
    return record_property


def unsurvivable(plan: Topology) -> str | None:
    """Why this plan cannot lose any one machine."""
    if len(plan.of(Role.ETCD)) < 3:
        return "the plan has one etcd member, whose loss it cannot survive"
    if len(plan.of(Role.CONTROL_PLANE)) < 2 or not plan.balancer:
        return "the plan has no second apiserver behind a balancer"
    return None


def test_a_power_cut_is_silent(cut_of: CutOf, member: str) -> None:
    seen = cut_of(member)
    for peer, lasting in seen.lasting.items():
        assert lasting, f"{peer} had no lasting connection with {member}, so its silence proves nothing"
        assert seen.heard[peer], (
            f"{peer} captured no packet of {member} before the cut, so its silence afterwards proves nothing"
        )
        assert not seen.goodbyes[peer], f"{peer} got FIN or RST from {member}: {seen.goodbyes[peer][:5]}"
        assert seen.still_open[peer], (
            f"{peer}: none of {len(lasting)} connections with {member} is still open"
        )


def test_the_api_takes_writes_again_after_a_power_cut(
    cut_of: CutOf, member: str, note: Note, lab_limits: Limits
) -> None:
    in_a_row(cut_of(member), "api", note, lab_limits)


def test_etcd_takes_writes_again_after_a_power_cut(
    cut_of: CutOf, member: str, note: Note, lab_limits: Limits
) -> None:
    in_a_row(cut_of(member), "etcd", note, lab_limits)


def in_a_row(seen: Cut, kind: str, note: Note, limits: Limits) -> None:
    """Twenty fresh connections in a row wrote, and the first of them soon after the cut."""
    writes = seen.writes[kind]
    first = first_run(writes.since(seen.dead), ROW)
    told = f"{seen.name} cut, {kind}: {writes.summary(seen.pulled)}"
    assert first, f"never {ROW} acknowledged writes in a row. {told}"
    late = first.answered - seen.pulled
    note("seconds_to_the_first_of_20_writes", round(late, 2))
    note("not_acknowledged", sum(not write.ok for write in writes.since(seen.pulled)))
    what = f"{seen.name} cut, {kind}: from the cut to the first of {ROW} acknowledged writes in a row"
    limits.at_most(late, OUTAGE_SECONDS, what, more=told)


def test_no_acknowledged_write_is_lost_by_a_power_cut(cut_of: CutOf, member: str) -> None:
    seen = cut_of(member)
    for kind, lost in seen.lost.items():
        promised = len(seen.writes[kind].acknowledged())
        assert not lost, f"{member} cut, {len(lost)} of {promised} acknowledged are gone: {lost[:5]}"


def test_the_machine_rejoins_after_a_power_cut(cut_of: CutOf, member: str) -> None:
    if error := cut_of(member).rejoined:
        raise error


def test_clients_in_the_cluster_are_not_sent_to_a_dead_master(cut_of: CutOf, master: str) -> None:
    if error := cut_of(master).undropped:
        raise error


def test_services_and_names_do_without_the_balancer(cut_of: CutOf, entrance: str) -> None:
    unserved = cut_of(entrance).unserved
    assert not unserved, f"while {entrance} was off: {'; '.join(unserved[:5])}"


def test_the_api_is_back_soon_after_the_balancers_boot(
    cut_of: CutOf, entrance: str, note: Note, lab_limits: Limits
) -> None:
    seen = cut_of(entrance)
    late = seen.api_back - seen.booted
    note("seconds_to_the_api", round(late, 2))
    assert late > 0, f"{entrance}: the API never answered through it"
    lab_limits.at_most(late, BACK_SECONDS, f"{entrance}: from its boot to an answer of the API through it")
