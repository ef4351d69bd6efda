"""Chapter "authorize the apiserver to access kubelets": logs, exec, port-forward on each node by each way."""

import uuid
from collections.abc import Callable

import pytest
from support_pod_manifests import HTTP
from support_pods import PodSet, ask, http, shell
from support_ways import Seen, by_every_way, open_requests

from lab.cluster import Cluster
from lab.errors import ClusterError
from lab.kubeapi import Refused
from lab.topology import Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
EXIT_STATUS = 7
LOGS = 'k logs --since=2m "$pod"'
EXEC = f"""
echo hello | k exec -i "$pod" -- \\
    sh -c 'read word; echo "$word from $(hostname)"; echo aside >&2; exit {EXIT_STATUS}'
echo "status $?"
"""
FORWARD = f"""
k port-forward "pod/$pod" :{HTTP} >"$own" 2>&1 &
for i in $(seq $((limit * 5))); do
    port=$(sed -n 's/.*127.0.0.1:\\([0-9]*\\) ->.*/\\1/p' "$own")
    [ -z "$port" ] && kill -0 $! 2>/dev/null && sleep 0.1 || break
done
[ -z "$port" ] || curl -sS --noproxy '*' -m "$limit" "http://127.0.0.1:$port/hostname"
echo
kill $! 2>/dev/null
cat "$own"
"""  # fmt: skip


def test_logs_come_from_every_node_by_every_way(lab_network: Cluster, pods: PodSet) -> None:
    """A line that the pod wrote just now."""
    word = f"e2e-{uuid.uuid4().hex}"
    for pod in pods.servers.values():
        ask(shell(pod.machine), [http(pod.address, f"echo?msg={word}")])
    seen = by_every_way(lab_network, pods, LOGS)
    insist(lab_network, "logs", seen, lambda each: word in each.said)


def test_exec_runs_on_every_node_by_every_way(lab_network: Cluster, pods: PodSet) -> None:
    """What goes in arrives, and both outputs and the exit status come back."""
    seen = by_every_way(lab_network, pods, EXEC)
    back = {"aside", f"status {EXIT_STATUS}"}
    insist(lab_network, "exec", seen, lambda each: back | {f"hello from {each.pod.name}"} <= each.lines)


def test_ports_are_forwarded_on_every_node_by_every_way(lab_network: Cluster, pods: PodSet) -> None:
    seen = by_every_way(lab_network, pods, FORWARD)
    insist(lab_network, "port-forward", seen, lambda each: each.pod.name in each.lines)


def test_every_apiserver_reaches_every_kubelet_itself(lab_network: Cluster) -> None:
    """By the kubelet's InternalIP; verified, where kubelets have a certificate of the cluster's CA."""
    complaints = []
    for master in lab_network.topology.of(Role.CONTROL_PLANE):
        for worker in lab_network.topology.of(Role.WORKER):
            try:
                said = lab_network.api(master.name).text(f"/api/v1/nodes/{worker.name}/proxy/healthz")
            except (Refused, NotYet) as error:
                said = str(error)
            if said != "ok":
                complaints.append(f"{master.name} asked the kubelet of {worker.name} for its health: {said}")
    if complaints:
        raise ClusterError("; ".join(complaints) + f"\n  remedy: {_remedy(lab_network, complaints)}")


def insist(cluster: Cluster, what: str, seen: list[Seen], right: Callable[[Seen], bool]) -> None:
    """Fail with every node and way by which it went wrong, and with the requests that are pending."""
    wrong = [f"{what} of {each.where}: {each.said.strip()[-400:]!r}" for each in seen if not right(each)]
    if wrong:
        raise ClusterError(f"{'; '.join(wrong)}\n  remedy: {_remedy(cluster, wrong)}")


def _remedy(cluster: Cluster, complaints: list[str]) -> str:
    if any("orbidden" in each for each in complaints):
        return "`kubectl get clusterrolebinding -o wide | grep kubelet`: the apiservers' user lacks its role"
    return open_requests(cluster)
