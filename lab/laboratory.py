"""One lab on this host: its plan, its state folder, its provider, its credentials, its live machines."""

from collections.abc import Callable, Sequence
from functools import cached_property

from lab.components.outside import Outside
from lab.errors import LabError
from lab.kubeapi import KubeApi
from lab.machine import Machine
from lab.pki import Credentials, load_or_create
from lab.providers.base import Provider
from lab.state import StateFolder
from lab.topology import Node, Role, Topology


class Laboratory:
    """What stages work on.  Opens connections when asked; judges nothing.

    `tell` hears, by a stage's name, how far a long one is; whoever watches puts something in its place.
    """

    def __init__(self, topology: Topology, provider: Provider, state: StateFolder) -> None:
        self.topology = topology
        self.provider = provider
        self.state = state
        self.machines: dict[str, Machine] = {}
        self.tell: Callable[[str, str], None] = _unheard
        self._apis: dict[str, KubeApi] = {}

    @cached_property
    def credentials(self) -> Credentials:
        """Everything secret of this lab; made at the first question, kept in the state folder."""
        return load_or_create(self.topology, self.state.path / "pki")

    @cached_property
    def outside(self) -> Outside:
        """How this host asks components itself, for set-up and not for measuring."""
        return Outside(self.provider.reach, self.credentials)

    def of(self, role: Role) -> list[Machine]:
        """The live machines of a role, in the order of the plan."""
        return [self.machine(node.name) for node in self.topology.of(role)]

    def machine(self, name: str) -> Machine:
        """The live machine; `LabError` if the plan has it but nobody has created it."""
        try:
            return self.machines[name]
        except KeyError:
            there = ", ".join(self.machines) or "none"
            raise LabError(f"{name} is not running; there are: {there}", remedy="thwlab up") from None

    def at(self, nodes: Sequence[Node]) -> list[Machine]:
        """The live machines of these nodes."""
        return [self.machine(node.name) for node in nodes]

    def api(self, name: str | None = None) -> KubeApi:
        """The API as administrator, from this host: of one master, or as users reach it.

        Perhaps behind a forwarder; made for set-up and for users, not for measuring.
        """
        where = name or self._entrance().name
        if where not in self._apis:
            host, port = self.provider.reach(where, self.topology.networks.api_port)
            user = self.credentials.pair("user")
            self._apis[where] = KubeApi(f"https://{host}:{port}", self.credentials.ca("kubernetes"), user)
        return self._apis[where]

    def close(self) -> None:
        """Give connections back; the lab lives on."""
        for api in self._apis.values():
            api.close()
        self._apis.clear()

    def _entrance(self) -> Node:
        entrance = next((n for n in self.topology.nodes if n.address == self.topology.api_address), None)
        return entrance or self.topology.of(Role.CONTROL_PLANE)[0]


def _unheard(_: str, __: str) -> None:
    return
