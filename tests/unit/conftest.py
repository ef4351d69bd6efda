"""Fixtures that several files of unit tests share; each file asks for them by name."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_lab import never

from lab import automatic, leftovers
from lab.automatic import Here
from lab.cli import lifecycle


@pytest.fixture
def no_real_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """State and cache of the test's own, no way to make or to remove a lab, no sight of others."""
    monkeypatch.setenv("THWLAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("THWLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lifecycle, "remove_lab", never)
    monkeypatch.setattr(lifecycle, "open_lab", never)
    monkeypatch.setattr(leftovers, "remove_lab", never)
    monkeypatch.setattr(leftovers, "NETWORKS", tmp_path / "netns")
    monkeypatch.setattr(leftovers, "PROCESSES", tmp_path / "proc")
    monkeypatch.setattr(leftovers, "cgroup_mounts", dict)


@pytest.fixture(autouse=True)
def the_environment_stays() -> Iterator[None]:
    """A test that leaves a variable to the next one in its process is red itself, and no other for it."""
    before = _environment()
    yield
    left = {name for name, _ in before.items() ^ _environment().items()}
    os.environ.update(before)
    for name in left - before.keys():
        del os.environ[name]
    assert left == set(), f"this test changed {', '.join(sorted(left))} for all that come after it"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


@pytest.fixture(autouse=True)
def containers_by_themselves(the_environment_stays: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Who names no provider means containers, whatever hypervisor this host has; none is started."""
    monkeypatch.setattr(automatic, "look", lambda: Here("Linux", True, True, "", {}))
    automatic.chosen.cache_clear()
    yield
    automatic.chosen.cache_clear()
