"""How slowly a VM computes is measured with what is there on both sides."""

import shutil
import subprocess
from ipaddress import IPv4Address

import pytest
from fake_lab import FakeMachine

from lab.machine import Result
from lab.providers.base import SLOW
from lab.providers.vagrant import speed
from lab.providers.vagrant.speed import Speed, calibrate
from lab.topology import Node
from lab.wait import MOST

UNKNOWN = Speed(MOST, 1.0)
NODE = Node("one", IPv4Address("192.168.7.11"), frozenset())


class Guest(FakeMachine):
    """It has only these programs, and they run here."""

    def __init__(self, *programs: str) -> None:
        super().__init__(NODE)
        self.programs = programs

    def run(self, *argv: str, stdin: bytes = b"", timeout: float = 60) -> Result:
        if argv[0] not in self.programs:
            return Result(127, err=b"not found")
        done = subprocess.run(argv, capture_output=True, timeout=timeout, check=False)
        return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(each, marks=pytest.mark.skipif(shutil.which(each) is None, reason=f"no {each}"))
        for each in ("python3", "perl")
    ],
)
def test_a_guest_is_measured_with_what_it_has(program: str) -> None:
    seen = calibrate(Guest(program))
    assert 0 < seen.guest < 60
    assert 0 < seen.host < 60


def test_python_is_asked_for_first() -> None:
    assert list(speed.WORKS) == ["python3", "perl"]


def test_a_guest_that_nothing_can_be_measured_on_is_not_judged_by_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that is emulated and counted as fast would be judged by limits it can never meet."""
    assert calibrate(Guest()).slowness == MOST >= SLOW
    assert "none of python3, perl is both on it and here" in caplog.text
    assert "time limits are not judged" in caplog.text


def test_perl_is_compared_with_perl(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of one language says nothing about another."""
    monkeypatch.setattr(speed.shutil, "which", lambda _: None)
    assert calibrate(Guest("perl")) == UNKNOWN
