"""Tests that need a lab are for slow VMs too: no client's deadline is a number, no interface a name."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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
