"""Chapter "nginx": one address for every apiserver, in fair shares, and a reload that nobody notices."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support_deadlines import whole
from support_visits import Outcome, Visit, fingerprint, stream, visit

from lab.cluster import Cluster
from lab.machine import Machine
from lab.topology import Balancer, Role
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.e2e
PER_MASTER = 30
SILENCE = 4.0  # seconds; longer ones are for the failover runs
LEAST_SHARE = 2 / 3  # of an even share; others open connections meanwhile and shift the turns
CHECKS = {
    Balancer.NGINX: ("nginx", "-t"),
    Balancer.HAPROXY: ("haproxy", "-c", "-f", "/etc/haproxy/haproxy.cfg"),
}
SAYS = {
    Balancer.NGINX: "configuration file /etc/nginx/nginx.conf test is successful",
    Balancer.HAPROXY: "",
}


@pytest.fixture(scope="module")
def balancer(lab_load_balancer: Cluster) -> Machine:
    if lab_load_balancer.topology.balancer is None:
        pytest.skip("the plan has no load balancer")
    return lab_load_balancer.of(Role.LOAD_BALANCER)[0]


@pytest.fixture(scope="module")
def served(lab_control_plane: Cluster, balancer: Machine) -> Cluster:
    """The cluster with a balancer, and apiservers behind it."""
    return lab_control_plane


def question(cluster: Cluster) -> Visit:
    """What anybody may ask, with no credentials, through the balancer."""
    plan = cluster.topology
    ca = cluster.credentials.ca("kubernetes").decode()
    return Visit(str(plan.api_address), plan.networks.api_port, ca, "/readyz")


def masters_by_certificate(cluster: Cluster) -> dict[str, str]:
    """Each apiserver shows a certificate of its own; which master shows which."""
    masters = cluster.topology.of(Role.CONTROL_PLANE)
    return {fingerprint(cluster.credentials.pair("kubernetes", node).cert): node.name for node in masters}


def workers(machine: Machine, unit: str) -> set[str]:
    """The processes below the unit's main one."""
    return set(
        machine.check("sh", "-c", 'pgrep -P "$(systemctl show -p MainPID --value "$0")"', unit).split()
    )


def test_the_configuration_is_valid_by_the_programs_own_check(
    lab_load_balancer: Cluster, balancer: Machine
) -> None:
    which = lab_load_balancer.topology.load_balancer
    done = balancer.run(*CHECKS[which], timeout=20)
    said = done.stdout + done.stderr
    assert done.ok, f"{balancer.name}: {said}"
    assert SAYS[which] in said, f"{balancer.name}: {said}"


def test_every_apiserver_receives_a_fair_share_of_fresh_connections(served: Cluster) -> None:
    masters = masters_by_certificate(served)
    outcomes = visit(served, [question(served)] * (PER_MASTER * len(masters)))
    lost = [str(each) for each in outcomes if each.status != 200]
    assert not lost, f"{len(lost)} of {len(outcomes)} connections through the balancer failed, as {lost[0]}"
    shares = Counter(masters.get(each.server, f"unknown certificate {each.server}") for each in outcomes)
    assert shares.keys() <= set(masters.values()), f"somebody else answered: {dict(shares)}"
    least = LEAST_SHARE * PER_MASTER
    poor = {name: shares[name] for name in masters.values() if shares[name] < least}
    seen = f"{len(outcomes)} fresh connections went {dict(shares)}"
    assert not poor, f"{seen}; too few, below {least:.0f}: {poor}"


def test_a_reload_loses_no_connection(served: Cluster, balancer: Machine, tmp_path: Path) -> None:
    unit = f"{served.topology.load_balancer}.service"
    outcomes, begun, ended = _reloaded_under_a_stream(served, balancer, unit, tmp_path)
    lost = [f"{each.begun - begun:+.3f} s: {each}" for each in outcomes if each.status != 200]
    assert not lost, (
        f"{balancer.name}: reloading {unit} lost {len(lost)} of {len(outcomes)} fresh connections; "
        f"the first at {lost[0]}"
    )
    assert outcomes[0].ended < begun, "the stream began after the reload, so it proves nothing"
    assert outcomes[-1].begun > ended, "the stream ended before the reload was over, so it proves nothing"


def _reloaded_under_a_stream(
    cluster: Cluster, balancer: Machine, unit: str, folder: Path
) -> tuple[list[Outcome], float, float]:
    """What the stream saw; when the reload began, and when other workers had taken over."""
    before = workers(balancer, unit)

    def flows() -> None:
        if not (folder / "started").exists() and not seen.done():
            raise NotYet("no connection yet")

    def taken_over() -> None:
        if not workers(balancer, unit) - before:
            raise NotYet(f"{balancer.name}: {unit} still has its old workers {sorted(before)} only")

    with ThreadPoolExecutor(1) as pool:
        seen = pool.submit(stream, cluster, [question(cluster)], folder)
        try:
            wait_until("the stream of connections to flow", flows, timeout=15, every=0.02)
            begun = time.monotonic()
            balancer.check("systemctl", "reload", unit, timeout=20)
            wait_until(f"{unit} to be reloaded", taken_over, timeout=10)
            ended = time.monotonic()
        finally:
            (folder / "stop").touch()
        return seen.result(), begun, ended


def test_a_connection_on_which_nobody_speaks_is_not_cut(served: Cluster) -> None:
    """Watches, exec and `logs -f` are silent for long; a time limit of seconds would end them."""
    balancer = served.topology.balancer
    assert balancer is not None
    where = (str(balancer.address), str(served.topology.networks.api_port))
    done = served.from_host("python3", "-c", _SILENT, *where, str(SILENCE), whole(10), timeout=SILENCE + 15)
    said = (done.stdout + done.stderr).strip()
    assert said == "200", f"{balancer.name}: {SILENCE} s of silence through it ended in {said or 'nothing'}"


_SILENT = """\
import socket, ssl, sys
context = ssl._create_unverified_context()
with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[4])) as plain:
    with context.wrap_socket(plain) as connection:
        connection.settimeout(float(sys.argv[3]))
        try:
            if not connection.recv(1):
                sys.exit("a connection that was cut")
        except TimeoutError:
            pass
        connection.settimeout(float(sys.argv[4]))
        connection.sendall(b"GET /livez HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        print(connection.recv(12).decode().split()[1])
"""
