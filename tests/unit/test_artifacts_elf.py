import shutil
import subprocess
from pathlib import Path

import pytest

from lab.artifacts.elf import closure, inside

LS = "/bin/ls"
needs_ls = pytest.mark.skipif(
    not Path(LS).exists() or not list(Path("/").glob("lib*/*-linux-gnu/libc.so.6")), reason="no glibc here"
)


@needs_ls
def test_what_was_collected_runs_with_nothing_else(tmp_path: Path) -> None:
    found = closure(Path("/"), [LS])
    for name, source in found.items():
        target = tmp_path / name.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    loader = next(name for name in found if Path(name).name.startswith("ld-linux"))
    argv = [
        tmp_path / loader.lstrip("/"),
        "--inhibit-cache",
        "--library-path",
        tmp_path / "lib",
        tmp_path / "bin/ls",
    ]
    listed = subprocess.run([*argv, tmp_path], capture_output=True, text=True, timeout=10, check=True)
    assert "lib" in listed.stdout.split()
    mapped = subprocess.run(
        [*argv[:1], "--list", *argv[1:]], capture_output=True, text=True, timeout=10, check=True
    )
    assert " => /lib" not in mapped.stdout.replace(str(tmp_path), "(here)")


def test_a_script_or_a_static_program_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert closure(tmp_path, ["/script"]) == {"/script": tmp_path / "script"}


def test_links_stay_inside_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib/deep").mkdir(parents=True)
    (root / "usr/lib/deep/real").write_text("inside")
    (root / "lib").symlink_to("usr/lib")
    (root / "absolute").symlink_to("/lib/deep/real")
    (root / "upwards").symlink_to("../../../../lib/deep/real")
    (root / "usr/lib/relative").symlink_to("../lib/deep/real")
    for name in ("/absolute", "upwards", "/usr/lib/relative", "lib/deep/real"):
        assert inside(root, name) == root / "usr/lib/deep/real"


@pytest.mark.parametrize("target", ["loop", "/nowhere"])
def test_a_link_to_nothing_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(FileNotFoundError, match="loop is not below"):
        inside(tmp_path, "/loop")


@needs_ls
def test_a_library_that_is_not_there_is_named(tmp_path: Path) -> None:
    shutil.copy(LS, tmp_path / "ls")
    with pytest.raises(FileNotFoundError, match="is not below"):
        closure(tmp_path, ["ls"])
