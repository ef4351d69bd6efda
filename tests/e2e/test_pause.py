"""A machine that is paused stands still altogether, and goes on where it was."""

import time

import pytest
import support_clocks
from support_deadlines import whole
from support_pause import insist_stood_still, reading

from lab import health
from lab.cluster import Cluster
from lab.errors import ConfigError
from lab.machine import Machine
from lab.plugin import SESSION
from lab.providers.base import Capability
from lab.wait import shortened, stretched

pytestmark = [pytest.mark.e2e, pytest.mark.disruptive]
# The second is for slow machines, which need longer to say what their clock shows; for so much of `slowness`.
# No longer than that: leases of 15 s that somebody else takes meanwhile would end their holders.
PAUSED_SECONDS, SLOW_SECONDS = 1.0, 0.5
TICKS = "thwlab-ticks"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each machine of the plan."""
    if "name" in metafunc.fixturenames:
        try:
            planned = metafunc.config.stash[SESSION].topology.nodes
        except ConfigError:  # told by the plugin once all is collected
            planned = ()
        metafunc.parametrize("name", [node.name for node in planned])


def test_a_paused_machine_stands_still_and_goes_on_where_it_was(lab: Cluster, name: str) -> None:
    if Capability.PAUSE not in lab.lab.provider.capabilities:
        pytest.skip(f"provider {lab.lab.provider.name} cannot pause machines here")
    machine = lab.machines[name]
    units = [component.unit for component in health.planned(lab, machine) if component.unit]
    before = processes(machine, units)
    machine.check("sh", "-c", TICK, TICKS, whole(100))
    first = reading(machine)
    machine.pause()
    try:
        machine.pause()  # harmless
        began = time.monotonic()
        asked = machine.run("true", timeout=shortened(max(PAUSED_SECONDS, stretched(SLOW_SECONDS))))
        stood = time.monotonic() - began
    finally:
        machine.resume()
    machine.resume()  # harmless
    assert asked.timed_out, f"{name} ran a command while it was paused: {asked}"
    last = reading(machine)
    insist_stood_still(name, ticked(machine), first, last, stood)
    late = support_clocks.wrong(lab)
    assert not late, f"after the pause of {name}: {'; '.join(late)}"
    health.await_units(lab, machine)
    assert processes(machine, units) == before, f"{name}: units were restarted by a pause of {stood:.1f}s"
    health.await_etcd(lab)


def processes(machine: Machine, units: list[str]) -> dict[str, str]:
    """The main process of each unit."""
    pids = machine.check("systemctl", "show", "-P", "MainPID", *units).split()
    return dict(zip(units, pids, strict=True))


def ticked(machine: Machine) -> list[float]:
    """When the ticking process ran, by the machine's clock; it is ended."""
    return [float(each) for each in machine.check("sh", "-c", TELL, TICKS).split()]


TICK = """\
systemctl stop "$0" 2>/dev/null
rm -f "/run/$0"
loop="while :; do cut -d' ' -f1 /proc/uptime; sleep 0.05; done >/run/$0"
systemd-run --quiet --collect --unit="$0" bash -c "$loop"
for turn in $(seq "$1"); do test -s "/run/$0" && exit 0; sleep 0.05; done
journalctl -u "$0" -n 5 -o cat >&2; exit 1
"""
TELL = """\
sleep 0.2; systemctl stop "$0"; cat "/run/$0"; rm -f "/run/$0"
"""
