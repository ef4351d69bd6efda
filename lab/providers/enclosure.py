"""Start a private daemon enclosed in namespaces, so that ending one process ends all it ever started.

A program of its own, on the standard library: ``python -I enclosure.py NAME LOGFILE -- DAEMON…``.
The daemon gets the lab's network namespace and fresh PID, mount and cgroup namespaces below the
cgroup ``thwlab-NAME``.  Its parent in there is PID 1: when that ends, by whatever signal, the kernel
ends the daemon, its containers and their mounts with it.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x2000000, 0x20000000, 0x40000000
REAL_TIME = 500_000  # microseconds of each second, for all machines of a lab
MS_REC, MS_PRIVATE = 0x4000, 0x40000
MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)


def _must(result: int, what: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def _mount(source: str, target: str, kind: str, flags: int = 0, data: str = "") -> None:
    _must(
        _libc.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode() or None),
        f"mount {kind} on {target}",
    )


def mounted() -> str:
    """This process' mounts, as Linux tells them; empty on a system that does not."""
    try:
        return Path("/proc/self/mountinfo").read_text()
    except FileNotFoundError:
        return ""


def cgroup_mounts(mountinfo: str | None = None) -> dict[str, tuple[str, str]]:
    """Mount point of each cgroup hierarchy on this host: to (file system, options that name it)."""
    text = mounted() if mountinfo is None else mountinfo
    found = {}
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            found[before.split()[4]] = (kind, "")
        if kind == "cgroup":
            named = [o for o in options.split(",") if o not in ("rw", "ro", "relatime")]
            kept = [
                o
                for o in named
                if not o.startswith(("release_agent=", "clone_children", "xattr", "noprefix"))
            ]
            found[before.split()[4]] = (kind, ",".join(["none"] * (kept[0].startswith("name=")) + kept))
    return found


def _enter_cgroups(name: str, mounts: dict[str, tuple[str, str]]) -> None:
    for point, (_, options) in mounts.items():
        group = Path(point) / f"thwlab-{name}"
        group.mkdir(exist_ok=True)
        if "cpuset" in options.split(","):
            for setting in ("cpuset.cpus", "cpuset.mems"):
                (group / setting).write_text((Path(point) / setting).read_text())
        if "cpu" in options.split(","):
            _allow_real_time(group)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def _allow_real_time(group: Path) -> None:
    """Let machines give a little of it to programs that measure; cgroup v1 gives a new group none.

    Not every kernel has it, and other labs may have taken it all: then nobody here is first.
    """
    budget = group / "cpu.rt_runtime_us"
    with contextlib.suppress(OSError):
        budget.write_text(str(REAL_TIME))


def _leave_the_root_group(mounts: dict[str, tuple[str, str]]) -> None:
    """On cgroup v2 a group with processes cannot hand controllers to groups below it."""
    for point, (kind, _) in mounts.items():
        if kind == "cgroup2":
            leaf = Path(point) / "daemon"
            leaf.mkdir(exist_ok=True)
            (leaf / "cgroup.procs").write_text("1")


def _fresh_mounts(mounts: dict[str, tuple[str, str]]) -> None:
    _mount("none", "/", "none", MS_REC | MS_PRIVATE)
    _mount("proc", "/proc", "proc")
    links = {str(p): p.readlink() for p in Path("/sys/fs/cgroup").iterdir() if p.is_symlink()}
    _mount("sysfs", "/sys", "sysfs")
    if mounts.get("/sys/fs/cgroup", ("", ""))[0] != "cgroup2":
        _mount("tmpfs", "/sys/fs/cgroup", "tmpfs")
    for point in sorted(mounts):
        kind, options = mounts[point]
        Path(point).mkdir(exist_ok=True)
        _mount("cgroup", point, kind, 0, options)
    for link, target in links.items():
        if not Path(link).exists():
            Path(link).symlink_to(target)


def _reap_until(daemon: int) -> int:
    """PID 1's duty: collect orphans; return the daemon's own status when it ends."""
    while True:
        pid, status = os.wait()
        if pid == daemon:
            return os.waitstatus_to_exitcode(status)


def _be_pid_one(argv: list[str], mounts: dict[str, tuple[str, str]]) -> None:
    _fresh_mounts(mounts)
    _leave_the_root_group(mounts)
    daemon = os.fork()
    if daemon == 0:
        os.execvp(argv[0], argv)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(daemon, signal.SIGTERM))
    sys.exit(_reap_until(daemon) & 0xFF)


def main() -> None:
    """Enclose and detach; exits 0 once the enclosure's PID 1 runs."""
    if len(sys.argv) < 5 or sys.argv[3] != "--":
        sys.exit("usage: enclosure.py NAME LOGFILE -- DAEMON…")
    name, logfile, _, *argv = sys.argv[1:]
    mounts = cgroup_mounts()
    _enter_cgroups(name, mounts)
    with Path(f"/run/netns/thwlab-{name}").open("rb") as network:
        _must(_libc.setns(network.fileno(), CLONE_NEWNET), "enter the lab's network namespace")
    os.setsid()
    log = os.open(logfile, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    for fd, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, fd)
    _must(_libc.unshare(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWPID), "unshare")
    if os.fork() == 0:
        _be_pid_one(argv, mounts)


if __name__ == "__main__":
    main()
