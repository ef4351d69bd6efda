"""kube-proxy: Services, on every worker."""

from lab.components.base import Component
from lab.components.control_plane import client_config, conf_of, of_worker, program, variable_of
from lab.components.readiness import CURL
from lab.components.rendering import CFG, ca_file, options, pair_files, render
from lab.machine import File
from lab.pki import CA_FILES, Credentials
from lab.topology import Node, Role

CONFIG = f"{CFG}/kube-proxy-config.yml"
HEALTH_PORT, METRICS_PORT = 10256, 10249


class KubeProxy(Component):
    """Its node name is the kubelet's, or it would take local endpoints for remote ones."""

    name = "kube-proxy"
    unit = "kube-proxy.service"

    def nodes(self) -> tuple[Node, ...]:
        """Wherever pods run."""
        return self.topology.of(Role.WORKER)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Flags, unit, configuration, and its identity."""
        service = program(self.name, ("thwlab-node.service",), of_worker(self.topology))
        flags = options(variable_of(self.name), {"v": "2", "config": CONFIG})
        return [
            File(f"{CFG}/{conf_of(self.name)}", flags),
            service.file(self.unit),
            File(CONFIG, self._config(node)),
            client_config(self.topology.api_url, self.name),
            ca_file(credentials, "kubernetes"),
            *pair_files(credentials, self.name, node),
        ]

    def probe(self, node: Node) -> str:
        """It says that the rules are as new as the Services it knows, and they are: the API's leads to it.

        Rules may go without its notice.  Not by /healthz, which is red without a reason for a proxy of a
        wrong name: the tests tell that one.
        """
        api = f"https://{self.topology.networks.kubernetes_service}/livez"
        alive = f"{CURL} -f -o /dev/null http://127.0.0.1:{HEALTH_PORT}/livez"
        leads = f"{CURL} -f --cacert {CA_FILES['kubernetes']} {api}"
        hint = "its rules do not lead there, and systemctl restart kube-proxy writes them anew"
        return f"{alive} || exit 1; {leads} || {{ echo '{hint}'; exit 1; }}"

    def _config(self, node: Node) -> bytes:
        networks = self.topology.networks
        return render(
            "kube-proxy-config.yml.j2",
            node=node,
            mode=self.topology.proxy_mode.value,
            container=self.platform.container,
            kubeconfig=f"{CFG}/{self.name}.kubeconfig",
            # The guide's own mistake: with the Services' range every packet of a pod is masqueraded.
            cluster_cidr=networks.pods if self.hardened else networks.services,
            health=f"127.0.0.1:{HEALTH_PORT}",
            metrics=f"{'127.0.0.1' if self.hardened else '0.0.0.0'}:{METRICS_PORT}",
        )
