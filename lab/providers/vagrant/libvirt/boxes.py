"""The boxes of the cache over which VMs have their disks: who removes one takes the disks of all of them."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lab.artifacts.box import SHARED
from lab.providers.vagrant.libvirt.daemon import PrivateLibvirtd

PROC = Path("/proc")


def boxes_in_use(labs: Iterable[Path], proc: Path = PROC) -> frozenset[str]:
    """The names of their folders.

    They are what each of these labs was made with, be its daemon running or not, and what any daemon of this
    host sees, for its lab may be of another `THWLAB_STATE`.
    """
    made = (PrivateLibvirtd(lab.name, lab / "libvirt").box for lab in labs)
    return frozenset({*filter(None, made), *_seen(proc)})


def _seen(proc: Path) -> Iterator[str]:
    for path in proc.glob("[0-9]*/mountinfo"):
        with suppress(OSError):  # it has ended, or is another user's
            yield from _shared(path.read_text(errors="replace"))


def _shared(mountinfo: str) -> Iterator[str]:
    """By proc_pid_mountinfo(5) the fourth field is what was bound, and the fifth where to.  Pure."""
    for fields in map(str.split, mountinfo.splitlines()):
        if len(fields) > 4 and fields[4] == SHARED:
            yield Path(fields[3]).name
