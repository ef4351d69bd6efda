"""Debts: written before the damage, found by whoever comes after us, paid once."""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Event, Thread
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from lab import debts as undo
from lab.errors import LabError
from lab.faults import healing, watchdog
from lab.faults.base import Fault, Script, rebuilt
from lab.faults.catalogue import FAULTS
from lab.faults.process import KillAndHold
from lab.faults.watchdog import watch
from lab.kubeapi import Refused
from lab.machine import Result
from lab.wait import NotYet, stretch


@dataclass
class Machine:
    """Writes down what it is asked."""

    name: str
    asked: list[tuple[str, ...]]

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        self.asked.append(argv)
        return Result(0)

    def check(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> str:
        self.asked.append(argv)
        return ""


class Cluster:
    def __init__(self) -> None:
        self.machines = {name: Machine(name, []) for name in ("a", "b")}


@dataclass(frozen=True)
class Spell(Fault):
    """A fault that is healed once `whole` is set."""

    word: ClassVar[str] = "spell"
    whole: ClassVar[bool] = True
    healed: ClassVar[int] = 0

    def undo(self) -> tuple[Script, ...]:
        return tuple(Script(name, "undo it") for name in self.machines)

    def inject(self, cluster: Any) -> None: ...

    def in_force(self, cluster: Any) -> str:
        return "it is"

    def heal(self, cluster: Any) -> None:
        type(self).healed += 1

    def check_healed(self, cluster: Any) -> None:
        if not self.whole:
            raise NotYet("2 packets are still dropped")


@pytest.fixture
def spell(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Spell]]:
    monkeypatch.setattr(healing, "FAULTS", {**FAULTS, "spell": Spell})
    Spell.healed, Spell.whole = 0, True
    yield Spell
    Spell.whole = True


def test_a_debt_is_on_disk_before_anything_is_done_and_says_all_that_is_needed(tmp_path: Path) -> None:
    fault = KillAndHold(("a", "b"), unit="etcd")
    debt = undo.owe(tmp_path, fault.record(), 60)
    found = undo.debts(tmp_path)
    assert [each.record for each in found] == [json.loads(json.dumps(fault.record()))]
    assert rebuilt(FAULTS, found[0].record) == fault
    assert not found[0].due_for()
    assert debt.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_debt_is_due_after_its_time_and_after_the_next_boot(tmp_path: Path) -> None:
    assert undo.owe(tmp_path, {"fault": "x", "machines": []}, 0).due_for()
    later = undo.owe(tmp_path, {"fault": "x", "machines": []}, 60)
    assert not later.due_for()
    assert undo.Debt(later.path, later.record, later.due, "another boot", "1 1").due_for()


def test_a_debt_is_due_sooner_once_it_is_done_and_never_later(tmp_path: Path) -> None:
    """Else who watches would wait for what doing it might have taken, beside the hold."""
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 75)
    assert undo.shorten(debt, 100).due == debt.due
    sooner = undo.shorten(debt, 15)
    assert sooner.due < debt.due - 55
    assert undo.debts(tmp_path) == [sooner]


def test_a_debt_that_was_paid_meanwhile_stays_paid(tmp_path: Path) -> None:
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 75)
    debt.pay()
    undo.shorten(debt, 15)
    assert undo.debts(tmp_path) == []


def test_healing_pays_and_stops_the_victims_timers(tmp_path: Path, spell: type[Spell]) -> None:
    cluster: Any = Cluster()
    fault = spell(("a",))
    debt = undo.owe(tmp_path, fault.record(), 60)
    healing.arm(cluster, fault, debt, 62)
    assert "--on-active=62s" in cluster.machines["a"].asked[0]
    assert cluster.machines["a"].asked[0][-1] == "undo it"
    healing.heal(cluster, debt)
    assert cluster.machines["a"].asked[-1] == ("systemctl", "stop", f"{debt.name}.timer")
    assert undo.debts(tmp_path) == []


def test_all_victims_are_armed_at_once(tmp_path: Path, spell: type[Spell]) -> None:
    """Else the first would heal itself as long before the last as it took to set the timers between."""
    cluster: Any = Cluster()
    together = Barrier(2)
    for machine in cluster.machines.values():
        machine.check = lambda *_, **__: together.wait(5)
    healing.arm(cluster, spell(("a", "b")), undo.owe(tmp_path, spell(("a", "b")).record(), 60), 62)
    assert not together.broken


def test_what_is_not_proven_healed_stays_owed_and_says_why(tmp_path: Path, spell: type[Spell]) -> None:
    spell.whole = False
    debt = undo.owe(tmp_path, spell(("a",)).record(), 60)
    cluster: Any = Cluster()
    with pytest.raises(healing.Unhealed, match=r"spell on a is not healed.*2 packets are still dropped"):
        healing.heal(cluster, debt, within=0.1)
    assert len(undo.debts(tmp_path)) == 1


def test_what_is_not_healed_has_the_remedy_of_its_fault(
    tmp_path: Path, spell: type[Spell], monkeypatch: pytest.MonkeyPatch
) -> None:
    spell.whole = False
    monkeypatch.setattr(spell, "remedy", lambda self, cluster: "say it backwards")
    debt = undo.owe(tmp_path, spell(("a",)).record(), 60)
    cluster: Any = Cluster()
    with pytest.raises(healing.Unhealed, match="say it backwards"):
        healing.heal(cluster, debt, within=0.1)


def test_all_are_tried_and_the_rest_is_healed_though_one_fails(tmp_path: Path, spell: type[Spell]) -> None:
    undo.owe(tmp_path, spell(("a",)).record(), 60)
    undo.owe(tmp_path, {"fault": "of-a-later-version", "machines": ["b"]}, 60)
    cluster: Any = Cluster()
    with pytest.raises(ExceptionGroup) as caught:
        healing.heal_all(cluster, tmp_path)
    assert "this version does not know" in str(caught.value.exceptions[0])
    assert [debt.record["fault"] for debt in undo.debts(tmp_path)] == ["of-a-later-version"]


def test_only_what_is_due_is_healed_unless_all_is_asked_for(tmp_path: Path, spell: type[Spell]) -> None:
    undo.owe(tmp_path, spell(("a",)).record(), 0)
    undo.owe(tmp_path, spell(("b",)).record(), 60)
    cluster: Any = Cluster()
    assert healing.heal_due(cluster, tmp_path) == ["spell on a"]
    assert healing.heal_all(cluster, tmp_path) == ["spell on b"]
    assert healing.heal_all(cluster, tmp_path) == []


def test_the_watchdog_leaves_a_paid_debt_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.faults.watchdog.reopened", lambda _: pytest.fail("nothing is owed"))
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 0)
    debt.pay()
    began = time.monotonic()
    watch("lab", debt.path, dead=30)
    assert time.monotonic() - began < 5


def test_the_watchdog_heals_what_nobody_paid_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healed: list[Path] = []

    class Lab:
        def close(self) -> None: ...

    monkeypatch.setattr("lab.faults.watchdog.reopened", lambda _: Lab())
    monkeypatch.setattr("lab.faults.watchdog.heal_file", lambda _, path: healed.append(path))
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 0.2)
    watch("lab", debt.path, dead=30, alive=0.2)
    assert healed == [debt.path]
    assert time.monotonic() >= debt.due + 0.2


def test_the_watchdog_ends_amid_healing_once_the_lab_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One went on for minutes after `down --force`, and booted the machines of the next lab of that name."""
    begun, never = Event(), Event()

    def heal(*_: object) -> None:
        begun.set()
        never.wait(60)

    monkeypatch.setattr("lab.faults.watchdog.reopened", lambda _: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr("lab.faults.watchdog.heal_file", heal)
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 0)
    log = debt.path.with_suffix(".log")
    log.write_text("")
    watching = Thread(target=watch, args=("lab", debt.path, 0, 0))
    watching.start()
    assert begun.wait(10)
    undo.forgive(tmp_path)
    watching.join(10)
    never.set()
    assert not watching.is_alive()
    assert not log.exists()


def test_nobody_heals_on_once_the_lab_is_gone(tmp_path: Path, spell: type[Spell]) -> None:
    """Its machines cannot be asked any more, which would be tried until the deadline."""
    debt = undo.owe(tmp_path, spell(("a",)).record(), 60)

    def heal(_: Any, cluster: Any) -> None:
        undo.forgive(tmp_path)
        raise LabError("a is gone")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spell, "heal", heal)
        cluster: Any = Cluster()
        began = time.monotonic()
        healing.heal(cluster, debt)
    assert time.monotonic() - began < 10
    assert cluster.machines["a"].asked == []


def test_the_watchdog_waits_for_nobody_who_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    healed: list[Path] = []
    monkeypatch.setattr("lab.faults.watchdog.reopened", lambda _: SimpleNamespace(close=lambda: None))
    monkeypatch.setattr("lab.faults.watchdog.heal_file", lambda _, path: healed.append(path))
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 0)
    assert debt.owner_lives()
    told = json.loads(debt.path.read_text())
    debt.path.write_text(json.dumps({**told, "owner": f"{os.getpid()} 1"}))  # another's number, used again
    began = time.monotonic()
    watch("lab", debt.path, dead=0.1, alive=60)
    assert healed == [debt.path]
    assert time.monotonic() - began < 5


def refusals() -> list[BaseException]:
    return [
        BaseExceptionGroup("two victims", [LabError("a is off"), LabError("b is off")]),
        Refused("PATCH /x", 500, "etcdserver: leader changed"),
        LabError("a is off"),
    ]


@pytest.mark.parametrize("why", refusals(), ids=["both", "api", "one"])
def test_whatever_keeps_a_fault_from_being_healed_it_is_tried_again_and_the_others_are_not_left(
    tmp_path: Path, spell: type[Spell], monkeypatch: pytest.MonkeyPatch, why: BaseException
) -> None:
    tried: list[tuple[str, ...]] = []

    def heal(fault: Spell, _: Any) -> None:
        tried.append(fault.machines)
        if tried.count(("b",)) < 2:
            raise why

    monkeypatch.setattr(spell, "heal", heal)
    for name in ("a", "b"):
        undo.owe(tmp_path, spell((name,)).record(), 60)
    assert healing.heal_all(Cluster(), tmp_path) == ["spell on b", "spell on a"]  # type: ignore[arg-type]
    assert tried == [("b",), ("b",), ("a",)]


@pytest.mark.parametrize("why", refusals(), ids=["both", "api", "one"])
def test_a_proof_that_fails_once_is_asked_for_again(
    tmp_path: Path, spell: type[Spell], monkeypatch: pytest.MonkeyPatch, why: BaseException
) -> None:
    """What was just started anew answers with an error before it serves; that ended its healing."""
    asked: list[str] = []

    def check(*_: Any) -> None:
        asked.append("whole?")
        if asked.count("whole?") < 2:
            raise why

    monkeypatch.setattr(spell, "check_healed", check)
    debt = undo.owe(tmp_path, spell(("a",)).record(), 60)
    cluster: Any = Cluster()
    healing.heal(cluster, debt, undone=lambda: asked.append("undone"))
    assert asked == ["undone", "whole?", "whole?"]
    assert undo.debts(tmp_path) == []


def test_an_owner_on_slow_machines_is_given_as_much_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two would heal at once, and one remove the member that the other has just added."""
    begun: list[list[str]] = []
    monkeypatch.setattr(watchdog.subprocess, "Popen", lambda argv, **_: begun.append(argv))
    debt = undo.owe(tmp_path, {"fault": "x", "machines": []}, 60)
    stretch(10.0)
    try:
        watchdog.guard("lab", debt)
    finally:
        stretch(1.0)
    assert float(begun[0][-1]) == 10 * watchdog.ALIVE


def test_one_that_is_never_healed_leaves_the_others_no_worse(
    tmp_path: Path, spell: type[Spell], monkeypatch: pytest.MonkeyPatch
) -> None:
    def heal(fault: Spell, _: Any) -> None:
        if fault.machines == ("b",):
            raise Refused("PATCH /x", 500, "no")

    monkeypatch.setattr(spell, "heal", heal)
    for name in ("a", "b"):
        undo.owe(tmp_path, spell((name,)).record(), 60)
    with pytest.raises(ExceptionGroup, match="not everything is healed"):
        healing.heal_all(Cluster(), tmp_path, within=0.1)  # type: ignore[arg-type]
    assert [debt.record["machines"] for debt in undo.debts(tmp_path)] == [["b"]]
