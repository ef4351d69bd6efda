"""What a machine of somebody else's box is and has, asked in one round trip; and why it cannot be used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lab.artifacts.catalogue import ARCHITECTURES
from lab.artifacts.debian import os_release
from lab.artifacts.packages import Release
from lab.errors import LabError
from lab.machine import KERNEL, SYSTEMD, Machine

MARK = "/var/lib/thwlab/programs"  # holds the hash of what was brought
KNOWN = ("debian", "ubuntu")
CGROUP = "cgroup2fs"
ASK_TIMEOUT = 60.0
REMEDY = "another box, such as Debian 12's: THWLAB_BOX names it; then thwlab down, thwlab up"

_QUESTIONS = """\
echo "mark $(cat "$1" 2>/dev/null)"
echo "kernel $(uname -r)"
echo "machine $(uname -m)"
echo "systemd $(systemctl --version 2>/dev/null | head -n 1)"
echo "cgroup $(stat -fc %T /sys/fs/cgroup)"
echo "free $(df -Pk / | awk 'NR == 2 { print $4 }')"
sed 's/^/os /' /etc/os-release
! command -v dpkg-query >/dev/null || dpkg-query -W -f 'package ${db:Status-Abbrev} ${Package} ${Version}\\n'
"""


@dataclass(frozen=True, slots=True)
class Guest:
    """A machine as it says of itself; versions that it does not tell are 0."""

    mark: str
    release: Release
    title: str
    kernel: tuple[int, ...]
    systemd: int
    cgroup: str
    free_mib: int
    installed: Mapping[str, str]


def ask(machine: Machine) -> Guest:
    """Ask the machine; `LabError` if it cannot be asked or one may not become root there."""
    return parsed(machine.check("sh", "-c", _QUESTIONS, "sh", MARK, timeout=ASK_TIMEOUT))


def parsed(said: str) -> Guest:
    """What the answers come to.  Pure."""
    pairs = [line.partition(" ")[::2] for line in said.splitlines()]
    one = dict(pairs)
    system = os_release("\n".join(text for word, text in pairs if word == "os"))
    arch = ARCHITECTURES.get(one.get("machine", ""), one.get("machine", ""))
    packages = [text.split() for word, text in pairs if word == "package"]
    return Guest(
        mark=one.get("mark", "").strip(),
        release=Release(system.get("ID", "unknown"), _codename(system), arch),
        title=system.get("PRETTY_NAME", "an unknown system"),
        kernel=tuple(map(int, re.findall(r"\d+", one.get("kernel", ""))[:2])),
        systemd=int((re.findall(r"\d+", one.get("systemd", "")) or ["0"])[0]),
        cgroup=one.get("cgroup", ""),
        free_mib=int(one.get("free") or 0) // 1024,
        installed={words[1]: words[2] for words in packages if words[0] == "ii" and len(words) == 3},
    )


def hindrances(guest: Guest, arch: str) -> list[str]:
    """Why the lab cannot run on such a machine, all reasons; none if it can.  ``arch`` is the programs'."""
    found = []
    if guest.release.distribution not in KNOWN:
        found.append(f"{guest.title} is none of {', '.join(KNOWN)}, whose packages and units the lab knows")
    if guest.release.arch != arch:
        found.append(f"its architecture is {guest.release.arch}, and the programs here are for {arch}")
    if guest.kernel < KERNEL:
        found.append(f"its kernel is {_dotted(guest.kernel)}; {_dotted(KERNEL)} or later is needed")
    if guest.systemd < SYSTEMD:
        found.append(f"its systemd is {guest.systemd or 'unknown'}; {SYSTEMD} or later is needed")
    if guest.cgroup != CGROUP:
        found.append("it boots with cgroup v1; kubelet and containerd here are set up for v2 in a VM")
    return found


def insist_usable(machine: str, guest: Guest, arch: str) -> None:
    """Raise `LabError` with every reason why the machine cannot be used."""
    if found := hindrances(guest, arch):
        head = f"{machine} ({guest.title}) cannot be a machine of the lab:"
        raise LabError("\n  - ".join([head, *found]), remedy=REMEDY)


def _codename(system: Mapping[str, str]) -> str:
    """Ubuntu before 16.10 had it in another line."""
    return system.get("VERSION_CODENAME") or system.get("UBUNTU_CODENAME", "unknown")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version)) or "unknown"
