"""What the two balancers share: where they run and how one sees that they accept."""

from lab.components.base import Component
from lab.topology import Node, Role


class LayerFourBalancer(Component):
    """Passes TCP to the apiservers.  Ready once it accepts, with or without an apiserver behind it."""

    unit: str
    on_change = "reload-or-restart"
    patience = 30

    def nodes(self) -> tuple[Node, ...]:
        """The balancer of the plan, if it has one."""
        return self.topology.of(Role.LOAD_BALANCER)

    def probe(self, node: Node) -> str:
        """Its own process takes a connection."""
        where = f"/dev/tcp/{self._reached_at(node)}/{self.topology.networks.api_port}"
        return f"systemctl is-active {self.unit} && timeout 5 bash -c '<{where}'"

    def listen(self, node: Node) -> str:
        """Address and port to bind; not every address where an apiserver on the same machine has its own."""
        port = self.topology.networks.api_port
        return f"{self._reached_at(node)}:{port}" if Role.CONTROL_PLANE in node.roles else f"0.0.0.0:{port}"

    def servers(self) -> list[tuple[str, str]]:
        """Name, and address with port, of every apiserver."""
        port = self.topology.networks.api_port
        return [(node.name, f"{node.address}:{port}") for node in self.topology.of(Role.CONTROL_PLANE)]

    def _reached_at(self, node: Node) -> str:
        return str(self.topology.api_address if Role.CONTROL_PLANE in node.roles else node.address)
