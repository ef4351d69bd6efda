"""Rights between the programs of the cluster which nobody has by default."""

from lab.addons.base import Manifest, Rights, cluster_role, cluster_role_binding
from lab.pki import Credentials

APISERVER_USER = "kube-apiserver-kubelet-client"


class KubeletAccess(Rights):
    """The apiserver may read logs, run commands and forward ports on every kubelet."""

    name = "kubelet-access"

    def manifests(self, credentials: Credentials) -> list[Manifest]:
        """One binding, for the CN of the certificate that the apiserver shows to kubelets."""
        role = "system:kubelet-api-admin"
        return [cluster_role_binding("system:kube-apiserver", role, "User", APISERVER_USER)]


class FlannelAccess(Rights):
    """Flanneld, which speaks as its node, sees all nodes; NodeRestriction lets it change its own alone."""

    name = "flannel-access"

    def manifests(self, credentials: Credentials) -> list[Manifest]:
        """A role and its binding to all nodes."""
        rules = [
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
        ]
        name = "thwlab:flannel"
        return [cluster_role(name, rules), cluster_role_binding(name, name, "Group", "system:nodes")]
