"""kubelet: joins by its bootstrap token, then lives on certificates it asked for."""

from lab.components.base import Component
from lab.components.containerd import SOCKET
from lab.components.control_plane import conf_of, of_worker, program, variable_of
from lab.components.readiness import CURL
from lab.components.rendering import CFG, KUBERNETES, ca_file, options, render, secret
from lab.kubeconfig import kubeconfig
from lab.machine import File
from lab.pki import CA_FILES, Credentials
from lab.topology import Node, Role

KUBECONFIG = f"{CFG}/kubelet.kubeconfig"
BOOTSTRAP = f"{CFG}/bootstrap.kubeconfig"
CONFIG = f"{CFG}/kubelet-config.yml"
RESOLV_CONF = f"{CFG}/resolv.conf"
HEALTH_PORT = 10248


class Kubelet(Component):
    """Answers once it has its client certificate, so the bootstrap objects must be there before."""

    name = "kubelet"
    unit = "kubelet.service"

    def nodes(self) -> tuple[Node, ...]:
        """Wherever pods run."""
        return self.topology.of(Role.WORKER)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Flags, unit, configuration, and the token for its first contact."""
        after = ("containerd.service", "thwlab-node.service")
        bootstrap = kubeconfig(
            "kubernetes",
            self.topology.api_url,
            CA_FILES["kubernetes"],
            user="kubelet-bootstrap",
            token=credentials.bootstrap_token,
        )
        return [
            File(f"{CFG}/{conf_of(self.name)}", options(variable_of(self.name), self.flags(node))),
            program(self.name, after, of_worker(self.topology)).file(self.unit),
            File(CONFIG, self._config()),
            # No name server: pods that take the node's ask nobody, rather than themselves in a loop.
            File(RESOLV_CONF, b"options timeout:1 attempts:1\n"),
            secret(BOOTSTRAP, bootstrap),
            ca_file(credentials, "kubernetes"),
        ]

    def probe(self, node: Node) -> str:
        """Its own health endpoint says ok.  Whether the node is Ready is the API's to tell."""
        return f"{CURL} -f http://127.0.0.1:{HEALTH_PORT}/healthz"

    def flags(self, node: Node) -> dict[str, str]:
        """Its command line."""
        return {
            "v": "2",
            "hostname-override": node.name,
            "node-ip": str(node.address),
            "kubeconfig": KUBECONFIG,
            "bootstrap-kubeconfig": BOOTSTRAP,
            "config": CONFIG,
            "cert-dir": f"{KUBERNETES}/ssl",
        }

    def _config(self) -> bytes:
        return render(
            "kubelet-config.yml.j2",
            networks=self.topology.networks,
            platform=self.platform,
            hardened=self.hardened,
            ca=CA_FILES["kubernetes"],
            resolv_conf=RESOLV_CONF,
            socket=SOCKET,
            health_port=HEALTH_PORT,
        )
