"""kube-controller-manager: on every master, one of them elected."""

from lab.components.control_plane import Controller
from lab.components.rendering import CA_KEY, SA_KEY, secret
from lab.machine import File
from lab.pki import CA_FILES, Credentials
from lab.topology import Node

HARDENED = {
    "controllers": "*,bootstrapsigner,tokencleaner",
    "cluster-signing-duration": "8760h",
    # A new leader first asks for a token for each of its controllers; by default that is held to 20
    # requests a second, and it signs nothing for five seconds.
    "kube-api-qps": "100",
    "kube-api-burst": "200",
}
GUIDE = {"cluster-signing-duration": "87600h"}
# In the guide it works as nobody, through the insecure port; by a name it may not sign without this.
EITHER = {"use-service-account-credentials": "true"}


class ControllerManager(Controller):
    """Holds the CA's key, for it signs the kubelets' certificates."""

    name = "kube-controller-manager"
    unit = "kube-controller-manager.service"
    port = 10257

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """The controller's files, and the keys it signs with."""
        return [
            *super().files(node, credentials),
            secret(CA_KEY, credentials.ca_key("kubernetes")),
            secret(SA_KEY, credentials.service_account.private),
        ]

    def flags(self) -> dict[str, str]:
        """The controller's flags, ranges of addresses and the keys to sign with."""
        networks = self.topology.networks
        return {
            **super().flags(),
            "allocate-node-cidrs": "true",
            "cluster-cidr": str(networks.pods),
            "service-cluster-ip-range": str(networks.services),
            "cluster-signing-cert-file": CA_FILES["kubernetes"],
            "cluster-signing-key-file": CA_KEY,
            "root-ca-file": CA_FILES["kubernetes"],
            "service-account-private-key-file": SA_KEY,
            **EITHER,
            **(HARDENED if self.hardened else GUIDE),
        }
