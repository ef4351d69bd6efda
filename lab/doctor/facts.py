"""What a host is like, as data: gathered in one place, judged in others, made up in tests."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system a folder is on, or will be on; two folders with one `device` share its space.

    `trouble` is why nothing can be written to the folder, empty if it can.
    """

    path: Path
    free_mib: int
    device: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """A host as far as a lab depends on it.  None means that this host does not tell."""

    system: str
    codename: str = ""
    family: frozenset[str] = frozenset()
    uid: int = 0
    programs: frozenset[str] = frozenset()
    pip: bool = False
    ci: bool = False
    daemon: str | None = None
    closed_to: str = ""  # the group whose members may use a running daemon, where this user may not
    wants_private: bool = False
    vms: bool = False  # the machines are VMs of a hypervisor's
    virtualbox: bool = False  # of VirtualBox's
    root_is_cached: bool = False
    running: bool = False
    kernel: Mapping[str, bool | None] = field(default_factory=dict)
    cgroup: str = ""
    controllers: frozenset[str] = frozenset()
    memory_mib: int | None = None
    state: Disk | None = None
    cache: Disk | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    in_use: Mapping[str, int] = field(default_factory=dict)
    networks: tuple[tuple[str, IPv4Network], ...] = ()
    ipv4: bool | None = None
    taken_ports: tuple[int, ...] = ()
    stale: tuple[str, ...] = ()
    checkout: Path = Path("/")
    owner: tuple[int, int] = (0, 0)
    foreign: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()
    encoding: str = "utf-8"
    sources: bool = False
    kvm: bool = False

    @property
    def linux(self) -> bool:
        """Whether containers can run here at all."""
        return self.system == "Linux"

    @property
    def private(self) -> bool:
        """Whether the lab will run a daemon of its own."""
        return self.wants_private or self.daemon is None

    @property
    def debian(self) -> bool:
        """Whether packages come by apt-get and have Debian's names."""
        return bool(self.family & {"debian", "ubuntu"})

    @property
    def sudo(self) -> str:
        """What a command must begin with to be run as root."""
        return "" if self.uid == 0 else "sudo "
