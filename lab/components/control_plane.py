"""What the programs of a control plane share: their nodes, their units, their kubeconfigs."""

from collections.abc import Mapping
from typing import ClassVar

from lab.components.base import Component
from lab.components.readiness import CURL
from lab.components.rendering import CFG, KUBERNETES, RESTART, Service, ca_file, options, pair_files, secret
from lab.kubeconfig import kubeconfig
from lab.machine import File
from lab.pki import CA_FILES, Credentials, paths
from lab.topology import Node, Profile, Role, Topology

# A connection whose peer went silent is given up after 15 s, not 45: with a lease to renew afterwards
# a node would be late for its grace of 50 s.  Read by k8s.io/apimachinery/pkg/util/net/http.go.
_NOTICE = "HTTP2_READ_IDLE_TIMEOUT_SECONDS={:.0f} HTTP2_PING_TIMEOUT_SECONDS={:.0f}"


def of_worker(topology: Topology) -> Mapping[str, str]:
    """Settings of the units that reach the API through the balancer."""
    if topology.profile is not Profile.HARDENED:
        return RESTART[topology.profile]
    limits = _NOTICE.format(topology.tuning.http2_idle, topology.tuning.http2_ping)
    return {**RESTART[topology.profile], "Environment": limits}


def program(name: str, after: tuple[str, ...], settings: Mapping[str, str], type: str = "exec") -> Service:
    """The unit of a Kubernetes program which reads its flags from its file in cfg, as in the guide."""
    variable = variable_of(name)
    return Service(
        name,
        (f"{KUBERNETES}/bin/{name} ${variable}",),
        type=type,
        after=("network.target", *after),
        settings={"EnvironmentFile": f"{CFG}/{conf_of(name)}", **settings, "LimitNOFILE": "65536"},
    )


def conf_of(name: str) -> str:
    """The guide's name for the file with a program's flags."""
    return f"{name}.conf"


def variable_of(name: str) -> str:
    """The guide's name for the variable in it."""
    return f"{name.upper().replace('-', '_')}_OPTS"


def client_config(server: str, use: str) -> File:
    """A kubeconfig that points to CA, certificate and key on the machine."""
    content = kubeconfig("kubernetes", server, CA_FILES["kubernetes"], user=use, certificate_files=paths(use))
    return secret(f"{CFG}/{use}.kubeconfig", content)


class Controller(Component):
    """A program that asks its own master's apiserver and works once it is elected."""

    unit: str
    port: ClassVar[int]

    def nodes(self) -> tuple[Node, ...]:
        """Every master."""
        return self.topology.of(Role.CONTROL_PLANE)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Flags, unit, kubeconfig, and one certificate each as client and as server."""
        server = f"https://{node.address}:{self.topology.networks.api_port}"
        service = program(self.name, ("kube-apiserver.service",), RESTART[self.topology.profile])
        return [
            File(f"{CFG}/{conf_of(self.name)}", options(variable_of(self.name), self.flags())),
            service.file(self.unit),
            client_config(server, self.name),
            ca_file(credentials, "kubernetes"),
            *pair_files(credentials, self.name, node),
            *pair_files(credentials, f"{self.name}-server", node),
        ]

    def probe(self, node: Node) -> str:
        """/healthz over TLS that verifies."""
        trust = f"--cacert {CA_FILES['kubernetes']}"
        return f"{CURL} -f {trust} https://127.0.0.1:{self.port}/healthz"

    def flags(self) -> dict[str, str]:
        """Its command line; the same on every master."""
        config = f"{CFG}/{self.name}.kubeconfig"
        cert, key = paths(f"{self.name}-server")
        common = {
            "v": "2",
            "leader-elect": "true",
            "kubeconfig": config,
            "authentication-kubeconfig": config,
            "authorization-kubeconfig": config,
            "bind-address": "127.0.0.1",
            "tls-cert-file": cert,
            "tls-private-key-file": key,
        }
        return common | ({"profiling": "false"} if self.hardened else {})
