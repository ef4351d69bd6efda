"""How pods reach each other: the CNI configuration of a worker, and routes or flannel between them."""

from collections.abc import Mapping
from ipaddress import IPv4Network

from lab.components.base import Component
from lab.components.kubelet import KUBECONFIG
from lab.components.readiness import CURL
from lab.components.rendering import Service, render
from lab.machine import File, Platform
from lab.pki import Credentials
from lab.topology import Node, Role, Topology

CNI_FOLDER, CNI_FILE = "/etc/cni/net.d", "10-thwlab.conflist"
CONFLIST = f"{CNI_FOLDER}/{CNI_FILE}"
# The runtime takes the first by name, whosever it is, and says nothing.
FIRST = rf"""
first=$(ls {CNI_FOLDER} | grep -E '\.(conf|conflist|json)$' | LC_ALL=C sort | head -n 1)
[ "$first" = {CNI_FILE} ] && exit 0
echo "CNI: the runtime takes {CNI_FOLDER}/$first before {CONFLIST}"
exit 1"""
FLANNEL_CONFIG = "/etc/kube-flannel/net-conf.json"
FLANNEL_CNI = "/usr/local/lib/thwlab/flannel-conflist"
SUBNET_FILE = "/run/flannel/subnet.env"
FLANNEL_HEALTH_PORT = 10253


class PodRoutes(Component):
    """Routes to the pods of every other node, from machines that flannel does not serve.

    ``pod_cidrs`` is what the API says in each node's `spec.podCIDR`, by name.
    """

    name = "pod-routes"
    unit = "thwlab-routes.service"
    patience = 30

    def __init__(self, topology: Topology, platform: Platform, pod_cidrs: Mapping[str, IPv4Network]) -> None:
        super().__init__(topology, platform)
        self.pod_cidrs = pod_cidrs

    def nodes(self) -> tuple[Node, ...]:
        """All that run no pods."""
        return tuple(node for node in self.topology.nodes if Role.WORKER not in node.roles)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """A unit that sets the routes at every boot, as soon as the address is there."""
        commands = [f"/sbin/ip route replace {cidr} via {via}" for cidr, via in self._routes(node)]
        service = Service(
            "Routes to the pods of other nodes",
            tuple(commands) or ("/bin/true",),
            type="oneshot",
            settings={"RemainAfterExit": "yes", "Restart": "on-failure", "RestartSec": "0.5"},
        )
        return [service.file(self.unit)]

    def probe(self, node: Node) -> str:
        """The kernel has every route."""
        shown = "ip route show {} | grep -q 'via {} ' || {{ echo no route to {}; exit 1; }}"
        tests = [shown.format(cidr, via, cidr) for cidr, via in self._routes(node)]
        return "; ".join(tests) or "true"

    def _routes(self, node: Node) -> list[tuple[str, str]]:
        others = ((name, cidr) for name, cidr in sorted(self.pod_cidrs.items()) if name != node.name)
        return [(str(cidr), str(self.topology.node(name).address)) for name, cidr in others]


class CniRouted(PodRoutes):
    """One veth and one host route per pod, and static routes between nodes; no bridge, no overlay.

    With a bridge, what two pods of one node exchange through a Service would bypass the node's
    address translation unless the host's kernel filters bridges, which a container cannot make it do.
    """

    name = "cni"

    def nodes(self) -> tuple[Node, ...]:
        """All: masters and balancer too must reach pods."""
        return self.topology.nodes

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """The routes, and on a worker the CNI configuration with the range the API gave it."""
        routes = super().files(node, credentials)
        if node.name not in self.pod_cidrs:
            return routes
        config = render("cni.conflist.j2", subnet=self.pod_cidrs[node.name], mtu=None)
        return [File(CONFLIST, config), *routes]

    def probe(self, node: Node) -> str:
        """Routes, and on a worker a CNI configuration that nothing stands before."""
        routes = super().probe(node)
        return f"{routes}{FIRST}" if node.name in self.pod_cidrs else routes


class CniFlannel(Component):
    """flanneld as a unit, with VXLAN; it speaks to the API as the node does."""

    name = "flannel"
    unit = "flanneld.service"

    def nodes(self) -> tuple[Node, ...]:
        """Wherever pods run."""
        return self.topology.of(Role.WORKER)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Its configuration, its unit, and what turns its answer into a CNI configuration."""
        return [
            File(FLANNEL_CONFIG, render("flannel.json.j2", network=self.topology.networks.pods)),
            File(FLANNEL_CNI, self._script(), mode=0o755),
            self._service(node).file(self.unit),
        ]

    def probe(self, node: Node) -> str:
        """It has a lease, and the CNI configuration is made from it and nothing stands before it."""
        healthy = f"{CURL} -f http://127.0.0.1:{FLANNEL_HEALTH_PORT}/healthz"
        return f"systemctl is-active {self.unit} && {healthy} && test -s {CONFLIST} || exit 1{FIRST}"

    def _script(self) -> bytes:
        conflist = render("cni.conflist.j2", subnet="$subnet", mtu="$FLANNEL_MTU").decode()
        values = {"subnet_file": SUBNET_FILE, "path": CONFLIST, "conflist": conflist}
        return render("flannel-conflist.sh.j2", **values)

    def _service(self, node: Node) -> Service:
        flags = (
            "--kube-subnet-mgr",
            f"--kubeconfig-file={KUBECONFIG}",
            f"--net-config-path={FLANNEL_CONFIG}",
            f"--subnet-file={SUBNET_FILE}",
            f"--iface={node.address}",
            f"--public-ip={node.address}",
            "--ip-masq",
            "--healthz-ip=127.0.0.1",
            f"--healthz-port={FLANNEL_HEALTH_PORT}",
        )
        return Service(
            "flannel",
            (" ".join(("/opt/flannel/bin/flanneld", *flags)),),
            type="notify",
            after=("network.target", "thwlab-node.service"),
            settings={
                "Environment": f"NODE_NAME={node.name}",
                "ExecStartPost": FLANNEL_CNI,
                "Restart": "always",
                "RestartSec": "0.5",
            },
        )
