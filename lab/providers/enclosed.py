"""A daemon of one lab's own, enclosed in the lab's namespaces and cgroup: found and ended by membership."""

import fcntl
import hashlib
import logging
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.errors import LabError
from lab.providers import enclosure
from lab.rights import as_root
from lab.wait import NotYet, wait_until

log = logging.getLogger(__name__)
DEFAULT_ROOT = Path("/var/lib/thwlab")
END_TIMEOUT = 10.0
LOOP_SET_DIRECT_IO = 0x4C08  # linux/loop.h


@dataclass(frozen=True, slots=True)
class EnclosedDaemon(ABC):
    """A program that serves this lab alone.  Everything it keeps lies in `directory`."""

    lab: str
    directory: Path
    program: str

    @property
    @abstractmethod
    def socket(self) -> Path:
        """Where it listens, as this host sees it."""

    @abstractmethod
    def check_answers(self) -> None:
        """Return if it answers on its socket, raise `NotYet` if it may still."""

    @abstractmethod
    def insist_answers(self) -> None:
        """Raise `Gone` unless it answers."""

    @property
    def tag(self) -> str:
        """The lab's name on this host; labs of one name in other state folders are other labs."""
        if self.directory.parent == DEFAULT_ROOT / self.lab:
            return self.lab
        return f"{self.lab}-{hashlib.sha256(str(self.directory).encode()).hexdigest()[:6]}"

    @property
    def network(self) -> Path:
        """The lab's network namespace."""
        return Path(f"/run/netns/thwlab-{self.tag}")

    @property
    def log(self) -> Path:
        """What it and its children said."""
        return self.directory / "daemon.log"

    def is_running(self) -> bool:
        """Whether it answers on its socket."""
        try:
            self.check_answers()
        except NotYet:
            return False
        return True

    def enclose(self, argv: Sequence[str], env: Mapping[str, str], *, timeout: float) -> None:
        """Start it as `argv` in a new network namespace, and wait until it answers.

        ``timeout`` is in seconds.  Raises `LabError` at once if it ended.
        """
        _check("ip", "netns", "add", self.network.name)
        _check("ip", "-n", self.network.name, "link", "set", "lo", "up")
        starter = [sys.executable, "-I", enclosure.__file__, self.tag, str(self.log), "--", *argv]
        _check(*starter, env=env)
        wait_until(f"{self.program} to answer", self._check_starting, timeout=timeout, every=0.05)

    def is_there(self) -> bool:
        """Whether anything of it is left on this host: files, network namespace or cgroups."""
        return self.directory.exists() or self.network.exists() or bool(cgroups(self.tag))

    def end(self) -> None:
        """End every process in the lab's network, then remove namespace and cgroups; harmless when none."""
        _thaw(self.tag)
        wait_until("the lab's processes to end", partial(_kill_all, self.network), timeout=END_TIMEOUT)
        if self.network.exists():
            _check("ip", "netns", "delete", self.network.name)
        wait_until("the lab's cgroups to empty", partial(_remove_cgroups, self.tag), timeout=END_TIMEOUT)
        wait_until("the lab's disks to be released", self._check_released, timeout=END_TIMEOUT)

    def _check_released(self) -> None:
        """The kernel gives loop device and mounts back a moment after the last process has ended."""
        if left := [*loop_devices(self.directory), *mounts(self.directory)]:
            raise NotYet(f"still there: {', '.join(left)}")

    def cache_disks(self) -> None:
        """Let this host's page cache take what its disk images are given; where it cannot, that is logged.

        Incus and LXD go around it: each fsync of three etcd members then waits for this host's disk.
        """
        for device in loop_devices(self.directory):
            try:
                with Path(device).open("rb") as loop:
                    fcntl.ioctl(loop, LOOP_SET_DIRECT_IO, 0)
            except OSError as error:
                log.warning(
                    "lab %s: %s cannot be told to use this host's page cache (%s: %s); "
                    "the lab works, but each fsync of its machines waits for this host's disk",
                    *(self.lab, device, type(error).__name__, error),
                )

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the lab's network, with everything else of this host."""
        return ["nsenter", f"--net={self.network}", "--", *argv]

    def last_words(self) -> str:
        """The end of its log."""
        try:
            return self.log.read_text(errors="replace")[-600:].strip() or "its log is empty"
        except FileNotFoundError:
            return "it has no log yet"

    def _check_starting(self) -> None:
        if not any(members(self.network)):
            raise LabError(f"{self.program} ended at once; its last words: {self.last_words()}")
        self.check_answers()


def members(network: Path) -> Iterator[int]:
    """Processes of this host whose network namespace is the given one; the lab's, by membership."""
    try:
        wanted = network.stat().st_ino
    except FileNotFoundError:
        return
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if (process / "ns/net").stat().st_ino == wanted:
                    yield int(process.name)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue


def cgroups(lab: str) -> list[Path]:
    """The lab's cgroup in every hierarchy of this host that has one."""
    groups = (Path(point) / f"thwlab-{lab}" for point in enclosure.cgroup_mounts())
    return [group for group in groups if group.is_dir()]


def loop_devices(directory: Path) -> list[str]:
    """Loop devices of this host whose file lies in the directory."""
    found = []
    for record in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            backing = record.read_text().strip()
        except OSError:
            continue  # detached while we looked
        if backing.startswith(f"{directory}/"):
            found.append(f"/dev/{record.parent.parent.name}")
    return found


def mounts(directory: Path) -> list[str]:
    """Mounts of this host at or below the directory."""
    points = (line.split()[4] for line in enclosure.mounted().splitlines())
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]


def _kill_all(network: Path) -> None:
    found = list(members(network))
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if found:
        raise NotYet(f"{len(found)} processes are still in {network.name}")


def _thaw(tag: str) -> None:
    """A frozen process does not take even a SIGKILL, on cgroup v1; a paused machine's are frozen."""
    for top in cgroups(tag):
        for setting, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            for switch in (top / setting, *top.rglob(setting)):
                with suppress(OSError):  # the group is gone, or has no such switch
                    switch.write_text(thawed)


def _remove_cgroups(lab: str) -> None:
    for top in cgroups(lab):
        for group in sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True):
            _rmdir(group)
        _rmdir(top)


def _rmdir(group: Path) -> None:
    try:
        group.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        _end_members_of(group)
        raise NotYet(f"{group}: {error.strerror}") from error


def _end_members_of(group: Path) -> None:
    try:
        pids = (group / "cgroup.procs").read_text().split()
    except OSError:
        return
    for pid in pids:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _check(*argv: str, env: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=30, env=env, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed", remedy=as_root("thwlab doctor --fix")) from error
    if done.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` exited {done.returncode}: {done.stderr.decode(errors='replace')}")
