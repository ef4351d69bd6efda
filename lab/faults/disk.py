"""The disk that etcd's data lies on: full, or slow."""

from dataclasses import dataclass
from typing import ClassVar

from lab.cluster import Cluster
from lab.components.etcd import DATA
from lab.errors import LabError
from lab.faults.base import PerSecond, Script
from lab.faults.serving import check_unit
from lab.faults.shell import COMMAND, ShellFault, sh
from lab.machine import Machine
from lab.wait import NotYet

FOLDER = DATA.rpartition("/")[0]
FILLER = f"{FOLDER}/thwlab-filler"
LIMIT = 4096 * 7  # bytes; a bound that nobody else would set
FULL = ("No space left on device", "Disk quota exceeded")  # of a file system, and of a bound
PROBES = 20  # synchronous writes, one after the other


@dataclass(frozen=True)
class DiskFull(ShellFault):
    """Nothing more can be written where etcd's data lies.

    Where that file system is the machine's own, it is filled.  Containers share one: there the machine's
    part of it, a btrfs subvolume, gets a bound below what it holds, so that the others are left alone; one
    machine at a time.
    """

    word: ClassVar[str] = "disk-full"

    def unavailable(self, cluster: Cluster) -> str:
        """A shared file system that cannot be bounded for one machine, or is bounded by somebody else."""
        if not cluster.lab.provider.platform.container:
            return ""
        if len(self.machines) > 1:
            return "containers share a file system, and their bounds go together: one machine at a time"
        machine = self.victims(cluster)[0]
        tried = machine.run("python3", "-c", _QUOTA, "can", FOLDER, str(LIMIT))
        return "" if tried.ok else f"{machine.name}: {tried.stderr.strip().splitlines()[-1]}"

    def mending(self) -> tuple[Script, ...]:
        """The bound and the filler go; who gave up for want of space is started again."""
        text = _FREE.format(quota=_QUOTA, folder=FOLDER, limit=LIMIT, filler=FILLER)
        return tuple(Script(name, text) for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        if cluster.lab.provider.platform.container:
            script = _BOUND.format(quota=_QUOTA, folder=FOLDER, limit=LIMIT)
        else:
            script = _FILL.format(folder=FOLDER, filler=FILLER)
        self.on_victims(cluster, lambda machine: sh(machine, script, timeout=120))

    def in_force(self, cluster: Cluster) -> str:
        """What the kernel says to whoever wants to write there."""

        def told(machine: Machine) -> str:
            tried = machine.run("sh", "-c", _TRY, "sh", FOLDER, timeout=COMMAND)
            if tried.timed_out:
                raise LabError(f"{machine.name}: a write to {FOLDER} did not end within {COMMAND:.0f} s")
            if tried.ok:
                raise NotYet(f"{machine.name}: there is still room in {FOLDER}")
            said = tried.stderr.strip()
            if not any(sign in said for sign in FULL):
                raise NotYet(f"{machine.name}: {said or tried.status}, which is no want of room")
            return f"{machine.name}: {said.splitlines()[-1]}"

        return self.on_victims(cluster, told)

    def check_healed(self, cluster: Cluster) -> None:
        """There is room again, nothing is left, and etcd serves."""

        def check(machine: Machine) -> str:
            seen = machine.run("sh", "-c", _TRY, "sh", FOLDER)
            if not seen.ok:
                raise NotYet(f"{machine.name}: {seen.stderr.strip()}")
            if machine.run("test", "-e", FILLER).ok:
                raise NotYet(f"{machine.name}: {FILLER} is still there")
            check_unit(cluster, machine, "etcd")
            return ""

        self.on_victims(cluster, check)


@dataclass(frozen=True)
class DiskSlow(ShellFault):
    """Few operations a second reach the disk that etcd's data lies on, from etcd alone.

    `writes`: so many of them.  Needs cgroups of version 2 and a disk of the machine's own.
    """

    word: ClassVar[str] = "disk-slow"

    writes: PerSecond = 10

    def unavailable(self, cluster: Cluster) -> str:
        """No disk of the machine's own, or no cgroup that can bound it."""
        if cluster.lab.provider.platform.container:
            return "containers share a disk behind a file system that does not tell whose writes are whose"
        for machine in self.victims(cluster):
            tried = machine.run("sh", "-c", _DISK + _CAN_SLOW, "sh", FOLDER)
            if not tried.ok:
                return f"{machine.name}: {tried.stderr.strip()}"
        return ""

    def mending(self) -> tuple[Script, ...]:
        """No bound."""
        return tuple(Script(name, f"set -- {FOLDER}\n{_DISK}{_FAST}") for name in self.machines)

    def inject(self, cluster: Cluster) -> None:  # noqa: D102
        self.on_victims(cluster, lambda m: sh(m, _DISK + _SLOW, FOLDER, str(self.writes)))

    def in_force(self, cluster: Cluster) -> str:
        """How long synchronous writes take from within etcd's own cgroup."""

        def told(machine: Machine) -> str:
            took = float(sh(machine, _DISK + _TIMED, FOLDER, str(PROBES), timeout=60))
            if took < PROBES / self.writes / 2:
                raise NotYet(f"{machine.name}: {PROBES} synchronous writes took {took:.2f} s")
            return f"{machine.name}: {PROBES} synchronous writes from etcd's cgroup took {took:.2f} s"

        return self.on_victims(cluster, told)

    def still_in_force(self, cluster: Cluster) -> str:
        """The bound, by the kernel's own word: writes would take seconds."""

        def told(machine: Machine) -> str:
            seen = sh(machine, _BOUND_NOW).strip()
            if f"wiops={self.writes}" not in seen.split():
                raise NotYet(f"{machine.name}: etcd's cgroup has no bound: {seen or 'it is not there'}")
            return f"{machine.name}: etcd's cgroup is bound: {seen}"

        return self.on_victims(cluster, told)

    def check_healed(self, cluster: Cluster) -> None:
        """No bound is left, and etcd serves."""

        def check(machine: Machine) -> str:
            if left := sh(machine, _LEFT_SLOW).strip():
                raise NotYet(f"{machine.name}: {left} is still there")
            check_unit(cluster, machine, "etcd")
            return ""

        self.on_victims(cluster, check)


# A bound for a subvolume of btrfs, by the kernel's own calls, for the machine's image has no program for it.
# Once it is below what the subvolume holds, the kernel refuses even to lift it; so quotas are switched off
# again, which is done only if the bound is ours.
_QUOTA = """\
import fcntl, os, struct, sys
verb, folder, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
fd = os.open(folder, os.O_RDONLY)
def call(number, form, *values):
    buffer = bytearray(struct.pack(form, *values))
    fcntl.ioctl(fd, number, buffer)
    return buffer
try:
    fsid = bytes(call(0x8400941F, "=1024x"))[16:32].hex()
    tree = struct.unpack_from("=Q", call(0xD0009412, "=QQ4080x", 0, 256))[0]
except OSError:
    sys.exit(folder + " is not on btrfs" if verb == "can" else 0)
uuid = "-".join((fsid[:8], fsid[8:12], fsid[12:16], fsid[16:20], fsid[20:]))
groups = "/sys/fs/btrfs/%s/qgroups" % uuid
try:
    bound = int(open("%s/0_%d/max_referenced" % (groups, tree)).read())
except OSError:
    bound = None
if verb == "can" and not os.path.isdir(os.path.dirname(groups)):
    sys.exit("the kernel does not tell of its quotas in " + groups)
if verb == "can" and os.path.isdir(groups) and bound != limit:
    sys.exit("quotas of this btrfs are in use by others")
if verb == "bound":
    call(0xC0109428, "=QQ", 1, 0)
    call(0x8030942B, "=6Q", 0, 1, limit, 0, 0, 0)
if verb == "free" and bound == limit:
    call(0xC0109428, "=QQ", 2, 0)
"""
_BOUND = "python3 - bound {folder} {limit} <<'END'\n{quota}END\n"
_FREE = """\
python3 - free {folder} {limit} <<'END'
{quota}END
rm -f {filler} {folder}/thwlab-try
systemctl reset-failed etcd.service 2>/dev/null
systemctl start --no-block etcd.service
"""
# What is kept back for root is root's, so until not a byte goes in.
_FILL = """\
fallocate -l "$(df -B1 --output=avail {folder} | tail -n 1)" {filler} 2>/dev/null
dd if=/dev/zero of={filler} bs=1M oflag=append conv=notrunc 2>/dev/null
dd if=/dev/zero of={filler} bs=512 oflag=append conv=notrunc 2>/dev/null
sync {filler}
"""
_TRY = """\
LC_ALL=C dd if=/dev/zero of="$1/thwlab-try" bs=64k count=4 conv=fsync 2>"/run/thwlab-try"
ended=$?
grep -v records "/run/thwlab-try" >&2
rm -f "$1/thwlab-try" "/run/thwlab-try"
exit $ended
"""
_DISK = """\
folder=$1
device=$(findmnt -n -o SOURCE --target "$folder")
device=/dev/$(lsblk -no PKNAME "$device" 2>/dev/null | grep . || basename "$device")
slice=/sys/fs/cgroup/system.slice/etcd.service
"""
_CAN_SLOW = """\
test "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs || { echo "cgroups of version 1" >&2; exit 1; }
test -b "$device" || { echo "$folder is on no disk of its own" >&2; exit 1; }
grep -qw io /sys/fs/cgroup/cgroup.controllers || { echo "no cgroup for disks" >&2; exit 1; }
"""
_SLOW = 'systemctl set-property --runtime etcd.service "IOWriteIOPSMax=$device $2"\n'
_FAST = """\
if ls /run/systemd/system.control/etcd.service.d/50-IOWriteIOPSMax* >/dev/null 2>&1; then
  systemctl set-property --runtime etcd.service IOWriteIOPSMax=
  rm -f /run/systemd/system.control/etcd.service.d/50-IOWriteIOPSMax*
  rmdir --ignore-fail-on-non-empty /run/systemd/system.control/etcd.service.d
  systemctl daemon-reload
fi
true
"""
_LEFT_SLOW = "ls /run/systemd/system.control/etcd.service.d/50-IOWriteIOPSMax* 2>/dev/null; true"
_BOUND_NOW = "cat /sys/fs/cgroup/system.slice/etcd.service/io.max 2>/dev/null; true"
_TIMED = """\
begun=$(date +%s%N)
sh -c 'echo $$ >"$0/cgroup.procs" && exec dd if=/dev/zero of="$1/thwlab-try" bs=4k count="$2" oflag=dsync' \
  "$slice" "$folder" "$2" 2>/dev/null || exit
rm -f "$folder/thwlab-try"
awk "BEGIN { print ($(date +%s%N) - $begun) / 1e9 }"
"""

FAULTS = (DiskFull, DiskSlow)
