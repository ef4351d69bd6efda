"""What a host and a daemon need beyond containers to run VMs.  Looks, changes nothing.

The one place that knows: `up` refuses by it, and `thwlab doctor` tells of it.
"""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.errors import LabError
from lab.providers.base import Missing
from lab.providers.incus.api import Api
from lab.providers.incus.daemon import installed_program, unit_of
from lab.providers.vagrant.libvirt import kvm
from lab.providers.vagrant.libvirt.kvm import EMULATOR, SEARCHED, Kvm
from lab.rights import sudo

VSOCK = Path("/dev/vhost-vsock")
FIRMWARE = ("/usr/share/OVMF", "/usr/share/qemu/firmware", "/usr/share/edk2")
NOT_OPERATIONAL = "Instance type not operational"
CONTAINERS = "containers need none of it: --lab-provider=incus"


@dataclass(frozen=True, slots=True)
class Look:
    """One thing that was looked at; with a remedy it is lacking."""

    what: str
    found: str
    remedy: str = ""
    packages: tuple[str, ...] = ()


def look(socket: Path | None) -> list[Look]:
    """Everything VMs need; `socket` is the running daemon's, None if the lab will have one of its own."""
    found = [of_kvm(kvm.tried()), of_vsock()]
    if socket:
        return [*found, of_daemon(socket)]
    return [*found, *of_programs(installed_program() or "")]


def lacking(looks: Iterable[Look]) -> list[Missing]:
    """Those that keep a lab from running."""
    return [
        Missing(f"{each.what}: {each.found}", each.remedy, each.packages) for each in looks if each.remedy
    ]


def of_kvm(seen: Kvm) -> Look:
    """KVM: neither Incus nor LXD run VMs without.  Pure."""
    if seen.works:
        return Look("KVM", seen.why)
    remedy = f"switch on virtualisation in the firmware, or nested in the host of this VM; {CONTAINERS}"
    return Look("KVM", seen.why, remedy)


def of_vsock(device: Path = VSOCK) -> Look:
    """The device by which the daemon speaks with the agents in its VMs."""
    if device.exists():
        return Look("vsock", f"{device} is there")
    return Look("vsock", f"there is no {device}", f"{sudo('modprobe vhost_vsock')}; {CONTAINERS}")


def of_programs(daemon: str) -> list[Look]:
    """What a daemon of the lab's own runs VMs with.  The agent is a package of its own in Debian's LXD."""
    found = [
        _of_program(EMULATOR, "qemu-system-x86"),
        _of_program("qemu-img", "qemu-utils"),
        of_firmware(map(Path, FIRMWARE)),
    ]
    return [*found, _of_program("lxd-agent", "lxd-agent")] if daemon == "lxd" else found


def of_firmware(folders: Iterable[Path]) -> Look:
    """UEFI for VMs, in one of the folders where distributions have it."""
    if there := next((folder for folder in folders if any(folder.rglob("*CODE*.fd"))), None):
        return Look("UEFI firmware", f"in {there}")
    return Look("UEFI firmware", "none", sudo("apt-get install ovmf"), ("ovmf",))


def of_daemon(socket: Path, *, private: bool = False) -> Look:
    """What the daemon itself says of VMs: its drivers, and if QEMU is none, why."""
    api = Api(socket, "default")
    try:
        drivers = str(api.get("/1.0")["environment"].get("driver", ""))
        if "qemu" in drivers:
            return Look("the daemon's VMs", f"its drivers are {drivers}")
        why = _reason(api) or "it does not say why"
    except LabError as error:
        return Look("the daemon's VMs", str(error).splitlines()[0], "thwlab doctor")
    finally:
        api.close()
    again = "thwlab down and up" if private else sudo(f"systemctl restart {unit_of(socket)}")
    remedy = f"mend that, then {again}; {CONTAINERS}"
    return Look("the daemon's VMs", f"its drivers are {drivers or 'none'}, without qemu: {why}", remedy)


def insist(socket: Path, *, private: bool) -> None:
    """Raise `LabError` if the daemon runs no VMs."""
    seen = of_daemon(socket, private=private)
    if seen.remedy:
        raise LabError(f"the daemon at {socket} runs no VMs: {seen.found}", remedy=seen.remedy)


def _reason(api: Api) -> str:
    """Of its warnings the one about VMs; who may not read them gets none."""
    with suppress(LabError):
        for each in api.get("/1.0/warnings", query_recursion=1, query_project=""):  # it is of no project
            if each.get("type") == NOT_OPERATIONAL and each.get("status") != "resolved":
                return str(each.get("last_message", ""))
    return ""


def _of_program(name: str, package: str) -> Look:
    which = partial(shutil.which, path=SEARCHED)
    if found := which(name):
        return Look(name, found)
    return Look(name, "not installed", sudo(f"apt-get install {package}"), (package,))
