"""kubectl against a pod of every node, through every apiserver and through the balancer, all at once."""

from collections.abc import Iterator
from dataclasses import dataclass

from support_deadlines import whole
from support_nodes import CSRS
from support_pods import Pod, PodSet

from lab.addons.serving_csrs import pending
from lab.cluster import Cluster
from lab.components.admin import KUBECONFIG, KUBECTL
from lab.topology import Role

BALANCER = "the balancer"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a task printed for one pod, by one way."""

    way: str
    pod: Pod
    said: str

    @property
    def where(self) -> str:
        """The node and the way, as reports name them."""
        return f"{self.pod.machine.name} through {self.way}"

    @property
    def lines(self) -> set[str]:
        """What was printed, without the order."""
        return {line.strip() for line in self.said.splitlines()}


def ways(cluster: Cluster) -> dict[str, str]:
    """The API's URLs: each apiserver's own, and, if that is another, the one that users have."""
    port, users = cluster.topology.networks.api_port, cluster.topology.api_url
    own = {n.name: f"https://{n.address}:{port}" for n in cluster.topology.of(Role.CONTROL_PLANE)}
    return own if users in own.values() else {**own, BALANCER: users}


def by_every_way(cluster: Cluster, pods: PodSet, task: str) -> list[Seen]:
    """Run a shell task on the admin machine for each pod and way.

    The task calls `kubectl` as `k`, with its namespace and server, and the pod as `$pod`; `$limit` is how
    many seconds each of these calls has, more where machines are slow.
    """
    rounds = [(way, url, pod) for way, url in ways(cluster).items() for pod in pods.servers.values()]
    rows = "".join(f"{url} {pod.name}\n" for _, url, pod in rounds).encode()
    argv = ("sh", "-c", _ROUNDS, KUBECTL, KUBECONFIG, pods.namespace, task, whole(20))
    said = cluster.admin.check(*argv, stdin=rows, timeout=60)
    texts = _parted(said)
    return [Seen(way, pod, text) for (way, _, pod), text in zip(rounds, texts, strict=True)]


def open_requests(cluster: Cluster) -> str:
    """The serving requests that nobody has decided; without one, a kubelet has no certificate."""
    requests = [r for r in cluster.api().items(CSRS) if pending(r)]
    listed = [
        f"{r['metadata']['name']} ({r['spec']['signerName']}) of {r['spec']['username']}" for r in requests
    ]
    names = " ".join(r["metadata"]["name"] for r in requests)
    if not listed:
        return "no serving request is pending; compare `kubectl get csr` and the kubelet's journal"
    return f"pending: {', '.join(listed)}; if they are right: kubectl certificate approve {names}"


def _parted(said: str) -> Iterator[str]:
    return iter(said.split(_MARK)[1:])


_MARK = "\x01\n"
_ROUNDS = r"""
kubectl=$0 config=$1 ns=$2 task=$3 limit=$4 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
k() { timeout "$limit" "$kubectl" --kubeconfig "$config" --server "$server" --namespace "$ns" "$@"; }
count=0
while read -r server pod; do
    count=$((count + 1))
    (own="$work/$count" && eval "$task") >"$work/$count.said" 2>&1 </dev/null &
done
wait
for number in $(seq "$count"); do
    printf '\001\n'
    cat "$work/$number.said"
done
"""
