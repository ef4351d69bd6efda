"""VMs that are twins, or hours away from this host's time, are named before anything rests on them."""

import subprocess
import time
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest
from fake_lab import FakeMachine

from lab import acts
from lab.errors import LabError
from lab.furnishing.identity import QUESTIONS, Identity, ask, insist_sound, skewed, twins
from lab.machine import Result
from lab.plan import load_topology
from lab.providers.base import Capability
from lab.topology import Node

OWN = frozenset({Capability.OWN_CLOCK})


class Vm(FakeMachine):
    """Its marks, and a clock that is ahead by so many seconds."""

    def __init__(self, name: str, ahead: float = 0.0, **marks: str) -> None:
        super().__init__(Node(name, IPv4Address("192.168.100.11"), frozenset()))
        self.ahead, self.marks, self.asked = ahead, marks, 0

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.asked += 1
        lines = [f"{kind.replace('_', '-')}={mark}" for kind, mark in self.marks.items()]
        return Result(0, "\n".join([*lines, f"clock={time.time() + self.ahead:.9f}", ""]).encode())


def vms(*ahead: float) -> list[Vm]:
    return [Vm(f"vm{n}", each, machine_id=str(n), mac=f"52:54:00:00:00:{n}") for n, each in enumerate(ahead)]


def test_machines_that_are_themselves_and_in_time_are_taken() -> None:
    insist_sound(vms(0.0, 1.5, -30.0))


@pytest.mark.parametrize(("ahead", "word"), [(-7200.0, "behind"), (300.0, "ahead of")])
def test_a_clock_that_is_far_away_is_named_with_how_far_and_the_command(ahead: float, word: str) -> None:
    with pytest.raises(LabError) as said:
        insist_sound(vms(0.0, ahead))
    told = str(said.value)
    assert f"vm1 is {abs(ahead):.1f} s {word} this host's clock (measured to 0.0 s)" in told
    assert "vm0" not in told
    assert told.endswith("remedy: thwlab exec vm1 -- date -u -s @$(date +%s); thwlab up")


def test_what_cannot_be_measured_as_exactly_is_no_fault_of_the_clock() -> None:
    assert not skewed({"vm": Identity({}, -65.0, 10.0)})
    assert skewed({"vm": Identity({}, -75.0, 10.0)})


@pytest.mark.parametrize("kind", ["machine-id", "product-uuid", "ssh_host_ed25519_key", "mac"])
def test_twins_are_named_with_what_they_share(kind: str) -> None:
    seen = {name: Identity({kind: mark}, 0.0, 0.0) for name, mark in {"a": "1", "b": "2", "c": "1"}.items()}
    assert twins(seen) == [f"a and c share {kind} 1"]


def test_what_containers_share_by_nature_makes_no_twins() -> None:
    seen = {name: Identity({"product-uuid": "host", "mac": name}, 0.0, 0.0) for name in "ab"}
    assert not twins(seen, ("product-uuid",))
    assert twins(seen)


def test_twins_end_the_bring_up_with_the_cure() -> None:
    with pytest.raises(LabError, match=r"vm0 and vm1 share machine-id 7(.|\n)*THWLAB_BOX"):
        insist_sound([Vm("vm0", machine_id="7"), Vm("vm1", machine_id="7")])


def test_the_questions_are_understood_by_a_shell() -> None:
    """By this host's: a clock at least, whatever else it tells of itself."""

    class Here(Vm):
        def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
            assert argv[2] == QUESTIONS
            done = subprocess.run(argv, capture_output=True, timeout=30, check=False)
            return Result(done.returncode, done.stdout, done.stderr)

    assert abs(ask(Here("here")).ahead) < 10


def lab_of(capabilities: frozenset[Capability], machines: list[Vm]) -> Any:
    states = dict.fromkeys([each.name for each in machines], "running")
    provider = SimpleNamespace(is_furnished=True, capabilities=capabilities, states=lambda: states)
    there = {each.name: each for each in machines}
    return SimpleNamespace(provider=provider, topology=load_topology(), machines=there, tell=lambda *_: None)


def test_vms_are_asked_once_each_before_anything_is_built_on_them() -> None:
    machines = vms(0.0, -7200.0)
    with pytest.raises(LabError, match="vm1 is 7200"):
        acts.bring_programs("programs", lab_of(OWN, machines))
    assert [each.asked for each in machines] == [1, 1]


def test_containers_are_not_asked() -> None:
    """Each command on a machine costs a tenth of a second, and a second `up` has three."""
    machines = vms(0.0, -7200.0)
    assert acts.bring_programs("programs", lab_of(frozenset(), machines)) == []
    assert [each.asked for each in machines] == [0, 0]
