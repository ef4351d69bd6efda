"""HAProxy in layer 4 before the apiservers, the alternative to nginx."""

from lab.components.balancer import LayerFourBalancer
from lab.components.rendering import RESTART, Service, ca_file, render
from lab.machine import File
from lab.pki import CA_FILES, Credentials
from lab.topology import Node, Role

MASTER = Role.CONTROL_PLANE
# Failed checks until a server is out.  Two are over while etcd elects a leader, when every /readyz hangs:
# both apiservers would be taken out at once, with the connections of all their clients.
FALL = 3


class Haproxy(LayerFourBalancer):
    """Active checks: it also notices an apiserver that takes connections and says nothing."""

    name = "haproxy"
    unit = "haproxy.service"

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Its configuration, a unit of ours, and the CA its checks trust."""
        config = render(
            "haproxy.cfg.j2",
            listen=self.listen(node),
            servers=self.servers(),
            hardened=self.hardened,
            ca=CA_FILES["kubernetes"],
            fall=FALL,
            etcd_counts=all(self.topology.asks_own_member(node) for node in self.topology.of(MASTER)),
        )
        return [
            File("/etc/haproxy/haproxy.cfg", config),
            self._service().file(self.unit),
            ca_file(credentials, "kubernetes"),
        ]

    def _service(self) -> Service:
        return Service(
            "HAProxy in layer 4 before the apiservers",
            ("/usr/sbin/haproxy -Ws -f /etc/haproxy/haproxy.cfg",),
            type="notify",
            settings={
                "ExecReload": "/bin/kill -USR2 $MAINPID",
                **RESTART[self.topology.profile],
                "KillMode": "mixed",
                "LimitNOFILE": "65536",
            },
        )
