"""A VM's clock after a pause: this host's, also where the machine needs seconds to be told."""

from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import Any

import pytest

from lab.machine import Result
from lab.providers.vagrant import machine as module
from lab.providers.vagrant.connection import Unreachable
from lab.providers.vagrant.machine import VagrantMachine
from lab.topology import Node


class World:
    """This host's time, a guest that is behind it, and a way there and back that takes so many seconds."""

    def __init__(self, way: float) -> None:
        self.now, self.behind, self.way = 1_000_000.0, 7200.0, way
        self.commands = 0

    def execute(self, _: Any, argv: tuple[str, ...], **__: Any) -> Result:
        self.commands += 1
        self.now += self.way
        said = ""
        if argv[:3] == ("date", "-u", "-s"):
            self.behind = self.now - float(argv[3].removeprefix("@"))
        elif argv[:3] == ("date", "-u", "--set"):
            self.behind -= float(argv[3].removesuffix(" seconds"))
        elif argv == ("date", "+%s.%N"):
            said = f"{self.now - self.behind:.9f}\n"
        self.now += self.way
        return Result(0, said.encode())


@pytest.mark.parametrize(("way", "commands"), [(0.05, 1), (2.0, 3)], ids=["quick", "slow"])
def test_a_clock_is_right_however_long_it_took_to_be_set(
    monkeypatch: pytest.MonkeyPatch, way: float, commands: int
) -> None:
    """Emulated machines have no time synchronisation: what they are late by stays."""
    world = World(way)
    monkeypatch.setattr(module, "execute", world.execute)
    clock = SimpleNamespace(time=lambda: world.now, monotonic=lambda: world.now)
    monkeypatch.setattr(module, "time", clock)
    node, unused = Node("one", IPv4Address("192.168.7.11"), frozenset()), SimpleNamespace()
    VagrantMachine(node, "lab_one", unused, unused).set_clock()  # type: ignore[arg-type]
    assert abs(world.behind) < 0.1
    assert world.commands == commands


class Returning(World):
    """One whose network is back only at the third try; ``state`` is the hypervisor's word meanwhile."""

    def __init__(self, state: str) -> None:
        super().__init__(0.05)
        self.state_of = state

    def execute(self, _: Any, argv: tuple[str, ...], **words: Any) -> Result:
        if self.commands < 2:
            self.commands += 1
            raise Unreachable("No route to host", remedy="thwlab status")
        return super().execute(_, argv, **words)

    def state(self, _: str) -> str:
        return self.state_of


def test_one_whose_network_is_back_a_little_later_is_told_the_time_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """VMs that had lost their power, and went back to a snapshot of before."""
    world = Returning("running")
    monkeypatch.setattr(module, "execute", world.execute)
    node, unused = Node("one", IPv4Address("192.168.7.11"), frozenset()), SimpleNamespace()
    VagrantMachine(node, "lab_one", world, unused).set_clock()  # type: ignore[arg-type]
    assert world.commands == 3


def test_one_that_is_off_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Returning("stopped")
    monkeypatch.setattr(module, "execute", world.execute)
    node, unused = Node("one", IPv4Address("192.168.7.11"), frozenset()), SimpleNamespace()
    with pytest.raises(Unreachable, match="one is stopped"):
        VagrantMachine(node, "lab_one", world, unused).set_clock()  # type: ignore[arg-type]
    assert world.commands == 1
