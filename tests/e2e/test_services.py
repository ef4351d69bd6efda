"""Chapter "kube-proxy": Services by ClusterIP and NodePort, from pods, workers and outside, to every pod."""

import json
import re
import sys
from collections import Counter
from collections.abc import Mapping

import pytest
from support_deadlines import whole
from support_interfaces import proxys_addresses
from support_pods import PodSet, Run, ask, ask_in_order, http, insist, seen, shell

from lab.cluster import Cluster
from lab.components.kube_proxy import HEALTH_PORT, METRICS_PORT
from lab.machine import Machine, on_each
from lab.topology import Role

pytestmark = pytest.mark.e2e
Answers = dict[str, str]
Drawn = dict[str, list[tuple[str, str]]]
DRAWS = 24  # that one of two replicas never answers in so many has a chance of 1 in 8 million
HOST = "the host"
FROM_HOST = """
import sys, urllib.request
plain = urllib.request.build_opener(urllib.request.ProxyHandler({}))
for url in sys.argv[2:]:
    try: said = plain.open(url, timeout=float(sys.argv[1])).readline().decode().strip()
    except OSError as error: said = str(error)
    print(url, said)
"""


# -- Services --------------------------------------------------------------------------------------


def draws(run: Run, pods: PodSet) -> list[tuple[str, str]]:
    """Host name, then address seen, by one fresh connection each, many times, through the ClusterIP."""
    urls = [http(pods.ip("web"), path, 80) for path in ("hostname", "clientip")]
    said = [answer for _, answer in ask_in_order(run, urls * DRAWS)]
    return list(zip(said[::2], said[1::2], strict=True))


def check_spread(where: str, heard: Counter[str], pods: PodSet) -> list[str]:
    """What is wrong with the answers of a Service of all servers."""
    names = {pod.name: worker for worker, pod in pods.servers.items()}
    strange = [f"{where}: {count} of {DRAWS}: {said}" for said, count in heard.items() if said not in names]
    silent = [f"{where}: nothing from {n} on {worker}" for n, worker in names.items() if n not in heard]
    return [*strange, *silent]


@pytest.fixture(scope="module")
def drawn(pods: PodSet) -> Drawn:
    """What each worker's client heard through the ClusterIP."""
    found: Drawn = pods.from_clients(lambda pod: draws(pod.net, pods))
    return found


def test_pods_reach_every_replica_through_the_cluster_ip(pods: PodSet, drawn: Drawn) -> None:
    counted = {worker: Counter(name for name, _ in said) for worker, said in drawn.items()}
    insist([w for worker, heard in counted.items() for w in check_spread(f"pod on {worker}", heard, pods)])


@pytest.mark.guide_defect("D05", "kube-proxy takes the range of Services for that of the pods")
def test_a_pod_behind_a_cluster_ip_sees_the_pod_that_asks(pods: PodSet, drawn: Drawn) -> None:
    heard = {worker: Counter(seen(client) for _, client in said) for worker, said in drawn.items()}
    insist(
        [
            f"{pods.clients[worker].address} on {worker} was seen as {said} in {count} of {DRAWS}"
            for worker, counts in heard.items()
            for said, count in counts.items()
            if said != pods.clients[worker].address
        ],
        "another address: kube-proxy's clusterCIDR must be the range of all pods; no answer: "
        "`iptables-save -t nat` on that worker, and `systemctl restart kube-proxy`",
    )


def test_workers_reach_every_replica_through_the_cluster_ip(lab_network: Cluster, pods: PodSet) -> None:
    heard = on_each(
        lab_network.of(Role.WORKER),
        lambda m: Counter(name for name, _ in draws(shell(m), pods)),
    )
    insist([wrong for worker, each in heard.items() for wrong in check_spread(worker, each, pods)])


def test_a_cluster_ip_passes_udp(pods: PodSet) -> None:
    asking = f"echo hostname | nc -u -w {whole(3)} -W 1 {pods.ip('web')} 81"
    names = {pod.name for pod in pods.servers.values()}
    said = pods.from_clients(lambda pod: pod.net(asking).stdout.strip())
    insist(
        [f"pod on {worker}: `{asking}` said {each!r}" for worker, each in said.items() if each not in names]
    )


def test_a_pod_reaches_itself_through_its_service(pods: PodSet) -> None:
    urls = {worker: http(pods.ip(pods.own(worker)), "hostname", 80) for worker in pods.clients}
    said = pods.from_clients(lambda pod: ask(pod.net, [urls[pod.machine.name]]))
    insist(
        [
            f"{pods.clients[worker].name} on {worker} asked its own Service {urls[worker]} and got: {answer}"
            for worker, answers in said.items()
            for answer in answers.values()
            if answer != pods.clients[worker].name
        ],
        "hairpin: what leaves a pod for itself must be masqueraded, or the bridge port be in hairpin mode",
    )


# -- NodePorts -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def through_ports(lab_network: Cluster, pods: PodSet) -> dict[str, Answers]:
    """What every outside machine, every worker and the lab's host heard at each worker's NodePorts."""
    urls = [
        http(node.address, path, pods.node_port(service))
        for node in lab_network.topology.of(Role.WORKER)
        for service in ("web", "local")
        for path in ("hostname", "clientip")
    ]
    heard = on_each([*lab_network.machines.values()], lambda machine: ask(shell(machine), urls))
    return {**heard, HOST: ask_from_host(lab_network, urls)}


def test_every_worker_answers_on_the_node_port(
    lab_network: Cluster, pods: PodSet, through_ports: dict[str, Answers]
) -> None:
    names = {pod.name for pod in pods.servers.values()}
    urls = {
        worker.name: http(worker.address, "hostname", pods.node_port("web"))
        for worker in lab_network.topology.of(Role.WORKER)
    }
    insist(
        [
            f"from {source}: {url} on {worker} said {answers[url]}"
            for source, answers in through_ports.items()
            for worker, url in urls.items()
            if answers[url] not in names
        ]
    )


def test_behind_a_node_port_a_pod_sees_the_node_that_was_asked(
    lab_network: Cluster, pods: PodSet, through_ports: dict[str, Answers]
) -> None:
    own = on_each(lab_network.of(Role.WORKER), addresses)
    insist(
        [
            f"from {source}: behind {url} on {worker} the pod saw {said}, none of {sorted(own[worker])}"
            for source in callers(lab_network)
            for worker in own
            if (url := http(lab_network.topology.node(worker).address, "clientip", pods.node_port("web")))
            and (said := seen(through_ports[source][url])) not in own[worker]
        ],
        "an answer that does not go back through that node is dropped by the caller",
    )


def test_a_service_of_local_traffic_policy_answers_on_each_worker_by_its_own_pod(
    lab_network: Cluster, pods: PodSet, through_ports: dict[str, Answers]
) -> None:
    port = pods.node_port("local")
    wrong = [
        f"from {source}: {url} on {worker} said {said}, not {server.name}"
        for worker, server in pods.servers.items()
        if (url := http(lab_network.topology.node(worker).address, "hostname", port))
        for source in callers(lab_network)
        if (said := through_ports[source][url]) != server.name
    ]
    if wrong:
        insist(
            [*wrong, *misnamed(lab_network)], "hostnameOverride of kube-proxy and kubelet must be the same"
        )


def test_a_service_of_local_traffic_policy_shows_the_caller(
    lab_network: Cluster, pods: PodSet, through_ports: dict[str, Answers]
) -> None:
    urls = {
        worker.name: http(worker.address, "clientip", pods.node_port("local"))
        for worker in lab_network.topology.of(Role.WORKER)
    }
    insist(
        [
            f"{source} is {address}, but behind {url} on {worker} the pod saw {said}"
            for source, address in callers(lab_network).items()
            for worker, url in urls.items()
            if (said := seen(through_ports[source][url])) != address
        ]
    )


def callers(cluster: Cluster) -> dict[str, str]:
    """Who stands outside of kube-proxy's reach, with its address: machines without pods, and the host."""
    machines = [node for node in cluster.topology.nodes if Role.WORKER not in node.roles]
    outside = {node.name: str(node.address) for node in machines}
    return {**outside, HOST: str(cluster.topology.networks.gateway)}


def ask_from_host(cluster: Cluster, urls: list[str]) -> Answers:
    """What each URL says to the lab's host."""
    done = cluster.from_host(sys.executable, "-c", FROM_HOST, whole(3), *urls, timeout=30)
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    return {url: said.get(url, f"no answer: {done.stderr.strip()[-300:]}") for url in urls}


def addresses(machine: Machine) -> set[str]:
    """Every IPv4 address of the machine."""
    return set(re.findall(r"inet ([0-9.]+)", machine.check("ip", "-4", "addr")))


# -- kube-proxy ------------------------------------------------------------------------------------


def test_every_kube_proxy_has_the_name_of_its_node(lab_network: Cluster) -> None:
    insist(misnamed(lab_network), "set hostnameOverride to the name that `kubectl get nodes` shows")


def test_every_kube_proxy_takes_the_planned_address_for_its_nodes(lab_network: Cluster) -> None:
    """Not that of the interface with the default route, which VirtualBox gives every machine alike."""
    found = on_each(lab_network.of(Role.WORKER), proxys_addresses)
    insist(
        [
            f"{worker}: kube-proxy said it has {said or 'no address'}, not {planned}"
            for worker, said in found.items()
            if said != (planned := [str(lab_network.topology.node(worker).address)])
        ],
        "`kubectl get node -o wide`, for it takes the Node's InternalIP; `journalctl -u kube-proxy` there",
    )


def test_every_kube_proxy_says_that_its_node_may_get_traffic(lab_network: Cluster) -> None:
    """What a balancer in front of the workers would ask; 503 if no Node has the proxy's name."""
    url = f"http://127.0.0.1:{HEALTH_PORT}/healthz"
    asking = ("curl", "-sS", "-m", whole(3), "--noproxy", "*", "-w", " %{http_code}", url)
    heard = on_each(lab_network.of(Role.WORKER), lambda machine: machine.run(*asking))
    insist(
        [
            f"{worker}: {url} said {said.stdout} {said.stderr.strip()}; {unit}"
            for worker, said in heard.items()
            if not said.stdout.endswith(" 200")
            for unit in [unit_of(lab_network.machines[worker])]
        ],
        "`journalctl -u kube-proxy -n 20` there; `systemctl start kube-proxy`",
    )


def unit_of(machine: Machine) -> str:
    """The state of the proxy's unit, and the last that it said."""
    script = "systemctl is-active kube-proxy; journalctl -u kube-proxy -n 1 -o cat --no-pager"
    return f"kube-proxy.service is {' '.join(machine.run('sh', '-c', script).stdout.split())[:500]}"


def test_every_kube_proxy_runs_in_the_planned_mode(lab_network: Cluster) -> None:
    planned = lab_network.topology.proxy_mode.value
    url = f"http://127.0.0.1:{METRICS_PORT}/proxyMode"
    modes = on_each(lab_network.of(Role.WORKER), lambda machine: ask(shell(machine), [url])[url])
    insist(
        [f"{worker}: {url} says {mode!r}, not {planned}" for worker, mode in modes.items() if mode != planned]
    )


def proxy_names(cluster: Cluster) -> Mapping[str, str]:
    """What each worker's kube-proxy calls itself, as it says."""

    def name(machine: Machine) -> str:
        said = machine.run("curl", "-sS", "-m", whole(3), f"http://127.0.0.1:{METRICS_PORT}/configz")
        try:
            config = json.loads(said.stdout)["kubeproxy.config.k8s.io"]
        except (ValueError, KeyError):
            return f"(no answer: {said.stderr.strip() or said.stdout[:200]})"
        return config["hostnameOverride"] or machine.name

    return on_each(cluster.of(Role.WORKER), name)


def misnamed(cluster: Cluster) -> list[str]:
    """Each kube-proxy that takes its own pods for another node's."""
    nodes = {each["metadata"]["name"] for each in cluster.api().items("/api/v1/nodes")}
    return [
        f"{worker}: kube-proxy calls itself {name!r}, "
        + (f"which is another node than {worker}" if name in nodes else f"which is no Node ({sorted(nodes)})")
        for worker, name in proxy_names(cluster).items()
        if name != worker or name not in nodes
    ]
