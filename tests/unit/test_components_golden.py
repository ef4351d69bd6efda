"""Every file of the default plan, byte for byte.

After a change that is meant: `THWLAB_GOLDEN=write pytest tests/unit/test_components_golden.py`, then read
the difference with `git diff tests/unit/golden` before it is committed.  Certificates and keys are
constants here, so of them only name and mode are kept, in MANIFEST.
"""

import os
import shutil
from pathlib import Path

import pytest
from component_files import CONTAINER, NODES, VM, files_of
from fixed import guide_topology

from lab.machine import File
from lab.topology import Role

GOLDEN = Path(__file__).parent / "golden"
PLATFORMS = {"container": CONTAINER, "vm": VM}


def shown(files: dict[str, File]) -> dict[str, str]:
    manifest = "".join(f"{file.mode:04o} {path}\n" for path, file in sorted(files.items()))
    texts = {path: file.content.decode() for path, file in files.items() if "/ssl/" not in path}
    return {"/MANIFEST": manifest, **texts}


def stored(folder: Path) -> dict[str, str]:
    return {f"/{path.relative_to(folder)}": path.read_text() for path in folder.rglob("*") if path.is_file()}


def folder_of(substrate: str, name: str) -> Path:
    """Only what runs pods depends on the substrate; all else must be the same on both."""
    differs = Role.WORKER in guide_topology().node(name).roles
    return GOLDEN / f"default-{substrate if differs else 'container'}" / name


@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("substrate", PLATFORMS)
def test_the_files_of_a_machine_are_those_that_were_read(substrate: str, name: str) -> None:
    topology, folder = guide_topology(), folder_of(substrate, name)
    now = shown(files_of(topology, PLATFORMS[substrate], topology.node(name)))
    if os.environ.get("THWLAB_GOLDEN") == "write":
        shutil.rmtree(folder, ignore_errors=True)
        for path, text in now.items():
            target = folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
    assert now == stored(folder)


@pytest.mark.parametrize("name", NODES)
def test_the_same_input_gives_the_same_bytes(name: str) -> None:
    first, second = (
        files_of(plan, CONTAINER, plan.node(name)) for plan in (guide_topology(), guide_topology())
    )
    assert first == second
