"""Tests that need a lab are for slow VMs too: no client's deadline is a number, no interface a name."""

import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import support_visits
import support_writes
import test_accidents as accidents
import test_coredns as coredns
import test_reboot as reboot
from fake_lab import FakeMachine
from fixed import guide_topology

from lab.cluster import Cluster
from lab.machine import Result
from lab.wait import stretch

TESTS = Path(__file__).parents[1]
# What programs are told, and what this host's own processes are given.
DEADLINES = (
    r"curl\b.* -(sS)?m ?\d",
    r'"-sSm\d',
    r"\+time=\d",
    r"\bmax-time = \d",
    r"-(command|dial|request)-timeout=\d",
    r"\btimeout \d+ ",
    r"\b(nc|ping)\b.* -w \d",
    r"seq 100\)",
    r"subprocess\.run\(.*timeout=(\d|timeout\b)",
    r"urlopen\(.*timeout=\d|\.open\(.*timeout=\d|create_connection\(.*timeout=(\d|[A-Z])",
)
# A pod's interface is called so everywhere; a VM's eth0 is the way in of whoever made it.
INTERFACE = r"\b(eth|ens|enp)\d"
OF_PODS = ("pod.net(", "{pod.name}")


def lines() -> Iterator[tuple[str, str]]:
    for folder in ("e2e", "failover"):
        for path in sorted((TESTS / folder).rglob("*.py")):
            for number, line in enumerate(path.read_text().splitlines(), 1):
                yield f"{path.relative_to(TESTS)}:{number}", line


def found(form: str) -> list[str]:
    return [f"{where}: {line.strip()}" for where, line in lines() if re.search(form, line)]


@pytest.mark.parametrize("form", DEADLINES)
def test_no_client_has_a_deadline_that_slow_machines_cannot_meet(form: str) -> None:
    assert not found(form), "support_deadlines.whole, or lab.wait.stretched, makes it as long as it must be"


def test_no_interface_of_a_machine_is_taken_for_known() -> None:
    named = [each for each in found(INTERFACE) if not any(word in each for word in OF_PODS)]
    assert not named, "support_interface.of asks the machine which one has its address"


@pytest.fixture
def slow() -> Iterator[None]:
    """As with emulated machines."""
    try:
        stretch(10.0)
        yield
    finally:
        stretch(1.0)


class Asked(FakeMachine):
    """It remembers the last command and says nothing."""

    argv: tuple[str, ...] = ()

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.argv = argv
        return Result(0)


@pytest.mark.usefixtures("slow")
def test_etcdctl_waits_longer_for_slow_members_and_a_test_may_say_how_long() -> None:
    plan, asked = guide_topology(), Asked(guide_topology().nodes[0])
    lab: Any = SimpleNamespace(topology=plan, of=lambda _: [asked])
    Cluster(lab).etcdctl("endpoint", "health", "--command-timeout=3s")
    assert {"--dial-timeout=20s", "--command-timeout=50s"} <= set(asked.argv)
    assert asked.argv[-1] == "--command-timeout=3s", "of two the last one counts"


@pytest.mark.usefixtures("slow")
def test_a_visitor_waits_longer_for_slow_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, Any] = {}

    def from_host(*_: str, stdin: bytes, timeout: float) -> Result:
        told.update(json.loads(stdin))
        return Result(0, b"[]")

    support_visits.stream(SimpleNamespace(from_host=from_host), [], Path("/tmp/x"), timeout=30)
    assert (told["patience"], told["seconds"]) == (50.0, 295.0)


@pytest.mark.usefixtures("slow")
def test_slow_machines_get_fewer_writes_and_never_too_few() -> None:
    assert [support_writes.paced(period) for period in (0.05, 0.2, 2.0)] == [0.5, 1.0, 2.0]
    stretch(1.0)
    assert support_writes.paced(0.1) == 0.1


def test_a_boot_is_known_by_its_kernel_and_by_its_init() -> None:
    """Init of a VM is started some ticks after each boot; a container's kernel is its host's."""
    asked = Asked(guide_topology().nodes[0])
    reboot.started(asked)
    assert "boot_id" in asked.argv[-1]
    assert "/proc/1/stat" in asked.argv[-1]


@pytest.mark.parametrize(
    ("word", "alike"), [("incus:private", True), ("incus-vm:private", False), ("vagrant:virtualbox", False)]
)
def test_accidents_of_the_labs_own_daemon_are_for_its_containers(word: str, alike: bool) -> None:
    assert (accidents.unlike(word) == "") is alike


def test_a_late_answer_of_dns_is_a_limit_that_slow_machines_are_not_judged_by() -> None:
    wanted = inspect.signature(coredns.test_names_are_answered_while_each_coredns_pod_is_replaced_in_turn)
    assert "lab_limits" in wanted.parameters
