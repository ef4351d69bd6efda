"""What every component is, and the one way to install it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lab.machine import File, Machine, Platform, on_each
from lab.pki import Credentials
from lab.topology import Node, Profile, Topology
from lab.wait import wait_until


class Component(ABC):
    """A program run by systemd.  Subclasses describe; only `install` touches machines.

    `unit` is None for what is files only.  `on_change` is what systemctl does with the unit when its
    files changed; a changed unit file always means a restart.
    """

    name: str
    unit: str | None
    on_change: str = "restart"
    patience: float = 90

    def __init__(self, topology: Topology, platform: Platform) -> None:
        self.topology = topology
        self.platform = platform

    @property
    def start_timeout(self) -> float:
        """Seconds until it must serve; an emulated machine computes up to twenty times slower."""
        return self.patience if self.platform.container else 6 * self.patience

    @property
    def hardened(self) -> bool:
        """Whether the plan wants our settings and not those of the guide."""
        return self.topology.profile is Profile.HARDENED

    @abstractmethod
    def nodes(self) -> tuple[Node, ...]:
        """Where the plan wants it."""

    @abstractmethod
    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Every file the component needs on this node.  Pure: same input, same bytes."""

    @abstractmethod
    def check_ready(self, machine: Machine) -> None:
        """Return if the component itself answers on this machine, raise `NotYet` if it may still."""


def place(component: Component, machine: Machine, credentials: Credentials) -> bool:
    """Bring the machine's files to what the component describes; (re)start its unit if they changed.

    Does not wait for it to serve.  True if anything changed.
    """
    changed = machine.apply(component.files(machine.node, credentials))
    if component.unit is None:
        return bool(changed)
    if changed:
        verb = "restart" if f"/etc/systemd/system/{component.unit}" in changed else component.on_change
        machine.check("sh", "-c", _CHANGED, component.unit, verb)
    else:
        machine.check("systemctl", "start", "--no-block", component.unit)
    return bool(changed)


def install(component: Component, machines: Sequence[Machine], credentials: Credentials) -> list[str]:
    """Bring machines to what the component describes; the names of those that changed.

    Everywhere is started before anywhere is awaited: a member of a quorum is not ready alone.
    """
    changed = on_each(machines, lambda machine: place(component, machine, credentials))
    on_each(machines, lambda machine: await_ready(component, machine))
    return [name for name, did in changed.items() if did]


def await_ready(component: Component, machine: Machine) -> None:
    """Wait until the component serves on this machine; raises `WaitExpired` with what it said last."""
    wait_until(
        f"{component.name} on {machine.name}",
        lambda: component.check_ready(machine),
        timeout=component.start_timeout,
    )


_CHANGED = 'systemctl daemon-reload && systemctl enable --quiet "$0" && systemctl "$1" --no-block "$0"'
