"""A lab in the Incus or LXD that somebody runs already, on a host as most users have one.

    sudo pytest tests/boxes/incus_in_vm.py

That host is a VM: Debian with systemd and cgroup v2, the distribution's daemon (Incus where apt has it, else
LXD), and in it a project, a pool, a network and an instance of somebody's.  A read-only disk brings thwlab,
Python's packages, the programs and the machines' root, all from this host; the VM has no network.  In it
`thwlab up --until etcd` and `thwlab down` run, and the daemon's own listing before and after is compared.

It is run by hand: emulated it takes the better part of an hour.  It wants root, QEMU, mmdebstrap, apt's
sources, and a cache that has programs and root (`thwlab artifacts fetch --image`).
"""

import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from support_said import around, verdicts
from support_tools import skip_without

from lab.artifacts.box import EARLY
from lab.artifacts.building import run, working_folder
from lab.artifacts.cache import Cache
from lab.artifacts.debian import bootstrap, debian_suite
from lab.artifacts.diskimage import move_kernel, write_filesystem
from lab.artifacts.fetch import fetch
from lab.artifacts.rootfs import root_key
from lab.errors import LabError
from lab.plan import load_topology
from lab.providers.vagrant.libvirt.kvm import probe
from lab.wait import NotYet, wait_until

ROOT = Path(__file__).parents[2]
TOOLS = ("qemu-system-x86_64", "mkfs.ext4", "mmdebstrap", "apt-cache")
PACKAGES = (
    "linux-image-cloud-amd64 initramfs-tools lz4 zstd systemd systemd-sysv dbus udev kmod iproute2 procps "
    "python3 ca-certificates jq btrfs-progs dnsmasq-base nftables squashfs-tools"
).split()
NAME = "inner"
GIB, SPARE = 16, 1.3  # of the VM's own disk; of the other one for each byte on it
BOOT, ALL = 900.0, 5400.0  # seconds, on an emulated processor
IDENTITY = "5d3f4e0a-3f56-4b39-a6c1-0b4f6a7f7d11"
CGROUP = "CGROUP cgroup2fs, PID 1 systemd"
PORT = "/dev/virtio-ports/proof"
UNIT = f"""\
[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/bin/bash /proof/run
StandardOutput=file:{PORT}
StandardError=inherit
TimeoutStartSec=infinity
"""
LINKS = {
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "systemd-networkd.service",
    "etc/systemd/system/graphical.target.wants/proof.service": "/etc/systemd/system/proof.service",
    "etc/systemd/system/default.target": "/lib/systemd/system/graphical.target",
}


@dataclass(frozen=True)
class Daemon:
    """The distribution's, and how one speaks to it."""

    packages: tuple[str, ...]
    client: str
    ready: str


INCUS = Daemon(("incus", "incus-client"), "incus", "incus admin waitready --timeout=600")
LXD = Daemon(("lxd", "lxd-client"), "lxc", "lxd waitready --timeout=600")


def script(daemon: Daemon) -> str:
    """What the VM does, with a word for each step.  Pure.

    The listing is of addresses in the API: what runs, and what is in use, changes by itself.
    """
    return f"""\
set -u
export HOME=/root LANG=C.UTF-8 PYTHONPATH=/proof/site:/proof/repo PYTHONDONTWRITEBYTECODE=1
export THWLAB_CACHE=/var/cache/proof/all
c() {{ {daemon.client} "$@"; }}
listing() {{
    for project in $(c query /1.0/projects | jq -r '.[]' | sed 's#.*/##'); do
        echo "project $project"
        for kind in instances images profiles networks; do
            c query "/1.0/$kind?project=$project" | jq -r '.[]'
        done
    done
    for pool in $(c query /1.0/storage-pools | jq -r '.[]'); do
        echo "$pool"
        c query "$pool/volumes" | jq -r '.[]'
    done
}}
thwlab() {{ python3 -m lab.cli --name {NAME} --provider incus:running "$@"; }}
mkdir -p /var/cache/proof/upper /var/cache/proof/work "$THWLAB_CACHE"
mount -t overlay overlay "$THWLAB_CACHE" \\
    -o lowerdir=/proof/cache,upperdir=/var/cache/proof/upper,workdir=/var/cache/proof/work
echo "CGROUP $(stat -fc %T /sys/fs/cgroup), PID 1 $(cat /proc/1/comm)"
{daemon.ready}; echo "DAEMON $?"
c storage create theirs dir && c network create mine0 ipv4.address=10.77.0.1/24 ipv6.address=none &&
    c project create theirs && c init --project theirs --empty mine -s theirs; echo "THEIRS $?"
{around("thwlab up --until etcd")}"""


@dataclass(frozen=True)
class Made:
    """The files of the VM."""

    disk: Path
    kernel: Path
    initrd: Path
    proof: Path


def distributions_daemon() -> Daemon:
    """Incus where this host's apt has it, for the VM gets its packages from the same sources."""
    argv = ["apt-cache", "show", "--no-all-versions", "incus"]
    known = subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0
    return INCUS if known else LXD


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The VM's disk, and the one with all that is ours."""
    skip_without(TOOLS)
    daemon = distributions_daemon()
    with working_folder(tmp_path_factory.mktemp("host")) as work:
        ours = work / "ours"
        gather_ours(ours, script(daemon))
        size = sum(path.lstat().st_size for path in ours.rglob("*"))
        write_filesystem(ours, work / "proof.raw", int(size * SPARE / 2**30) + 1)
        yield build(work, daemon, work / "proof.raw")


def gather_ours(ours: Path, guest: str) -> None:
    """The package, Python's packages of this environment, and of the cache what containers need."""
    cache, versions = Cache(), load_topology().versions
    try:
        programs = fetch(versions, cache, offline=True)
    except LabError as error:
        pytest.skip(str(error))
    packed = cache.root / "roots" / root_key(debian_suite(), programs, versions)
    if not (packed / "root.squashfs").exists():
        pytest.skip(f"there is no {packed}/root.squashfs: thwlab artifacts fetch --image")
    ours.mkdir()
    shutil.copytree(ROOT / "lab", ours / "repo/lab", ignore=shutil.ignore_patterns("__pycache__"))
    site = sysconfig.get_path("purelib")
    shutil.copytree(
        site, ours / "site", symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "*thwlab*")
    )
    for folder in {packed, *(entry.folder for entry in programs.entries)}:
        shutil.copytree(folder, ours / "cache" / folder.relative_to(cache.root), symlinks=True)
    (ours / "run").write_text(guest)


def build(work: Path, daemon: Daemon, proof: Path) -> Made:
    """Debian, as anybody installs it, and a unit that begins the proof once it is up."""
    packages = [*PACKAGES, *daemon.packages]
    run(*bootstrap(debian_suite(), work / "base.tar", packages, EARLY), timeout=1800)
    root = work / "root"
    root.mkdir()
    run("tar", "-xpf", str(work / "base.tar"), "-C", str(root), "--numeric-owner", "--exclude=./dev/*")
    python = "python{}.{}".format(*sys.version_info)
    if not (root / "usr/bin" / python).exists():
        pytest.skip(f"packages of this environment are for {python}, and Debian has another")
    settle(root)
    made = Made(work / "disk.raw", work / "vmlinuz", work / "initrd", proof)
    move_kernel(root, made.kernel, made.initrd)
    write_filesystem(root, made.disk, GIB, uuid=IDENTITY)
    return made


def settle(root: Path) -> None:
    """Host name, file systems, the unit."""
    texts = {
        "etc/hostname": "host\n",
        "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 host\n",
        "etc/fstab": f"UUID={IDENTITY} / ext4 defaults 0 1\n/dev/vdb /proof ext4 ro 0 0\n",
        "etc/machine-id": "",
        "etc/resolv.conf": "",
        "etc/systemd/system/proof.service": UNIT,
    }
    (root / "proof").mkdir()
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).write_text(text)
    for name, target in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(f"/lib/systemd/system/{target}" if "/" not in target else target)


def argv_of(made: Made, folder: Path, accelerator: str) -> list[str]:
    """QEMU's command line: two disks, a console, a port, no network.  Pure."""
    line = f"root=UUID={IDENTITY} rw console=ttyS0 net.ifnames=0"
    return [
        "qemu-system-x86_64", "-accel", accelerator, "-machine", "q35", "-cpu", "max",
        "-smp", "2", "-m", "4096", "-nodefaults", "-no-user-config", "-display", "none", "-nic", "none",
        "-kernel", str(made.kernel), "-initrd", str(made.initrd), "-append", line,
        "-drive", f"if=virtio,format=raw,cache=unsafe,file={made.disk}",
        "-drive", f"if=virtio,format=raw,readonly=on,file={made.proof}",
        "-serial", f"file:{folder / 'console'}", "-device", "virtio-rng-pci",
        "-device", "virtio-serial-pci", "-chardev", f"file,id=proof,path={folder / 'port'}",
        "-device", "virtserialport,chardev=proof,name=proof",
    ]  # fmt: skip


@contextmanager
def booted(made: Made, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """By KVM where it works; ended whatever happens."""
    accelerator = "kvm" if probe().works else "tcg,thread=multi"
    with (folder / "qemu.log").open("wb") as log:
        argv = argv_of(made, folder, accelerator)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def awaited(process: subprocess.Popen[bytes], folder: Path, word: str, timeout: float) -> str:
    """What the VM said, once a line begins with this word."""

    def look() -> str:
        said, console = (written(folder / name) for name in ("port", "console"))
        if any(line.startswith(word) for line in said.splitlines()):
            return said
        if process.poll() is not None:
            raise LabError(f"QEMU exited {process.returncode}: {console[-1500:]}")
        raise NotYet(f"{said[-1500:]}\nconsole: {console[-500:]}")

    return wait_until(f"{shlex.quote(word)} of the VM", look, timeout=timeout, every=1, exactly=True)


def written(path: Path) -> str:
    """What QEMU wrote to the file so far."""
    return path.read_bytes().decode(errors="replace") if path.exists() else ""


def test_a_lab_comes_and_goes_in_a_daemon_with_somebodys_things_in_it(made: Made, tmp_path: Path) -> None:
    with booted(made, tmp_path) as process:
        awaited(process, tmp_path, "CGROUP", BOOT)
        said = awaited(process, tmp_path, "SAID", ALL)
    assert verdicts(said, CGROUP) == [], said
