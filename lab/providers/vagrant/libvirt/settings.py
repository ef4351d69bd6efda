"""What a lab's own libvirtd reads, and what it sees of this host, as text.  Pure."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.artifacts.box import SHARED
from lab.providers.vagrant.libvirt.kvm import DEVICE, EMULATOR

WRAPPER = "/var/lib/libvirt/thwlab-qemu"
TRANSLATED_MIB = 256  # of translated code for each VM; by default it takes an eighth of its host's memory
# What the daemon and its VMs write, by the folder of the lab that it lies in.
OWN = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "run": "/run/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
}
MADE = ("log/qemu",)  # what Debian's package makes below them, and the daemon does not
# Root inside, for the namespaces are the fence: the lab's files need no other owner, and no way to them
# must be open to others.
QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
LIBVIRTD_CONF = """\
auth_unix_ro = "none"
auth_unix_rw = "none"
unix_sock_group = "root"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
log_outputs = "2:stderr"
"""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the daemon of one lab sees: its own folders in place of the system's, the box, and KVM or not."""

    directory: Path
    box: Path | None
    kvm: bool

    def files(self) -> dict[Path, str]:
        """The daemon's configuration and the emulator's wrapper, by path."""
        return {
            self.directory / "etc/qemu.conf": QEMU_CONF,
            self.directory / "etc/libvirtd.conf": LIBVIRTD_CONF,
            self.directory / "lib" / Path(WRAPPER).name: wrapper(),
        }

    def script(self, argv: Sequence[str]) -> str:
        """A shell script that puts everything in its place and becomes the daemon.

        It runs in a mount namespace of its own.  /run is empty there, so that nothing of the host's is
        spoken to; a file that may not be opened hides a KVM that does not work, which libvirtd would try.
        """
        lines = ["set -e", "mount -t tmpfs -o mode=755 tmpfs /run"]
        for name, target in OWN.items():
            lines += _bound(self.directory / name, target)
        if self.box is not None:
            lines += [*_bound(self.box, SHARED), f"mount -o remount,bind,ro {SHARED}"]
        if not self.kvm:
            hidden = "/run/no-kvm"
            # Read-only too: to root it would else be usable, and libvirt would ask the emulator each time.
            over = f"mount --bind {hidden} {DEVICE} && mount -o remount,bind,ro {DEVICE}"
            lines += [f"install -m 000 /dev/null {hidden}", f"[ ! -e {DEVICE} ] || {{ {over}; }}"]
        return "\n".join([*lines, f"exec {shlex.join(argv)}"])


def wrapper() -> str:
    """The emulator, its translations on all processors and held within bounds.

    libvirt has no setting for either.
    """
    better = f"tcg,thread=multi,tb-size={TRANSLATED_MIB}"
    return f"""\
#!/bin/bash
for word; do
  [ "$word" = tcg ] && word={better}
  words+=("$word")
done
exec {EMULATOR} "${{words[@]}}"
"""


def environment(base: Mapping[str, str]) -> dict[str, str]:
    """The daemon's: not this user's, and no proxies."""
    return {"PATH": base.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin", "LANG": "C.UTF-8"}


def _bound(source: Path, target: str) -> list[str]:
    return [f"mkdir -p {target}", f"mount --bind {shlex.quote(str(source))} {target}"]
