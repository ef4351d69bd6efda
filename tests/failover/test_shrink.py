"""A weakness put in by hand, and six faults of which one meets it: what is left of them is that one."""

from collections.abc import Iterator

import pytest
from support_made import scenario

from lab.cluster import Cluster
from lab.components.base import await_ready
from lab.components.nginx import Nginx
from lab.failover.performing import perform
from lab.machine import File, Machine
from lab.scenario.between import Between
from lab.scenario.plan import Plan, plan_of
from lab.scenario.shrinking import Shrinker, shows
from lab.session import LabSession
from lab.topology import Balancer, Role

pytestmark = pytest.mark.failover

CONFIG = "/etc/nginx/nginx.conf"
GUILTY = "kill-and-hold"
TEXT = """\
name: one-of-six
about: Five faults that a cluster without its second upstream bears, and one that it does not.
phases: {steady: 10s, fault: 30s, recovery: 10s}
faults:
  - {fault: move-leader, on: etcd:leader, at: 1s}
  - {fault: kill, unit: kube-scheduler, on: k8s-master1, at: 3s}
  - {fault: reload, unit: load-balancer, on: load-balancer, at: 6s}
  - {fault: kill-and-hold, unit: kube-apiserver, on: k8s-master1, at: 9s, for: 8s}
  - {fault: defrag, on: k8s-lb, at: 20s}
  - {fault: kill, unit: kube-controller-manager, on: k8s-master2, at: 23s}
probes: [api]
invariants:
  - {invariant: longest-outage, of: api, at-most: 2s}
"""


@pytest.fixture
def one_upstream(lab: Cluster) -> Iterator[None]:
    """The balancer knows only the first master, as if somebody had forgotten the second."""
    if lab.topology.load_balancer is not Balancer.NGINX or len(lab.topology.of(Role.CONTROL_PLANE)) < 2:
        pytest.skip("another balancer has another file")
    machine = lab.of(Role.LOAD_BALANCER)[0]
    right = machine.check("cat", CONFIG)
    second = lab.topology.of(Role.CONTROL_PLANE)[1]
    wrong = "".join(line for line in right.splitlines(True) if f"server {second.address}" not in line)
    assert wrong != right, right
    try:
        _give(lab, machine, wrong)
        yield
    finally:
        _give(lab, machine, right)


def _give(lab: Cluster, machine: Machine, text: str) -> None:
    machine.apply([File(CONFIG, text.encode())])
    machine.check("systemctl", "reload", "nginx.service")
    await_ready(Nginx(lab.topology, lab.lab.provider.platform), machine)


@pytest.mark.usefixtures("one_upstream")
def test_six_faults_come_down_to_the_guilty_one(
    lab: Cluster, lab_session: LabSession, between: Between, seed: str
) -> None:
    """Confirmed three times, and with it the weakness is named: what is held is the first apiserver."""
    made = scenario(lab, TEXT)
    guilty = frozenset(each.title for each in made.judged if each.title.startswith("longest-outage"))
    assert guilty

    def breaks(tried: Plan) -> bool | None:
        folder = lab_session.folder / "scenarios" / f"{made.name}-{shrinker.runs:02}"
        judgement = perform(lab, made, tried, folder, lab_session.tell, proven=between.taken()).judgement
        between.after(destroyed=False)
        return shows(guilty, [judgement])

    shrinker = Shrinker(breaks)
    found = shrinker.shrunk(plan_of(made, seed))
    (left,) = found.plan.steps
    assert left.fault == GUILTY, found.plan
    assert found.is_sure, f"broken {found.confirmed} of {found.wanted} times more"
