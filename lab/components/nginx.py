"""nginx in layer 4 before the apiservers."""

from lab.components.balancer import LayerFourBalancer
from lab.components.rendering import RESTART, Service, render
from lab.machine import File
from lab.pki import Credentials
from lab.topology import Node
from lab.tuning import in_seconds


class Nginx(LayerFourBalancer):
    """Passive checks only: a silent apiserver costs one second, then two without being asked."""

    name = "nginx"
    unit = "nginx.service"

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Its configuration and a unit of ours, which also lifts the image's mask."""
        config = render(
            "nginx.conf.j2",
            listen=self.listen(node),
            servers=self.servers(),
            hardened=self.hardened,
            idle=in_seconds(self.topology.tuning.idle_limit),
        )
        return [File("/etc/nginx/nginx.conf", config), self._service().file(self.unit)]

    def _service(self) -> Service:
        return Service(
            "nginx in layer 4 before the apiservers",
            ("/usr/sbin/nginx -g 'daemon off;'",),
            settings={
                "ExecReload": "/bin/kill -HUP $MAINPID",
                **RESTART[self.topology.profile],
                "KillMode": "mixed",
                "LimitNOFILE": "65536",
            },
        )
