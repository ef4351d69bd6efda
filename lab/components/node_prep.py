"""What a machine needs after every boot, as files and as a unit, never as commands typed once."""

from lab.components.base import Component
from lab.components.rendering import Service, render
from lab.machine import File
from lab.pki import Credentials
from lab.topology import Cni, Node, Role

SCRIPT = "/usr/local/lib/thwlab/prepare-node"
SYSCTL = "/etc/sysctl.d/90-thwlab.conf"


class Hosts(Component):
    """Every machine knows every machine by name, without a name server."""

    name = "hosts"
    unit = None
    patience = 10

    def nodes(self) -> tuple[Node, ...]:
        """All of them."""
        return self.topology.nodes

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """The names, and a word to networkd, which else removes routes it did not make when it starts."""
        foreign = b"[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
        return [
            File("/etc/hosts", render("hosts.j2", nodes=self.topology.nodes)),
            File("/etc/systemd/networkd.conf.d/90-thwlab.conf", foreign),
        ]

    def probe(self, node: Node) -> str:
        """Every name leads to the planned address."""
        tests = (f"getent hosts {n.name} | grep -q '^{n.address} '" for n in self.topology.nodes)
        return " && ".join(tests)


class NodePrep(Component):
    """The kernel's settings, modules (on a kernel of its own) and cgroups (in a container) for pods."""

    name = "node-prep"
    unit = "thwlab-node.service"
    patience = 30

    def nodes(self) -> tuple[Node, ...]:
        """Wherever pods run."""
        return self.topology.of(Role.WORKER)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """A script, and a unit that runs it at every boot before containerd and kubelet."""
        service = Service(
            "Prepare the machine for pods",
            (SCRIPT,),
            type="oneshot",
            after=("systemd-modules-load.service", "systemd-sysctl.service"),
            before=("containerd.service", "kubelet.service", "kube-proxy.service"),
            settings={"RemainAfterExit": "yes"},
        )
        script = render(
            "prepare-node.sh.j2",
            sysctl=SYSCTL,
            modules=self._modules(),
            cgroup_v1=self.platform.container and self.platform.cgroup == 1,
        )
        return [
            File(SYSCTL, b"net.ipv4.ip_forward = 1\n"),
            File(SCRIPT, script, mode=0o755),
            service.file(self.unit),
        ]

    def probe(self, node: Node) -> str:
        """The script ended well and the kernel forwards."""
        told = "net.ipv4.ip_forward is 0, so no pod is reached; systemctl restart thwlab-node sets it"
        forwards = f'{{ test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1 || {{ echo "{told}"; false; }}; }}'
        return f"systemctl is-active {self.unit} && {forwards}"

    def _modules(self) -> tuple[str, ...]:
        if self.platform.container:
            return ()
        return ("overlay", "nf_conntrack", *(("br_netfilter", "vxlan") if self._flannel else ()))

    @property
    def _flannel(self) -> bool:
        return self.topology.cni is Cni.FLANNEL
