"""What lets a kubelet in: a token that ends by itself, and who may do what with it."""

import base64
from datetime import UTC

from lab.addons.base import Manifest, Rights, cluster_role_binding
from lab.pki import Credentials, Token

GROUP = "system:bootstrappers:thwlab"
GUIDE_USER = "kubelet-bootstrap"
SIGNING = "system:certificates.k8s.io:certificatesigningrequests"


class Bootstrap(Rights):
    """Client certificates are approved by the controller-manager; serving certificates by us alone."""

    name = "bootstrap"

    def manifests(self, credentials: Credentials) -> list[Manifest]:
        """The token's Secret, and bindings for its holders and for nodes that renew.

        The guide has its token in a file of the apiserver's instead, and its holder is a user.
        """
        kind, who = ("Group", GROUP) if self.hardened else ("User", GUIDE_USER)
        bindings = [
            cluster_role_binding("thwlab:kubelet-bootstrap", "system:node-bootstrapper", kind, who),
            cluster_role_binding("thwlab:approve-first", f"{SIGNING}:nodeclient", kind, who),
            cluster_role_binding(
                "thwlab:approve-renewal", f"{SIGNING}:selfnodeclient", "Group", "system:nodes"
            ),
        ]
        return [token_secret(credentials.bootstrap_token), *bindings] if self.hardened else bindings


def token_secret(token: Token) -> Manifest:
    """The Secret by which an apiserver knows a bootstrap token."""
    data = {
        "token-id": token.id,
        "token-secret": token.secret,
        "expiration": token.expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "usage-bootstrap-authentication": "true",
        "auth-extra-groups": GROUP,
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": f"bootstrap-token-{token.id}", "namespace": "kube-system"},
        "type": "bootstrap.kubernetes.io/token",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
