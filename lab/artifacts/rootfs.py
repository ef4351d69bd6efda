"""The root file system of every machine: Debian, the programs, and the container images imported.

Two layers, each built once and kept by what it is made of: the Debian base (packages and recipe) and,
on it, one root per set of programs.  Both are shared by all labs of this user.
"""

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from filelock import FileLock

from lab.artifacts.building import hash_of, run, working_folder
from lab.artifacts.debian import LEFT_OUT, bootstrap, debian_suite
from lab.artifacts.fetch import Programs
from lab.artifacts.images import write_images
from lab.artifacts.importing import ADDRESS, import_argv, importer
from lab.errors import LabError
from lab.rights import as_root
from lab.topology import Versions
from lab.wait import NotYet, wait_until

BASE_RECIPE, ROOT_RECIPE = 5, 6  # raised when this file makes something else of the same inputs
PACKAGES = (
    "systemd systemd-sysv dbus udev iproute2 iptables nftables openssh-server python3 "
    "ca-certificates procps kmod nginx-light libnginx-mod-stream haproxy conntrack ipset ethtool socat "
    "curl runc jq dnsutils iputils-ping tcpdump netcat-openbsd openssl busybox-static psmisc"
).split()
# What the components bring their own units for, and what only costs time at each boot of a container.
MASKED = (
    "nginx.service haproxy.service ssh.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer "
    "e2scrub_reap.service systemd-binfmt.service systemd-logind.service console-getty.service "
    "getty.target systemd-update-utmp.service systemd-update-utmp-runlevel.service"
).split()
UNIQUE_PER_MACHINE = ("etc/hostname", "etc/resolv.conf", "etc/machine-id", "var/lib/dbus/machine-id")
PLACES = {
    "opt/etcd/bin": ("etcd", "etcdctl", "etcdutl"),
    "opt/kubernetes/bin": (
        "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl",
    ),
    "opt/cni/bin": ("bridge", "ptp", "host-local", "loopback", "portmap"),
    "usr/local/bin": ("containerd", "containerd-shim-runc-v2", "ctr", "crictl"),
    "opt/flannel/bin": ("flanneld",),
}  # fmt: skip
LINKS = {"usr/bin/kubectl": "/opt/kubernetes/bin/kubectl", "usr/local/bin/etcdctl": "/opt/etcd/bin/etcdctl"}
BASE_TIMEOUT = 1200.0

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Kind:
    """What one kind of machine has beside what all have; the default is a container's.

    `early` are files that must be there before packages are configured, by path.
    """

    packages: tuple[str, ...] = ()
    early: Mapping[str, str] = field(default_factory=dict)
    masked: tuple[str, ...] = tuple(MASKED)


CONTAINER = Kind()


def base_key(suite: str, kind: Kind = CONTAINER) -> str:
    """What the Debian base is made of, as a short hash."""
    more = [kind.packages, dict(kind.early)] if kind.packages or kind.early else []
    return hash_of([BASE_RECIPE, suite, os.uname().machine, PACKAGES, LEFT_OUT, *more])


def base_name(suite: str, kind: Kind = CONTAINER) -> str:
    """The file that the Debian base is kept in."""
    return f"{suite}-{base_key(suite, kind)}.tar"


def root_key(suite: str, programs: Programs, versions: Versions) -> str:
    """What a whole root is made of, as a short hash."""
    return hash_of([ROOT_RECIPE, base_key(suite), programs.digest(), asdict(versions), PLACES, LINKS, MASKED])


def build_root(cache: Path, programs: Programs, versions: Versions, report: Report = lambda _: None) -> Path:
    """A squashfs of the root for these programs, their images imported; built unless the cache has it."""
    suite = debian_suite()
    folder = cache / "roots" / root_key(suite, programs, versions)
    finished = folder / "root.squashfs"
    if finished.exists():
        return finished
    if os.geteuid() != 0:
        raise LabError(
            "the machines' image is not in the cache, and building it needs root",
            remedy=as_root(f"THWLAB_CACHE={shlex.quote(str(cache))} thwlab artifacts fetch --image"),
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not finished.exists():
            base = build_base(cache, suite, report)
            with working_folder(cache) as work:
                report("root: programs and container images")
                assemble(work, base, programs, versions)
                _pack(work / "root", work / "root.squashfs")
                folder.mkdir(exist_ok=True)
                (work / "root.squashfs").rename(finished)
    return finished


def build_base(cache: Path, suite: str, report: Report = lambda _: None, kind: Kind = CONTAINER) -> Path:
    """A tar of the Debian base; built from the mirrors this machine is configured for."""
    finished = cache / "bases" / base_name(suite, kind)
    finished.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(finished.with_suffix(".lock")):
        if not finished.exists():
            count = len(PACKAGES) + len(kind.packages)
            report(f"root: Debian {suite}, {count} packages and what they need")
            with working_folder(cache) as work:
                run(
                    *bootstrap(suite, work / "base.tar", [*PACKAGES, *kind.packages], kind.early),
                    timeout=BASE_TIMEOUT,
                    env={"TMPDIR": str(work)},
                )
                (work / "base.tar").rename(finished)
    return finished


def unneeded(
    cache: Path, programs: Programs, versions: Versions, other_bases: Collection[str] = ()
) -> list[Path]:
    """Roots and bases in the cache that neither these programs and versions need, nor others name."""
    suite = debian_suite()
    needed = {root_key(suite, programs, versions), base_name(suite), *other_bases}
    kept = [*(cache / "roots").glob("*"), *(cache / "bases").glob("*.tar")]
    return sorted(path for path in kept if path.suffix != ".lock" and path.name not in needed)


def assemble(work: Path, base: Path, programs: Programs, versions: Versions, kind: Kind = CONTAINER) -> None:
    """Make `work/root`: the base, the programs in their places, the images imported, no identity."""
    root = work / "root"
    root.mkdir()
    run("tar", "-xpf", str(base), "-C", str(root), "--numeric-owner", "--exclude=./dev/*")
    for folder, names in PLACES.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names:
            if name in programs:
                shutil.copyfile(programs[name], root / folder / name)
                (root / folder / name).chmod(0o755)
    for link, target in LINKS.items():
        (root / link).symlink_to(target)
    for unit in kind.masked:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    for folder in ("etc", "var"):  # else the first boot runs everything that wants to follow an update
        (root / folder / ".updated").touch()
    _enable_networkd(root)
    _import_images(root, programs, write_images(work, root, programs, versions))
    _forget_identity(root)


def _enable_networkd(root: Path) -> None:
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(parents=True, exist_ok=True)
    (wanted / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")


def _forget_identity(root: Path) -> None:
    for path in UNIQUE_PER_MACHINE:
        (root / path).unlink(missing_ok=True)
    (root / "etc/machine-id").touch()
    (root / "etc/resolv.conf").touch()
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()


def _import_images(root: Path, programs: Programs, images: Sequence[Path]) -> None:
    """Let a containerd of this host fill the root's own folder, so that machines start with the images."""
    with tempfile.TemporaryDirectory(prefix="thwlab-") as short:
        socket = Path(short) / "s"
        config = Path(short) / "config.toml"
        config.write_text(importer(str(root), short))
        with _daemon(str(programs["containerd"]), "--config", str(config), log=Path(short) / "log"):
            wait_until("containerd to listen", partial(_check_socket, socket), timeout=30, every=0.05)
            for image in images:
                run(*import_argv(str(programs["ctr"]), str(image)), env={ADDRESS: str(socket)})


def _check_socket(socket: Path) -> None:
    if not socket.is_socket():
        raise NotYet(f"no {socket}")


@contextmanager
def _daemon(*argv: str, log: Path) -> Iterator[None]:
    """Run a program beside the body, in a mount namespace of its own, and end it in order afterwards."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            # It must not outlive us, not even a SIGKILL; the same PID all along, so the signal reaches it.
            ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def _pack(root: Path, target: Path) -> None:
    run(
        "mksquashfs", str(root), str(target), "-noappend", "-no-progress", "-quiet",
        "-comp", "zstd", "-Xcompression-level", "1",
    )  # fmt: skip
