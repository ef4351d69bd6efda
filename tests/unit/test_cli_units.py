"""A misspelled unit, one that is not installed yet, and one that is there."""

from pathlib import Path

import click
import pytest
from fake_lab import FakeMachine
from fixed import guide_topology

from lab.cli.units import insist_there, no_unit
from lab.errors import LabError
from lab.machine import Result

OURS = ["etcd.service", "kube-apiserver.service"]
LISTED = b"""\
etcd.service             loaded    active   running Etcd Server
systemd-journald.service loaded    active   running Journal Service
journal-of-old.service   not-found inactive dead    journal-of-old.service
"""


class Systemd(FakeMachine):
    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        if argv[1] == "list-units":
            return Result(0, LISTED)
        there = f"{argv[-1].removesuffix('.service')}.service" in LISTED.decode().split()
        return Result(0, b"loaded\n" if there else b"not-found\n")


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return Systemd(guide_topology().node("k8s-master1"))


@pytest.mark.parametrize("unit", ["etcd", "etcd.service", "systemd-journald", "kube-*"])
def test_what_is_there_and_patterns_pass(machine: FakeMachine, unit: str) -> None:
    insist_there(machine, unit, OURS)


@pytest.mark.parametrize(
    ("unit", "meant"), [("etdc", "etcd"), ("etcdd.service", "etcd"), ("journald", "systemd-journald")]
)
def test_a_misspelled_unit_is_named_with_the_one_that_was_meant(
    machine: FakeMachine, unit: str, meant: str
) -> None:
    with pytest.raises(click.BadParameter, match=f"k8s-master1 has no unit '{unit}'. Did you mean '{meant}'"):
        insist_there(machine, unit, OURS)


def test_a_planned_unit_that_is_not_there_yet_is_no_mistake_of_spelling(machine: FakeMachine) -> None:
    with pytest.raises(LabError, match=r"planned there and not installed yet\n.*thwlab --name two up"):
        insist_there(machine, "kube-apiserver", OURS, " --name two")


def test_the_labs_own_units_are_listed_and_meant_first() -> None:
    said = no_unit("k8s-lb", "ngnix", ["etcd", "nginx"], ["nginxx"])
    assert "Did you mean 'nginx'" in said
    assert "The lab's are etcd, nginx" in said
    assert "Did you mean" not in no_unit("k8s-lb", "zzz", ["etcd"], [])
