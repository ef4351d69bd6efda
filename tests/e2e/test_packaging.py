"""The package as a user gets it: a wheel in an empty environment elsewhere, and ten lines of their own."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from lab.cluster import Cluster
from lab.session import LabSession
from lab.wait import stretched

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
WHEELS = Path(sys.prefix) / "wheels"
USERS_TEST = """
def test_my_cluster_answers(lab):
    nodes = lab.kubectl_json("get", "nodes")["items"]
    assert {node["metadata"]["name"] for node in nodes} == {"%s"}
    assert lab.host("%s").service("etcd").is_running
"""


def run(*argv: str | Path, cwd: Path, timeout: float = 180) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "LAB_RUN", "VIRTUAL_ENV")}
    done = subprocess.run(
        argv, cwd=cwd, capture_output=True, text=True, timeout=stretched(timeout), check=False, env=env
    )
    assert done.returncode == 0, f"{argv} exited {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from the checkout without network."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--wheel-dir", folder, ROOT, cwd=folder)
    return next(folder.glob("thwlab-*.whl"))


def test_everything_that_is_no_python_is_in_the_wheel(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "-c", f"safe.directory={ROOT}", "ls-files", "lab", cwd=ROOT).splitlines()
    assert tracked, "git lists no files"
    assert [name for name in tracked if name not in inside] == []


def test_a_users_test_passes_in_an_environment_of_its_own(
    lab: Cluster, lab_session: LabSession, wheel: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "a user's folder"
    elsewhere.mkdir()
    venv.create(elsewhere / "venv")
    python = elsewhere / "venv" / "bin" / "python"
    offline = ("--no-index", f"--find-links={WHEELS}") if WHEELS.is_dir() else ()
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile")
    run(*pip, *offline, wheel, cwd=elsewhere)
    workers = [n.name for n in lab.topology.nodes if "worker" in n.roles]
    members = [n.name for n in lab.topology.nodes if "etcd" in n.roles]
    (elsewhere / "test_mine.py").write_text(USERS_TEST % ('", "'.join(workers), members[0]))
    said = run(python, "-m", "pytest", "-q", *lab_session.arguments(), cwd=elsewhere)
    assert "1 passed" in said
