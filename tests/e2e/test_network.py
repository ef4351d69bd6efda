"""Chapter "CNI network": every pod and machine reaches every pod, as itself and whole, and pods the API."""

import ipaddress
import re
from collections.abc import Mapping

import pytest
from support_deadlines import whole
from support_interfaces import astray, first_pod, ways
from support_pod_manifests import ACCOUNT
from support_pods import Pod, PodSet, ask, http, insist, seen, shell

from lab.cluster import Cluster
from lab.components.catalogue import pod_network
from lab.health import pod_cidrs
from lab.machine import Machine, on_each
from lab.topology import Cni, Profile, Role
from lab.wait import NotYet

pytestmark = pytest.mark.e2e
Answers = dict[str, str]
PAYLOAD = 4 * 1024 * 1024
API_CALLS = 12
REVIEWS = r"""
cd /var/run/secrets/kubernetes.io/serviceaccount
body='{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}'
ask() {
    said=$(curl -sS --http1.1 --noproxy '*' -m LIMIT --cacert ca.crt -K - -w '\n%{http_code}' -d "$body" \
        -H 'Content-Type: application/json' URL 2>&1)
    user=$(echo "$said" | sed -n 's/.*"username": *"\([^"]*\)".*/\1/p')
    echo "$(echo "$said" | grep -x '[0-9]*') ${user:-$(echo "$said" | grep '^curl')}"
}
for i in $(seq CALLS); do
    printf 'header = "Authorization: Bearer %s"\n' "$(cat token)" | ask
done
ask </dev/null
"""


def test_every_machine_has_the_plans_routes_and_no_network_before_the_plans(lab_network: Cluster) -> None:
    """A foreign CNI configuration of an earlier name would be taken in silence, for new pods only."""
    topology, platform = lab_network.topology, lab_network.lab.provider.platform
    parts = pod_network(topology, platform, pod_cidrs(lab_network))
    complaints = []
    for part in parts:
        for machine in lab_network.lab.at(part.nodes()):
            try:
                part.check_ready(machine)
            except NotYet as seen:
                complaints.append(f"{part.name} on {machine.name}: {seen}")
    insist(complaints)


# -- addresses -------------------------------------------------------------------------------------


def test_every_pod_has_an_address_of_its_own_nodes_range(lab_network: Cluster, pods: PodSet) -> None:
    nodes = lab_network.api().items("/api/v1/nodes")
    ranges = {each["metadata"]["name"]: each["spec"].get("podCIDR") for each in nodes}
    insist(
        [
            f"{pod.name} on {worker} has {pod.address}, outside the node's podCIDR {ranges[worker]}"
            for group in (pods.servers, pods.clients)
            for worker, pod in group.items()
            if not ranges[worker] or not within(pod.address, ranges[worker])
        ]
    )


def test_node_ranges_are_disjoint_parts_of_the_planned_one(lab_network: Cluster) -> None:
    nodes = lab_network.api().items("/api/v1/nodes")
    ranges = {each["metadata"]["name"]: ipaddress.IPv4Network(each["spec"]["podCIDR"]) for each in nodes}
    planned = lab_network.topology.networks.pods
    wrong = [
        f"{n}: podCIDR {r} is not part of {planned}" for n, r in ranges.items() if not r.subnet_of(planned)
    ]
    names = sorted(ranges)
    twins = [(a, b) for a in names for b in names if a < b and ranges[a].overlaps(ranges[b])]
    insist(wrong + [f"{a} has {ranges[a]} and {b} has {ranges[b]}, which overlap" for a, b in twins])


def within(address: str, network: str) -> bool:
    """Whether the address is in the network."""
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


# -- pod to pod ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pairs(pods: PodSet) -> dict[str, Answers]:
    """What each worker's client heard from each worker's server, by the client's worker."""
    urls = [http(pod.address, path) for pod in pods.servers.values() for path in ("hostname", "clientip")]
    answers: dict[str, Answers] = pods.from_clients(lambda pod: ask(pod.net, urls))
    return answers


def test_pods_reach_pods_of_every_node(pods: PodSet, pairs: dict[str, Answers]) -> None:
    insist(
        [
            f"a pod on {source} asked {server.name} on {target} ({server.address}) and got: {said}"
            for source, answers in pairs.items()
            for target, server in pods.servers.items()
            if (said := answers[http(server.address, "hostname")]) != server.name
        ],
        "`ip route get POD` on the first machine named, then `tcpdump -ni any host POD` on the second",
    )


def test_a_pod_is_seen_by_its_own_address(pods: PodSet, pairs: dict[str, Answers]) -> None:
    insist(
        [
            f"a pod on {source} is {pods.clients[source].address}, but {server.name} on {target} saw {said}"
            for source, answers in pairs.items()
            for target, server in pods.servers.items()
            if (said := seen(answers[http(server.address, "clientip")])) != pods.clients[source].address
        ],
        "a rule between them translates addresses: `iptables-save -t nat`, `nft list ruleset`",
    )


def test_packets_as_large_as_the_pods_link_allows_arrive_unfragmented(pods: PodSet) -> None:
    results = pods.from_clients(lambda pod: ping_full_size(pod, pods.servers))
    insist(
        [
            f"from a pod on {source} to a pod on {target}: {said.get(target, 'no answer')}"
            for source, said in results.items()
            for target in pods.servers
            if not said.get(target, "").startswith("ok")
        ],
        "the MTU of pods must leave room for what the path adds: `ip link` in the pod and on both nodes",
    )


def ping_full_size(pod: Pod, targets: Mapping[str, Pod]) -> Answers:
    """Whether packets of the size of the pod's link, forbidden to be cut, come back from each target."""
    shown = pod.net("ip link show eth0")
    found = re.search(r"mtu (\d+)", shown.stdout)
    if not found:
        return dict.fromkeys(targets, f"no link eth0 in {pod.name}: {shown.stderr.strip() or shown.stdout}")
    mtu = int(found[1])
    ping = (
        f"ping -nqM do -c 3 -i 0.01 -w {whole(2)} -s {{}} {{}} >/dev/null && echo {{}} ok || echo {{}} lost"
    )
    script = "\n".join(ping.format(mtu - 28, to.address, name, name) for name, to in targets.items())
    lines = (line.partition(" ") for line in pod.net(script).stdout.splitlines())
    return {name: f"{said} with packets of {mtu} bytes" for name, _, said in lines}


def test_large_payloads_arrive_whole(pods: PodSet) -> None:
    results = pods.from_clients(lambda pod: send_payload(pod, pods.servers))
    insist(
        [
            f"{PAYLOAD} bytes from a pod on {source} to a pod on {target}: {said.get(target, 'no answer')}"
            for source, said in results.items()
            for target in pods.servers
            if said.get(target) != "whole"
        ]
    )


def send_payload(pod: Pod, targets: Mapping[str, Pod]) -> Answers:
    """One large request to each target, and the hash of what arrived back."""
    curl = f"curl -sS --noproxy '*' -m {whole(10)}"
    lines = [f"f=$(mktemp); head -c {PAYLOAD} /dev/urandom >$f; sha256sum <$f"]
    for name, to in targets.items():
        up, run = http(to.address, "upload"), http(to.address, "shell")
        lines += [
            f"p=$({curl} -F file=@- {up} <$f | sed 's/.*:\"//; s/\".*//')",
            f'echo {name} $({curl} -G --data-urlencode "cmd=sha256sum $p; rm $p" {run} 2>&1)',
        ]
    done = pod.net("\n".join([*lines, "rm $f"]), timeout=60)
    if not done.stdout.strip():
        return dict.fromkeys(targets, f"nothing was sent: {done.stderr.strip()[-300:] or 'no word why'}")
    sent, *said = done.stdout.splitlines()
    pairs = (line.partition(" ") for line in said)
    return {name: "whole" if sent.split()[0] in answer else answer for name, _, answer in pairs}


# -- from outside, and the API ---------------------------------------------------------------------


def test_every_machine_reaches_the_pods_of_every_worker(lab_network: Cluster, pods: PodSet) -> None:
    urls = {worker: http(pod.address, "hostname") for worker, pod in pods.servers.items()}
    machines = [*lab_network.machines.values()]
    heard = on_each(machines, lambda machine: ask(shell(machine), list(urls.values())))
    insist(
        [
            f"{source} asked {server.name} on {worker} ({server.address}) and got: {answers[urls[worker]]}"
            for source, answers in heard.items()
            for worker, server in pods.servers.items()
            if answers[urls[worker]] != server.name
        ],
        "`ip route get POD` there; the routes are those of thwlab-routes.service",
    )


def test_every_machine_has_a_route_to_every_pod_range(lab_network: Cluster) -> None:
    if lab_network.topology.cni is not Cni.ROUTED:
        pytest.skip(f"cni: {lab_network.topology.cni} makes its own routes")
    nodes = lab_network.api().items("/api/v1/nodes")
    ranges = {each["metadata"]["name"]: each["spec"]["podCIDR"] for each in nodes}
    shown = on_each([*lab_network.machines.values()], lambda machine: machine.check("ip", "route"))
    insist(
        [
            f"{machine}: no route `{route}`; it has: {'; '.join(routes.splitlines())}"
            for machine, routes in shown.items()
            for node, cidr in ranges.items()
            if node != machine
            and (route := f"{cidr} via {lab_network.topology.node(node).address}") not in routes
        ],
        "systemctl status thwlab-routes",
    )


def test_pods_of_other_nodes_are_reached_by_the_planned_interface(lab_network: Cluster) -> None:
    """On every machine that has ways of its own to pods: with flannel that is the workers."""
    overlay = lab_network.topology.cni is Cni.FLANNEL
    machines = lab_network.of(Role.WORKER) if overlay else [*lab_network.machines.values()]
    nodes = lab_network.api().items("/api/v1/nodes")
    pods = {each["metadata"]["name"]: first_pod(each["spec"]["podCIDR"]) for each in nodes}

    def wrong(machine: Machine) -> list[str]:
        others = {
            pods[name]: lab_network.topology.node(name) for name in sorted(pods.keys() - {machine.name})
        }
        return astray(machine.node, others, ways(machine, list(others)), overlay=overlay)

    found = on_each(machines, wrong)
    insist(
        [each for complaints in found.values() for each in complaints],
        "`ip route get POD` there; with flannel its flags --iface and --public-ip",
    )


def test_pods_use_the_api_with_their_token_and_nobody_without(lab_network: Cluster, pods: PodSet) -> None:
    """Many calls, each by a fresh connection and each judged: masters that disagree refuse only some."""
    address = lab_network.topology.networks.kubernetes_service
    heard = pods.from_clients(lambda pod: reviews(pod, str(address)))
    user = f"system:serviceaccount:{pods.namespace}:{ACCOUNT}"
    # Whoever shows nothing is anonymous to the guide's apiserver: known as that, and forbidden.
    nobody = "401" if lab_network.topology.profile is Profile.HARDENED else "403"
    wanted = [f"201 {user}"] * API_CALLS + [nobody]
    insist(
        [
            f"a pod on {worker}, call {number} to {address}: got {said!r}, not {right!r}"
            for worker, answers in heard.items()
            for number, (said, right) in enumerate(zip(answers, wanted, strict=True), 1)
            if said != right
        ],
        "ask each apiserver by itself; both need the same service-account key",
    )


def reviews(pod: Pod, address: str) -> list[str]:
    """Status and user of `API_CALLS` reviews of its own identity, and the status without a token."""
    url = f"https://{address}/apis/authentication.k8s.io/v1/selfsubjectreviews"
    done = pod.inside(
        REVIEWS.replace("URL", url).replace("CALLS", str(API_CALLS)).replace("LIMIT", whole(5)), timeout=60
    )
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    return [*lines, *["no answer " + done.stderr[-200:]] * (API_CALLS + 1 - len(lines))]


# -- the guide's own commands ----------------------------------------------------------------------


def test_the_guides_look_at_kube_system_shows_all_of_it_ready(lab_network: Cluster) -> None:
    """`kubectl get ds,deploy,pods -n kube-system`; in the guide it showed a network that did not work."""
    if not lab_network.topology.addons:
        pytest.skip("the plan has no addons, so nothing runs in kube-system")
    rows = [line.split() for line in lab_network.kubectl("get", "pods", "-n", "kube-system").splitlines()[1:]]
    bad = [row for row in rows if row[1].partition("/")[0] != row[1].partition("/")[2] or row[2] != "Running"]
    insist([f"kube-system: pod {row[0]} is {row[1]} {row[2]}" for row in bad])
    assert rows, "`kubectl get pods -n kube-system` shows nothing"
