"""Seeded defects: something is broken by hand in the running lab, and the right test must turn red.

Not part of `-m e2e`; run with `pytest -m defects` against a lab that is up.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.session import LabSession
from lab.wait import stretched

ROOT = Path(__file__).parents[3]
TurnsRed = Callable[..., None]


@pytest.fixture
def turns_red(lab: Cluster, lab_session: LabSession) -> TurnsRed:
    """`turns_red("test_etcd.py::test_x", "etcd-2")`: that test fails now, and its report names the part."""

    def insist(test: str, *words: str, timeout: float = 240) -> None:
        pytest_again = (sys.executable, "-m", "pytest", "-p", "no:randomly", "-q")
        argv = [*pytest_again, *lab_session.arguments(), f"tests/e2e/{test}"]
        done = subprocess.run(
            argv, cwd=ROOT, capture_output=True, text=True, timeout=stretched(timeout), check=False
        )
        said = done.stdout + done.stderr
        assert done.returncode == 1, f"{test} should have failed; pytest exited {done.returncode}:\n{said}"
        assert "failed" in done.stdout.splitlines()[-1], f"{test} ended in an error, not a failure:\n{said}"
        lacking = [word for word in words if word not in said]
        assert not lacking, f"{test} failed without naming {lacking}:\n{said}"

    return insist
