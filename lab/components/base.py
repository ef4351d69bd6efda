"""What every component is, and the one way to install it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lab.machine import File, Machine, Platform, on_each
from lab.pki import Credentials
from lab.topology import Node, Topology
from lab.wait import wait_until


class Component(ABC):
    """A program run by systemd.  Subclasses describe; only `install` touches machines."""

    name: str
    unit: str
    start_timeout: float = 60

    def __init__(self, topology: Topology, platform: Platform) -> None:
        self.topology = topology
        self.platform = platform

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
    script = "systemctl daemon-reload && systemctl enable --quiet {u} && systemctl restart --no-block {u}"
    if changed:
        machine.check("sh", "-c", script.format(u=component.unit))
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
