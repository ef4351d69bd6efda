"""Seeded defects of the load balancer: one apiserver left out, a reload that is a stop."""

import time
from collections.abc import Callable

import pytest
from support_dropin import FOLDER, drop_in, idle, insist_green
from support_host import thwlab, tried

from lab.cluster import Cluster
from lab.components.balancer import LayerFourBalancer
from lab.machine import File, Machine
from lab.topology import Balancer, Role
from lab.wait import stretched

pytestmark = pytest.mark.defects
UNIT = "nginx.service"


@pytest.fixture
def balancer(lab: Cluster) -> Machine:
    if lab.topology.balancer is None or lab.topology.load_balancer is not Balancer.NGINX:
        pytest.skip("the plan has no nginx")
    return lab.of(Role.LOAD_BALANCER)[0]


def test_an_apiserver_that_is_left_out(
    lab: Cluster, balancer: Machine, turns_red: Callable[..., None]
) -> None:
    left_out = lab.topology.of(Role.CONTROL_PLANE)[-1]
    server = f"server {left_out.address}:{lab.topology.networks.api_port}"
    config = balancer.check("cat", "/etc/nginx/nginx.conf")
    assert server in config, config
    without = File(f"{FOLDER}/nginx.conf", config.replace(server, f"{server} down").encode())
    start = ("ExecStart=", f"ExecStart=/usr/sbin/nginx -c {without.path} -g 'daemon off;'")
    fair = "test_load_balancer.py::test_every_apiserver_receives_a_fair_share_of_fresh_connections"
    with drop_in(balancer, UNIT, *start, files=[without]):
        turns_red(fair, left_out.name, "too few")
    insist_green(lab, fair)


def test_a_reload_that_is_a_stop(lab: Cluster, balancer: Machine, turns_red: Callable[..., None]) -> None:
    reload = "test_load_balancer.py::test_a_reload_loses_no_connection"
    with drop_in(balancer, UNIT, "ExecReload=", "ExecReload=/bin/kill -TERM $MAINPID"):
        turns_red(reload, balancer.name, "lost")
    insist_green(lab, reload)


def test_one_that_never_starts_ends_bring_up_within_its_limit_on_any_machine(
    lab: Cluster, balancer: Machine, flags: list[str]
) -> None:
    """Slow machines are waited for longer, but not for ever."""
    limit, rest = LayerFourBalancer.patience, 60
    began = time.monotonic()
    with idle(balancer, UNIT):
        done = tried(*flags, "up", timeout=limit + rest)
        took = time.monotonic() - began
    said = done.stdout + done.stderr
    assert done.returncode == 1, said
    assert f"nginx on {balancer.name}" in said
    assert took < stretched(limit) + stretched(rest)
    thwlab(*flags, "up", timeout=limit + rest)
