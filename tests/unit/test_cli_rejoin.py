"""rejoin at the command line: whom it refuses, and what it says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_lab
import pytest
from click.testing import CliRunner, Result

from lab import opening
from lab.cli import healing
from lab.cli.app import cli
from lab.cli.session import Session
from lab.debts import owe
from lab.laboratory import Laboratory
from lab.opening import open_lab
from lab.plan import load_topology
from lab.wait import NotYet


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Laboratory:
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FAKE_EVENTS", str(tmp_path / "events"))
    monkeypatch.delenv("CI", raising=False)
    provider = fake_lab.FakeProvider()
    monkeypatch.setattr(opening, "provider_of", lambda *_: provider)
    return open_lab(load_topology(), "auto", lambda _: None)


@pytest.fixture
def running(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every machine that is asked for runs."""
    monkeypatch.setattr(Session, "machine", lambda _, name: (lab, SimpleNamespace(name=name)))


def thwlab(*args: str) -> Result:
    return CliRunner().invoke(cli, ["--name", "thw", *args])


@pytest.mark.parametrize(
    ("done", "said"),
    [(True, "a new member of etcd serves"), (False, "its member serves; nothing was done")],
)
def test_what_was_done_is_said(running: None, monkeypatch: pytest.MonkeyPatch, done: bool, said: str) -> None:
    asked: list[str] = []
    monkeypatch.setattr(healing, "rejoin_lost", lambda _, machine: asked.append(machine.name) or done)
    result = thwlab("rejoin", "k8s-lb")
    assert (result.exit_code, asked) == (0, ["k8s-lb"]), result.output
    assert f"k8s-lb: {said}" in result.output


def test_an_order_that_no_member_takes_is_an_error_and_no_traceback(
    running: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise NotYet("etcdctl member list: k8s-master1: not to be asked")

    monkeypatch.setattr(healing, "rejoin_lost", refuse)
    result = thwlab("rejoin", "k8s-lb")
    assert result.exit_code not in (0, 2)
    assert "k8s-lb: etcdctl member list: k8s-master1: not to be asked" in result.stderr
    assert "remedy: thwlab" in result.stderr


def test_a_machine_that_the_plan_lacks_is_the_users_mistake(lab: Laboratory) -> None:
    result = thwlab("rejoin", "k8s-lp")
    assert result.exit_code == 2
    assert "Did you mean 'k8s-lb'?" in result.stderr


def test_in_quarantine_nothing_is_given_anew(lab: Laboratory) -> None:
    """Whoever broke the member on purpose heals it, and must find it as he left it."""
    owe(lab.state.path, {"fault": "member-wiped", "machines": ["k8s-lb"]}, 60)
    result = thwlab("rejoin", "k8s-lb")
    assert result.exit_code not in (0, 2)
    assert "is quarantined" in result.stderr
