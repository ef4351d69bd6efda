"""What a lab may leave on this host, by the kernel's own listing; and the CLI as a user runs it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from lab.debts import FOLDER
from lab.providers.enclosed import cgroups, loop_devices, members, mounts
from lab.providers.incus.daemon import PrivateDaemon
from lab.providers.vagrant.libvirt.daemon import PrivateLibvirtd
from lab.state import state_root
from lab.wait import stretched

THWLAB = (sys.executable, "-m", "lab.cli")


def leftovers(name: str) -> list[str]:
    """Everything of the lab that is still on this host; empty after `thwlab down`."""
    state = state_root() / name
    found = [str(state)] if state.exists() else []
    found += processes_of(state / FOLDER)  # watchdogs
    for daemon in (PrivateDaemon(name, state / "incus", "lxd"), PrivateLibvirtd(name, state / "libvirt")):
        folder = f"/{name}/{daemon.directory.name}"
        found += [str(daemon.network)] if daemon.network.exists() else []
        found += [f"process {pid}" for pid in members(daemon.network)]
        found += [f"process {pid}: {argv}" for pid, argv in _processes() if folder in argv]
        found += [str(group) for group in cgroups(daemon.tag)]
    return found + loop_devices(state) + mounts(state)


def processes_of(folder: Path) -> list[str]:
    """Processes whose command line names something below the folder."""
    return [f"process {pid}: {argv}" for pid, argv in _processes() if str(folder) in argv]


def tried(
    *args: str, env: Mapping[str, str] | None = None, timeout: float = 180
) -> subprocess.CompletedProcess[str]:
    """Run `thwlab ARGS`, however it ends.  Slow machines get longer than ``timeout``."""
    environment = {**os.environ, **(env or {})}
    return subprocess.run(
        [*THWLAB, *args],
        capture_output=True,
        text=True,
        timeout=stretched(timeout),
        check=False,
        env=environment,
    )


def thwlab(*args: str, env: Mapping[str, str] | None = None, timeout: float = 180) -> str:
    """`tried`, which must succeed; what it printed."""
    done = tried(*args, env=env, timeout=timeout)
    said = done.stdout + done.stderr
    assert done.returncode == 0, f"`thwlab {' '.join(args)}` exited {done.returncode}:\n{said}"
    return said


def _processes() -> list[tuple[int, str]]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                argv = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if "pytest" not in argv:
                found.append((int(entry.name), argv))
    return found
