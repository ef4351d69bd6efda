"""The daemon behind a lab: one that runs already, or a private one that lives and dies with the lab."""

import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.errors import LabError
from lab.providers.base import Gone
from lab.providers.incus import enclosure
from lab.providers.incus.api import Api, NoAnswer
from lab.rights import as_root
from lab.wait import NotYet, wait_until

log = logging.getLogger(__name__)
PROGRAMS = ("incusd", "lxd")
RUNNING_SOCKETS = (
    "/var/lib/incus/unix.socket",
    "/run/incus/unix.socket",
    "/var/snap/lxd/common/lxd/unix.socket",
    "/var/lib/lxd/unix.socket",
)
DEFAULT_ROOT = Path("/var/lib/thwlab")
START_TIMEOUT = 30.0
END_TIMEOUT = 10.0


def running_socket() -> Path | None:
    """The socket of a daemon that runs already and may be used by this user, if there is one."""
    for variable, suffix in (("INCUS_SOCKET", ""), ("INCUS_DIR", "unix.socket"), ("LXD_DIR", "unix.socket")):
        if value := os.environ.get(variable):
            return Path(value) / suffix if suffix else Path(value)
    return next((path for path in _running() if os.access(path, os.R_OK | os.W_OK)), None)


def closed_socket() -> Path | None:
    """The socket of a daemon that runs already and may not be used by this user, if there is one."""
    return next((path for path in _running() if not os.access(path, os.R_OK | os.W_OK)), None)


def _running() -> Iterator[Path]:
    for path in map(Path, RUNNING_SOCKETS):
        with suppress(PermissionError):
            if path.is_socket():
                yield path


@dataclass(frozen=True, slots=True)
class PrivateDaemon:
    """An Incus or LXD daemon of this lab's own, in its own namespaces and cgroup."""

    lab: str
    directory: Path
    program: str

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.directory / "unix.socket"

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
    def _log(self) -> Path:
        return self.directory / "daemon.log"

    def start(self) -> None:
        """Have it running and answering; harmless when it is."""
        if self.is_running():
            return
        self.end()
        if not _is_installed(self.program):
            raise LabError(f"{self.program} is not installed", remedy=as_root("thwlab doctor --fix"))
        self.directory.mkdir(parents=True, exist_ok=True)
        _check("ip", "netns", "add", self.network.name)
        _check("ip", "-n", self.network.name, "link", "set", "lo", "up")
        argv = [self.program, "--group", _group(), "--logfile", str(self._log)]
        starter = [sys.executable, "-I", enclosure.__file__, self.tag, str(self._log), "--", *argv]
        _check(*starter, env={**_clean_environment(), **_directories(self.directory)})
        wait_until(f"{self.program} to answer", self._check_starting, timeout=START_TIMEOUT, every=0.05)

    def is_running(self) -> bool:
        """Whether it answers on its socket."""
        try:
            self._check_answers()
        except NotYet:
            return False
        return True

    def insist_answers(self) -> None:
        """Raise `Gone` unless it answers."""
        try:
            self._check_answers()
        except NotYet as error:
            hangs = isinstance(error.__cause__, NoAnswer)
            what = "hangs: it takes connections and says nothing" if hangs else "is dead: nobody listens"
            raise Gone(f"its daemon {what} at {self.socket} (its log: {self._log})") from error

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

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` in the lab's network, with everything else of this host."""
        return ["nsenter", f"--net={self.network}", "--", *argv]

    def _check_starting(self) -> None:
        if not any(members(self.network)):
            raise LabError(f"{self.program} ended at once; its last words: {_tail(self._log)}")
        self._check_answers()

    def _check_answers(self) -> None:
        if not self.socket.is_socket():
            raise NotYet(_tail(self._log))
        api = Api(self.socket, "default")
        try:
            api.get("/1.0", timeout=5)
        except LabError as error:
            raise NotYet(f"{error}\n{_tail(self._log)}") from error
        finally:
            api.close()


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
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
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


def _directories(directory: Path) -> dict[str, str]:
    return {"LXD_DIR": str(directory), "INCUS_DIR": str(directory)}


def _clean_environment() -> dict[str, str]:
    """This environment less proxies and other daemons' settings: lab traffic knows neither."""
    foreign = ("INCUS_SOCKET", "LXD_SOCKET")
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy") and k not in foreign}
    extra = ":/usr/sbin:/sbin:/usr/libexec/incus:/opt/incus/bin"
    return {**kept, "PATH": kept.get("PATH", "/usr/bin:/bin") + extra}


def _group() -> str:
    return "root"


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-600:].strip() or "its log is empty"
    except FileNotFoundError:
        return "it has no log yet"


def _check(*argv: str, env: dict[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            argv, capture_output=True, timeout=30, env=env, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed", remedy=as_root("thwlab doctor --fix")) from error
    if done.returncode != 0:
        raise LabError(f"`{' '.join(argv)}` exited {done.returncode}: {done.stderr.decode(errors='replace')}")


def installed_program() -> str | None:
    """The daemon program of this host, Incus before LXD."""
    return next((program for program in PROGRAMS if _is_installed(program)), None)


def _is_installed(program: str) -> bool:
    return shutil.which(program, path=_clean_environment()["PATH"]) is not None
