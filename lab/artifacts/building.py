"""How images are built: commands with deadlines, working folders that leave nothing, keys by content."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.rights import as_root

STEP_TIMEOUT = 300.0


@contextmanager
def working_folder(cache: Path) -> Iterator[Path]:
    """A folder beside the results, so that they can be renamed into place; removed whatever happens.

    It is named by its process, so that the next build finds what a killed one left.
    """
    sweep(cache)
    (cache / "work").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache / "work", prefix=f"{os.getpid()}-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def sweep(cache: Path) -> list[Path]:
    """Remove the working folders of builds whose process is gone; what was removed."""
    folders = (cache / "work").glob("*-*") if (cache / "work").exists() else ()
    stale = [path for path in folders if not _is_there(path.name.partition("-")[0])]
    for path in stale:
        shutil.rmtree(path)
    return stale


def _is_there(pid: str) -> bool:
    """Whether a process has this number, without /proc, which macOS has not."""
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:  # it is another user's
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def run(*argv: str, timeout: float = STEP_TIMEOUT, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed; `LabError` with its last words if it fails.

    So it is where it does not end in time, in seconds.  ``env`` is added to this process's own.
    """
    whole = {**os.environ, **(env or {})}
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False, env=whole
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed", remedy=as_root("thwlab doctor --fix")) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"`{' '.join(argv)}` did not end within {timeout:.0f}s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace")[-1500:]
        raise LabError(f"`{' '.join(argv)}` exited {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def hash_of(value: object) -> str:
    """What something is made of, as a short hash."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
