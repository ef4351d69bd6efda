"""A lab on which something is broken on purpose: who is told, who is refused, and who never is."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_lab
import pytest
from click.testing import CliRunner, Result

from lab import opening
from lab.cli.app import cli
from lab.cli.session import Session
from lab.cli.status import examine, render
from lab.cluster import Cluster
from lab.debts import Damaged, Debt, Quarantined, debts, insist_none, owe
from lab.errors import LabError, flat
from lab.faults import healing
from lab.laboratory import Laboratory
from lab.opening import open_lab, remove_lab, state_of
from lab.plan import load_topology
from lab.session import LabSession
from lab.settings import resolve

STOP = {"fault": "stop", "machines": ["k8s-master1"]}


class Provider(fake_lab.FakeProvider):
    """Remembers snapshots, and has one to go back to."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []

    def snapshot(self, name: str) -> None:
        self.done.append(f"snapshot {name}")

    def restore(self, name: str) -> None:
        self.done.append(f"restore {name}")

    def destroy(self) -> None:
        self.done.append("destroy")


@pytest.fixture(autouse=True)
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Provider:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CI", raising=False)
    made = Provider()
    monkeypatch.setattr(opening, "provider_of", lambda *_: made)
    return made


@pytest.fixture
def lab() -> Laboratory:
    return open_lab(load_topology(), "auto", lambda _: None)


def broken(lab: Laboratory, owner: str = "") -> Debt:
    debt = owe(lab.state.path, STOP, 60)
    if owner:
        debt.path.write_text(debt.path.read_text().replace(debt.owner, owner))
    return debt


def thwlab(*args: str) -> Result:
    return CliRunner().invoke(cli, ["--name", "thw", *args])


def test_nothing_is_said_of_a_lab_that_owes_nothing_or_is_not_there(lab: Laboratory) -> None:
    insist_none(lab.state)
    insist_none(state_of("nowhere"))


def test_a_bring_up_is_refused_and_says_what_since_when_by_whom_and_the_way_out(lab: Laboratory) -> None:
    broken(lab, owner="1 0")
    with pytest.raises(Quarantined) as refused:
        open_lab(lab.topology, "auto", lambda _: None)
    told = str(refused.value)
    assert "lab thw is quarantined" in told
    assert "stop on k8s-master1 since " in told
    assert "(0 s ago), by process 1, which is gone" in told
    assert "thwlab heal --all" in refused.value.remedy


def test_a_run_at_work_is_told_from_one_that_is_gone(lab: Laboratory) -> None:
    assert "which is at work" in broken(lab).story


def test_a_debt_of_an_earlier_boot_has_no_time_of_day(lab: Laboratory) -> None:
    debt = broken(lab)
    old = Debt(debt.path, debt.record, debt.due, "another boot", debt.owner)
    assert "since before this host's last boot" in old.story


def test_a_lab_is_removed_whatever_it_owes(lab: Laboratory, provider: Provider) -> None:
    broken(lab)
    assert remove_lab("thw")
    assert provider.done == ["destroy"]
    assert debts(lab.state.path) == []


def test_once_it_is_healed_it_is_brought_up_again(lab: Laboratory) -> None:
    broken(lab).pay()
    assert open_lab(lab.topology, "auto", lambda _: None)


# -- a file that tells nothing any more -------------------------------------------------------------------

CUT = ['{"record": {"fau', "", "[]", "null", '{"record": {}}', "\udcff"]


def damaged(lab: Laboratory, text: str = CUT[0]) -> Path:
    path = owe(lab.state.path, STOP, 60).path
    path.write_text(text, errors="surrogateescape")
    return path


@pytest.mark.parametrize("text", CUT)
def test_a_damaged_file_is_named_with_what_is_wrong_and_the_way_out(lab: Laboratory, text: str) -> None:
    path = damaged(lab, text)
    with pytest.raises(Damaged) as raised:
        debts(lab.state.path)
    assert str(path) in str(raised.value)
    assert "cannot be read: " in str(raised.value)
    assert raised.value.remedy.startswith("thwlab --name thw down, then thwlab --name thw up; ")
    assert f"rm {path}" in raised.value.remedy
    assert path.exists()


@pytest.mark.parametrize("wrong", [{"owner": "nobody"}, {"due": "soon"}, {"record": {"fault": "stop"}}])
def test_one_that_lacks_a_part_is_damaged_too(lab: Laboratory, wrong: dict[str, Any]) -> None:
    path = owe(lab.state.path, STOP, 60).path
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}))
    with pytest.raises(Damaged):
        debts(lab.state.path)


def test_one_whose_name_has_no_time_is_damaged_too(lab: Laboratory) -> None:
    path = broken(lab).path
    path.rename(path.with_name("copy.json"))
    with pytest.raises(Damaged, match=r"copy\.json"):
        debts(lab.state.path)


def test_nothing_is_brought_up_beside_a_damaged_file_and_the_others_are_told(lab: Laboratory) -> None:
    path = damaged(lab)
    broken(lab)
    with pytest.raises(Quarantined) as refused:
        open_lab(lab.topology, "auto", lambda _: None)
    assert str(path) in str(refused.value)
    assert "stop on k8s-master1 since " in str(refused.value)


def test_what_can_be_healed_is_and_then_the_damaged_file_is_told(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damaged(lab)
    broken(lab)
    monkeypatch.setattr(healing, "heal", lambda _cluster, debt, within: debt.pay())
    for heal in (healing.heal_due, healing.heal_all):
        with pytest.raises(BaseExceptionGroup) as raised:
            heal(Cluster(lab), lab.state.path)
        assert str(path) in flat(raised.value)
    assert list(path.parent.glob("*.json")) == [path]


def test_status_names_a_damaged_file_and_is_not_well(
    lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provider, "states", lambda _: dict.fromkeys(["k8s-master1"], "running"))
    path = damaged(lab)
    seen = examine(lab)
    assert not seen.healthy
    (line,) = [row for row in render(seen) if "quarantined" in row]
    assert str(path) in line
    assert "heal --all" not in line


def test_a_lab_with_a_damaged_file_is_removed(lab: Laboratory, provider: Provider) -> None:
    damaged(lab)
    assert remove_lab("thw")
    assert provider.done == ["destroy"]


# -- the command -----------------------------------------------------------------------------------------


@pytest.fixture
def attached(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    monkeypatch.setattr(Session, "attached", lambda _: lab)
    return lab


def test_no_snapshot_is_taken_of_damage(attached: Laboratory, provider: Provider) -> None:
    broken(attached)
    told = thwlab("snapshot", "fresh")
    assert told.exit_code == 3
    assert "is quarantined" in told.output
    assert "heal --all" in told.output
    assert provider.done == []


def test_a_restore_is_a_way_out_and_says_what_remains_to_be_done(
    attached: Laboratory, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken(attached)
    monkeypatch.setattr("lab.cli.lifecycle.insist_restorable", lambda *_: None)
    told = thwlab("restore", "fresh")
    assert told.exit_code == 0, told.output
    assert provider.done == ["restore fresh"]
    assert (
        "thwlab --name thw heal --all` makes sure that nothing is left of stop on k8s-master1" in told.output
    )


def test_status_says_it_and_is_not_well(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Provider, "states", lambda _: dict.fromkeys(["k8s-master1"], "running"))
    sound = examine(lab)
    broken(lab)
    seen = examine(lab)
    assert (sound.healthy, seen.healthy) == (True, False)
    (line,) = [row for row in render(seen, " --name x") if "quarantined" in row]
    assert line.startswith("quarantined: stop on k8s-master1 since ")
    assert "`thwlab --name x heal --all` undoes it" in line
    assert not [row for row in render(sound) if "quarantined" in row]


# -- pytest ----------------------------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LabSession:
    monkeypatch.setenv("FAKE_EVENTS", str(tmp_path / "events"))
    fake_lab.install(monkeypatch.setattr)
    return LabSession(resolve({"run": "r1"}, {}, {}), tmp_path, lambda _: None)


def test_a_quarantine_is_no_answer_for_ever(session: LabSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenarios, which come last, heal the lab; another failure to open it is the answer to all questions."""
    tried: list[Exception] = [Quarantined("stop on k8s-master1"), LabError("no room")]
    real: Callable[..., Any] = fake_lab.open_lab

    def refusing(*args: Any, **more: Any) -> Laboratory:
        if tried:
            raise tried.pop(0)
        return real(*args, **more)

    monkeypatch.setattr("lab.session.open_lab", refusing)
    with pytest.raises(Quarantined):
        session.require("etcd")
    for _ in range(2):
        with pytest.raises(LabError, match="no room"):
            session.require("etcd")


TESTS = """
import pytest
from lab.debts import owe
def test_first(lab_etcd):
    owe(lab_etcd.lab.state.path, {"fault": "stop", "machines": ["k8s-master1"]}, 60)
def test_later(lab_etcd):
    pass
def test_without():
    pass
@pytest.mark.failover
def test_scenario(lab_etcd):
    pass
"""


def test_what_breaks_while_a_run_goes_on_ends_all_its_tests_but_those_that_heal(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_EVENTS", str(pytester.path / "events"))
    fake_lab.install(monkeypatch.setattr)
    pytester.makepyfile(test_it=TESTS)
    lean = ("-p", "no:hypothesispytest", "-p", "no:cov", "-p", "no:randomly")
    result = pytester.runpytest_inprocess(*lean, "-rA")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*lab thw is quarantined*", "*stop on k8s-master1 since*", "*heal --all*"])
