"""etcd: a member on every node of that role, each started with the same list of peers."""

from lab.components.base import Component
from lab.components.outside import Endpoint
from lab.components.rendering import ETCD, RESTART, Service, ca_file, environment, pair_files
from lab.machine import File, Platform
from lab.pki import CA_FILES, Credentials, paths
from lab.topology import ApiserverEtcd, Node, Role, Topology
from lab.tuning import Tuning

CLIENT_PORT, PEER_PORT = 2379, 2380
DATA = "/var/lib/etcd/default.etcd"
MUTUAL = {"client-cert-auth": "true", "peer-client-cert-auth": "true"}
# On every member, so that a machine that becomes a master later need not have its etcd started again.
# Not stopped: without its only member an apiserver does not end in order, and hangs with all who ask it.
KILLS = {"ExecStopPost": "-/bin/systemctl kill --signal=SIGKILL kube-apiserver.service"}
# What was sent to a silent peer is sent again after ever longer pauses, and once the peer is back its streams
# wait for the end of such a pause: 11 s after a cut of 20 s (measured).  With this a connection ends 13 s
# after the first loss, and etcd makes a new one every few seconds.  Not every container may set it.
GIVES_UP = "-/usr/sbin/sysctl -q -w net.ipv4.tcp_retries2={}"
USES = ("etcd-server", "etcd-peer", "etcd-gateway", "etcd-client")


class Etcd(Component):
    """A static bootstrap.  The names in ``joining`` are added to a cluster that runs already."""

    name = "etcd"
    unit = "etcd.service"
    ends_for_good = ("permanently removed from the cluster",)

    def __init__(self, topology: Topology, platform: Platform, joining: frozenset[str] = frozenset()) -> None:
        super().__init__(topology, platform)
        self.joining = joining

    def nodes(self) -> tuple[Node, ...]:
        """Every member."""
        return self.topology.of(Role.ETCD)

    def files(self, node: Node, credentials: Credentials) -> list[File]:
        """Its configuration, unit and certificates."""
        pairs = [file for use in USES for file in pair_files(credentials, use, node)]
        return [
            File(f"{ETCD}/cfg/etcd.conf", environment(self._settings(node))),
            self._service().file(self.unit),
            ca_file(credentials, "etcd"),
            *pairs,
        ]

    def probe(self, node: Node) -> str:
        """A proposal of this member is committed, which takes a quorum."""
        own = client_url(node)
        return f"{etcdctl()} --endpoints={own} --command-timeout=10s endpoint health"

    def endpoint(self, node: Node) -> Endpoint:
        """The same, for /health reads through a quorum."""
        return Endpoint(CLIENT_PORT, "/health", "etcd", shows="etcd-client")

    def _settings(self, node: Node) -> dict[str, str]:
        own, loopback = client_url(node), f"https://127.0.0.1:{CLIENT_PORT}"
        members = (f"{self.topology.etcd_name(each)}={peer_url(each)}" for each in self.nodes())
        return {
            "ETCD_NAME": self.topology.etcd_name(node),
            "ETCD_DATA_DIR": DATA,
            "ETCD_LISTEN_PEER_URLS": peer_url(node),
            "ETCD_LISTEN_CLIENT_URLS": f"{own},{loopback}" if self.hardened else own,
            "ETCD_INITIAL_ADVERTISE_PEER_URLS": peer_url(node),
            "ETCD_ADVERTISE_CLIENT_URLS": own,
            "ETCD_INITIAL_CLUSTER": ",".join(members),
            "ETCD_INITIAL_CLUSTER_TOKEN": "etcd-cluster",
            "ETCD_INITIAL_CLUSTER_STATE": "existing" if node.name in self.joining else "new",
            **self._timers(),
        }

    def _timers(self) -> dict[str, str]:
        """In milliseconds; etcd's own are left to etcd."""
        mine, own = self.topology.tuning, Tuning()
        if not self.hardened or (mine.etcd_heartbeat, mine.etcd_election) == (
            own.etcd_heartbeat,
            own.etcd_election,
        ):
            return {}
        return {
            "ETCD_HEARTBEAT_INTERVAL": f"{mine.etcd_heartbeat * 1000:.0f}",
            "ETCD_ELECTION_TIMEOUT": f"{mine.etcd_election * 1000:.0f}",
        }

    def _service(self) -> Service:
        flags = " ".join(f"--{flag}={value}" for flag, value in self._tls().items())
        return Service(
            "Etcd Server",
            (f"{ETCD}/bin/etcd {flags}",),
            type="notify",
            settings={
                "EnvironmentFile": f"{ETCD}/cfg/etcd.conf",
                **RESTART[self.topology.profile],
                **(
                    {"ExecStartPre": GIVES_UP.format(self.topology.tuning.tcp_retries2)}
                    if self.hardened
                    else {}
                ),
                **(KILLS if self.topology.etcd_choice is ApiserverEtcd.BOUND else {}),
                "LimitNOFILE": "65536",
            },
        )

    def _tls(self) -> dict[str, str]:
        server, peer, gateway = paths("etcd-server"), paths("etcd-peer"), paths("etcd-gateway")
        flags = {
            "cert-file": server[0],
            "key-file": server[1],
            "client-cert-file": gateway[0],
            "client-key-file": gateway[1],
            "peer-cert-file": peer[0],
            "peer-key-file": peer[1],
            "trusted-ca-file": CA_FILES["etcd"],
            "peer-trusted-ca-file": CA_FILES["etcd"],
            "logger": "zap",
        }
        # Having CAs, etcd asks for certificates without these two as well; auditors look for them.
        return flags | (MUTUAL if self.hardened else {})


def client_url(node: Node) -> str:
    """Where clients reach the member."""
    return f"https://{node.address}:{CLIENT_PORT}"


def peer_url(node: Node) -> str:
    """Where the other members reach the member."""
    return f"https://{node.address}:{PEER_PORT}"


def etcdctl() -> str:
    """The command with an administrator's certificate, as it runs on a member; endpoints are to be added."""
    cert, key = paths("etcd-client")
    return f"{ETCD}/bin/etcdctl --cacert={CA_FILES['etcd']} --cert={cert} --key={key}"
