"""kubectl for the administrator, on the machine the guide uses for it."""

from lab.components.base import Component
from lab.components.rendering import KUBERNETES, ca_file, pair_files, secret
from lab.kubeconfig import kubeconfig
from lab.machine import File
from lab.pki import CA_FILES, Credentials, paths
from lab.topology import Node, Role

KUBECONFIG = "/root/.kube/config"
KUBECTL = f"{KUBERNETES}/bin/kubectl"


class Admin(Component):
    """Files only: a kubeconfig through the balancer, and kubectl and etcdctl's certificate at hand."""

    name = "admin"
    unit = None

    def nodes(self) -> tuple[Node, ...]:
        """Wherever the plan puts an administrator."""
        return self.topology.of(Role.ADMIN)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """The kubeconfig, the certificates it points to, and kubectl in the path."""
        config = kubeconfig(
            f"k8s-{self.topology.name}",
            self.topology.api_url,
            CA_FILES["kubernetes"],
            user="k8s-admin",
            certificate_files=paths("admin"),
        )
        return [
            secret(KUBECONFIG, config),
            File("/usr/local/bin/kubectl", f'#!/bin/sh\nexec {KUBECTL} "$@"\n'.encode(), mode=0o755),
            ca_file(credentials, "kubernetes"),
            *pair_files(credentials, "admin", node),
            ca_file(credentials, "etcd"),
            *pair_files(credentials, "etcd-client", node),
        ]

    def probe(self, node: Node) -> str:
        """The API answers the administrator."""
        return f"{KUBECTL} --kubeconfig {KUBECONFIG} --request-timeout=10s get --raw /readyz"
