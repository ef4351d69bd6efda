"""kube-apiserver: on every master, each of them serving."""

from lab.components.base import Component
from lab.components.control_plane import conf_of, program, variable_of
from lab.components.etcd import CLIENT_PORT, client_url
from lab.components.outside import Endpoint
from lab.components.readiness import CURL
from lab.components.rendering import (
    CFG,
    LOGS,
    RESTART,
    SA_KEY,
    SA_PUB,
    ca_file,
    options,
    pair_files,
    render,
    secret,
)
from lab.machine import File
from lab.pki import CA_FILES, Credentials, paths
from lab.topology import Node, Role

USES = ("kubernetes", "apiserver-etcd-client", "apiserver-kubelet-client", "front-proxy-client")
AUTHENTICATION = f"{CFG}/authentication-config.yml"
ENCRYPTION = f"{CFG}/encryption-config.yml"
AUDIT = f"{CFG}/audit-policy.yml"
TOKENS = f"{CFG}/token.csv"
HARDENED = {
    "authorization-mode": "Node,RBAC",
    "enable-admission-plugins": "NodeRestriction",
    "authentication-config": AUTHENTICATION,
    "encryption-provider-config": ENCRYPTION,
    "audit-policy-file": AUDIT,
    "kubelet-certificate-authority": CA_FILES["kubernetes"],
    "profiling": "false",
    # Without it an orderly stop waits a minute for watches which nobody ends, and does not listen meanwhile:
    # https://github.com/kubernetes/kubernetes/issues/131052
    "shutdown-watch-termination-grace-period": "1s",
}
GUIDE = {
    "authorization-mode": "RBAC,Node",
    "enable-admission-plugins": "NamespaceLifecycle,LimitRanger,ServiceAccount,ResourceQuota,NodeRestriction",
    "token-auth-file": TOKENS,
}


class ApiServer(Component):
    """Reads and writes through etcd on its own machine; reaches kubelets by their InternalIP."""

    name = "kube-apiserver"
    unit = "kube-apiserver.service"
    patience = 120

    def nodes(self) -> tuple[Node, ...]:
        """Every master."""
        return self.topology.of(Role.CONTROL_PLANE)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Flags, unit, what the flags point to, and the certificates of its four uses."""
        pairs = [file for use in USES for file in pair_files(credentials, use, node)]
        settings = {"ExecStartPre": self._before(node), **RESTART[self.topology.profile]}
        # Stopped before its own member, without which it cannot end in order; where others serve it too, it
        # must not wait for the one on its machine.
        after = ("etcd.service",) if self._members(node) == (node,) else ()
        service = program(self.name, after, settings, "notify")
        return [
            File(f"{CFG}/{conf_of(self.name)}", options(variable_of(self.name), self.flags(node))),
            service.file(self.unit),
            *(self._hardened_files(credentials) if self.hardened else self._guide_files(credentials)),
            ca_file(credentials, "kubernetes"),
            ca_file(credentials, "etcd"),
            ca_file(credentials, "front-proxy"),
            secret(SA_KEY, credentials.service_account.private),
            File(SA_PUB, credentials.service_account.public),
            *pairs,
        ]

    def probe(self, node: Node) -> str:
        """/readyz on the node's own address says 200; else the checks that fail are told."""
        where = f"https://{node.address}:{self.topology.networks.api_port}/readyz?verbose"
        return _READYZ.format(curl=CURL, ca=CA_FILES["kubernetes"], url=where)

    def endpoint(self, node: Node) -> Endpoint:
        """The same /readyz, which anybody may ask for."""
        return Endpoint(self.topology.networks.api_port, "/readyz?verbose", "kubernetes")

    def flags(self, node: Node) -> dict[str, str]:
        """Its command line."""
        return {
            "v": "2",
            **self._network(node),
            **self._identities(),
            "allow-privileged": "true",
            "enable-bootstrap-token-auth": "true",
            "enable-aggregator-routing": "true",
            "audit-log-path": f"{LOGS}/k8s-audit.log",
            "audit-log-maxage": "30",
            "audit-log-maxbackup": "3",
            "audit-log-maxsize": "100",
            **(HARDENED if self.hardened else GUIDE),
        }

    def _network(self, node: Node) -> dict[str, str]:
        networks = self.topology.networks
        # Every address, so that loopback is served too; but a balancer on the same machine needs its own.
        shared = Role.LOAD_BALANCER in node.roles or not self.hardened
        return {
            "etcd-servers": ",".join(client_url(member) for member in self._members(node)),
            "bind-address": str(node.address) if shared else "0.0.0.0",
            "secure-port": str(networks.api_port),
            "advertise-address": str(node.address),
            "service-cluster-ip-range": str(networks.services),
            "service-node-port-range": "{}-{}".format(*networks.node_ports),
            "kubelet-preferred-address-types": "InternalIP",
        }

    def _before(self, node: Node) -> str:
        """One that is bound to its member waits here: else it would take connections and say nothing."""
        folder = f"/usr/bin/install -d -m 0700 {LOGS}"
        if not self.topology.ends_with_its_member(node):
            return folder
        wait = f"until : >/dev/tcp/{node.address}/{CLIENT_PORT}; do sleep 0.2; done"
        return f"/bin/bash -c '{folder}; {wait} 2>/dev/null'"

    def _members(self, node: Node) -> tuple[Node, ...]:
        """Its own member, whose machine it shares anyway; all of them where it has none or the plan says so.

        With all of them a third of what every apiserver asks hangs once a member's machine loses its power,
        for the ten seconds after which its client gives up a silent connection.
        """
        return (node,) if self.topology.asks_own_member(node) else self.topology.of(Role.ETCD)

    def _identities(self) -> dict[str, str]:
        serving, etcd = paths("kubernetes"), paths("apiserver-etcd-client")
        kubelet, front = paths("apiserver-kubelet-client"), paths("front-proxy-client")
        return {
            "tls-cert-file": serving[0],
            "tls-private-key-file": serving[1],
            "client-ca-file": CA_FILES["kubernetes"],
            "kubelet-client-certificate": kubelet[0],
            "kubelet-client-key": kubelet[1],
            "etcd-cafile": CA_FILES["etcd"],
            "etcd-certfile": etcd[0],
            "etcd-keyfile": etcd[1],
            "service-account-issuer": f"https://kubernetes.default.svc.{self.topology.networks.domain}",
            "service-account-key-file": SA_PUB,
            "service-account-signing-key-file": SA_KEY,
            "requestheader-client-ca-file": CA_FILES["front-proxy"],
            "requestheader-allowed-names": "front-proxy",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-username-headers": "X-Remote-User",
            "proxy-client-cert-file": front[0],
            "proxy-client-key-file": front[1],
        }

    def _hardened_files(self, credentials: Credentials) -> list[File]:
        return [
            File(AUTHENTICATION, render("authentication-config.yml.j2")),
            secret(ENCRYPTION, render("encryption-config.yml.j2", key=credentials.encryption_key)),
            File(AUDIT, render("audit-policy.yml.j2")),
        ]

    def _guide_files(self, credentials: Credentials) -> list[File]:
        token = credentials.bootstrap_token.text
        return [secret(TOKENS, f'{token},kubelet-bootstrap,10001,"system:node-bootstrapper"\n')]


# `curl -f` would hide which checks fail, and a failing body still holds lines that say ok.
_READYZ = """\
answer=$({curl} -w '%{{http_code}}' --cacert {ca} '{url}')
case "$answer" in *200) exit 0;; esac
printf '%s\\n' "$answer" | grep -v '^\\[+]'
exit 1
"""
