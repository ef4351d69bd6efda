"""Every fault there is, by the word that a scenario file uses for it."""

from collections.abc import Mapping

from lab.faults import (
    certificates,
    clock,
    cpu,
    disk,
    etcd,
    leading,
    link,
    machine,
    members,
    network,
    pods,
    process,
    rights,
    shaping,
    space,
)
from lab.faults.base import Fault

FAMILIES: tuple[tuple[type[Fault], ...], ...] = (
    process.FAULTS,
    pods.FAULTS,
    machine.FAULTS,
    network.FAULTS,
    link.FAULTS,
    shaping.FAULTS,
    disk.FAULTS,
    cpu.FAULTS,
    clock.FAULTS,
    certificates.FAULTS,
    etcd.FAULTS,
    leading.FAULTS,
    members.FAULTS,
    space.FAULTS,
    rights.FAULTS,
)
FAULTS: Mapping[str, type[Fault]] = {each.word: each for family in FAMILIES for each in family}
