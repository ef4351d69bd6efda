"""HAProxy in layer 4 before the apiservers, the alternative to nginx."""

from lab.components.balancer import LayerFourBalancer
from lab.components.rendering import RESTART, Service, ca_file, render
from lab.machine import File
from lab.pki import CA_FILES, Credentials
from lab.topology import Node
from lab.tuning import Tuning, in_seconds


class Haproxy(LayerFourBalancer):
    """Active checks: it also notices an apiserver that takes connections and says nothing.

    Two failed checks are over while etcd elects a leader, when every /readyz hangs: both apiservers would be
    taken out at once, with the connections of all their clients.  So it takes three.
    """

    name = "haproxy"
    unit = "haproxy.service"

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Its configuration, a unit of ours, and the CA its checks trust."""
        tuning = self.topology.tuning if self.hardened else Tuning()
        config = render(
            "haproxy.cfg.j2",
            listen=self.listen(node),
            servers=self.servers(),
            hardened=self.hardened,
            ca=CA_FILES["kubernetes"],
            path=self.topology.check_path,
            every=in_seconds(tuning.check_every),
            fall=tuning.check_fall,
            idle=in_seconds(tuning.idle_limit),
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
