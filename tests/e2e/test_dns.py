"""Chapter "CoreDNS": right names for Services, from pods of every worker, by every server and transport."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import support_pods
from support_dns import WAYS, Answer, Question, dig, listen, reverse
from support_pod_manifests import HTTP, many_addresses
from support_pods import Pod, PodSet, insist

from lab.addons.coredns import DEPLOYMENT
from lab.cluster import Cluster
from lab.machine import on_each
from lab.topology import Role
from lab.wait import NotYet, wait_until

pytestmark = pytest.mark.e2e
SELECTOR = "k8s-app=kube-dns"
SYSTEM = "/api/v1/namespaces/kube-system"
LIMIT = 5.0  # seconds without an answer that a deleted pod may cost fresh sockets
Answers = dict[tuple[str, str, str], list[Answer]]
Expect = Callable[[Cluster, PodSet], Question]


def in_services(cluster: Cluster, pods: PodSet, name: str) -> str:
    """The full name of something in the namespace of the test pods."""
    return f"{name}.{pods.namespace}.svc.{cluster.topology.networks.domain}"


def servers_by_name(cluster: Cluster, pods: PodSet) -> frozenset[str]:
    """The names that a headless Service gives its pods."""
    dashed = (pod.address.replace(".", "-") for pod in pods.servers.values())
    return frozenset(f"{each}.{in_services(cluster, pods, 'direct')}." for each in dashed)


QUESTIONS: dict[str, Expect] = {
    "service": lambda c, p: Question(in_services(c, p, "web"), "A", frozenset({p.ip("web")})),
    "api": lambda c, p: Question(
        f"kubernetes.default.svc.{c.topology.networks.domain}",
        "A",
        frozenset({str(c.topology.networks.kubernetes_service)}),
    ),
    "srv": lambda c, p: Question(
        in_services(c, p, "_http._tcp.web"), "SRV", frozenset({f"80 {in_services(c, p, 'web')}."})
    ),
    "ptr": lambda c, p: Question(reverse(p.ip("web")), "PTR", frozenset({f"{in_services(c, p, 'web')}."})),
    "headless": lambda c, p: Question(
        in_services(c, p, "direct"), "A", frozenset(pod.address for pod in p.servers.values())
    ),
    "headless-srv": lambda c, p: Question(
        in_services(c, p, "_http._tcp.direct"),
        "SRV",
        frozenset(f"{HTTP} {name}" for name in servers_by_name(c, p)),
    ),
    "no-such-service": lambda c, p: Question(
        in_services(c, p, "nothing"), "A", status=frozenset({"NXDOMAIN"})
    ),
    "no-such-port": lambda c, p: Question(
        in_services(c, p, "_none._tcp.web"), "SRV", status=frozenset({"NXDOMAIN"})
    ),
    "no-such-address": lambda c, p: Question(
        reverse(str(c.topology.networks.services.broadcast_address)), "PTR", status=frozenset({"NXDOMAIN"})
    ),
    "no-ipv6": lambda c, p: Question(in_services(c, p, "web"), "AAAA"),
    # Refused or failed, but at once: a server that forwards to itself would not answer.
    "from-outside": lambda c, p: Question(
        "www.example.com", "A", status=frozenset({"SERVFAIL", "REFUSED", "NXDOMAIN"})
    ),
}


# -- answers ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers(lab_dns: Cluster) -> dict[str, str]:
    """The name servers by address: the Service, and every CoreDNS pod by itself."""
    found = lab_dns.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
    alone = {
        pod["status"]["podIP"]: f"{pod['metadata']['name']} on {pod['spec']['nodeName']}"
        for pod in found
        if "deletionTimestamp" not in pod["metadata"] and pod["status"].get("podIP")
    }
    return {str(lab_dns.topology.networks.dns): "the Service kube-dns", **alone}


@pytest.fixture(scope="module")
def answers(lab_dns: Cluster, pods: PodSet, servers: dict[str, str]) -> Answers:
    """Every answer to QUESTIONS, in their order, by the asking pod's worker, the server and the transport."""
    asked = [expect(lab_dns, pods) for expect in QUESTIONS.values()]

    def ask(pod: Pod) -> Answers:
        where = pod.machine.name
        return {(where, s, way): dig(pod, s, way, asked) for s in servers for way in WAYS}

    return {key: said for each in pods.from_clients(ask).values() for key, said in each.items()}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_every_server_gives_pods_of_every_worker_the_right_answer(
    lab_dns: Cluster, pods: PodSet, servers: dict[str, str], answers: Answers, kind: str
) -> None:
    question = QUESTIONS[kind](lab_dns, pods)
    place = list(QUESTIONS).index(kind)
    insist(
        [
            f"a pod on {worker} asked {server} ({servers[server]}) by {way} for {question.name} "
            f"{question.type} and got: {wrong}"
            for (worker, server, way), said in answers.items()
            if (wrong := question.wrong(said[place]))
        ]
    )


def test_a_headless_pods_address_leads_back_to_its_name(lab_dns: Cluster, pods: PodSet) -> None:
    """Forward and back, for each server pod."""
    names = {pod.address: pod.address.replace(".", "-") for pod in pods.servers.values()}
    dns = str(lab_dns.topology.networks.dns)
    asked = [
        question
        for address, dashed in names.items()
        if (name := in_services(lab_dns, pods, f"{dashed}.direct"))
        for question in (
            Question(name, "A", frozenset({address})),
            Question(reverse(address), "PTR", frozenset({f"{name}."}), more_allowed=True),
        )
    ]
    heard = pods.from_clients(lambda pod: dig(pod, dns, "udp", asked))
    insist(
        [
            f"a pod on {worker} asked {dns} for {question.name} {question.type} and got: {wrong}"
            for worker, said in heard.items()
            for question, answer in zip(asked, said, strict=True)
            if (wrong := question.wrong(answer))
        ]
    )


# -- large answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "options", "cut"),
    [
        pytest.param("udp", ("+noedns", "+ignore"), True, id="udp-is-cut-and-says-so"),
        pytest.param("udp", ("+noedns",), False, id="udp-then-tcp"),
        pytest.param("udp", ("+bufsize=4096", "+ignore"), False, id="udp-in-fragments"),
        pytest.param("tcp", (), False, id="tcp"),
    ],
)
def test_an_answer_larger_than_a_packet_arrives(
    lab_dns: Cluster, pods: PodSet, servers: dict[str, str], way: str, options: tuple[str, ...], cut: bool
) -> None:
    question = Question(in_services(lab_dns, pods, "many"), "A", frozenset(many_addresses()))
    heard = pods.from_clients(lambda pod: {s: dig(pod, s, way, [question], *options)[0] for s in servers})
    wrong = [
        f"a pod on {worker} asked {server} ({servers[server]}) with {' '.join(options) or way} and got "
        f"{answer.status}, {len(answer.data)} of {len(question.data)} addresses, flags {sorted(answer.flags)}"
        for worker, said in heard.items()
        for server, answer in said.items()
        if cut != ("tc" in answer.flags) or (not cut and question.wrong(answer))
    ]
    insist(wrong, "`tcpdump -ni any port 53` on the worker of the server named")


# -- short names -----------------------------------------------------------------------------------


def test_every_pod_asks_the_planned_server_and_searches_its_namespace(lab_dns: Cluster, pods: PodSet) -> None:
    networks = lab_dns.topology.networks
    domain = networks.domain
    wanted = {
        f"nameserver {networks.dns}",
        f"search {pods.namespace}.svc.{domain} svc.{domain} {domain}",
        "options ndots:5",
    }
    heard = pods.from_clients(lambda pod: pod.inside("cat /etc/resolv.conf").stdout)
    insist(
        [
            f"{pods.clients[worker].name} on {worker}: /etc/resolv.conf is {said!r}, not {sorted(wanted)}"
            for worker, said in heard.items()
            if set(said.splitlines()) != wanted
        ],
        "clusterDNS and clusterDomain in the kubelet's configuration",
    )


def test_short_names_work_in_every_pod(lab_dns: Cluster, pods: PodSet) -> None:
    """`kubernetes.default` is the guide's own; the others are the ways people write a Service."""
    own, api = pods.ip("web"), str(lab_dns.topology.networks.kubernetes_service)
    short = {"web": own, f"web.{pods.namespace}": own, f"web.{pods.namespace}.svc": own}
    short |= {"kubernetes.default": api, "kubernetes.default.svc": api}
    script = "\n".join(f'echo "{name} $(dig +search +short +time=2 +tries=1 {name} A)"' for name in short)
    heard = pods.from_clients(
        lambda pod: dict(line.split(" ", 1) for line in pod.inside(script).stdout.splitlines() if " " in line)
    )
    insist(
        [
            f"a pod on {worker} looked up {name} and got {said.get(name)!r}, not {right}"
            for worker, said in heard.items()
            for name, right in short.items()
            if said.get(name) != right
        ]
    )


def test_programs_in_pods_reach_services_by_short_names(pods: PodSet) -> None:
    """By the C library, as most programs ask; the API's certificate must carry the short name as well."""
    script = """
    echo "web $(curl -sS -m 5 --noproxy '*' http://web/hostname 2>&1)"
    echo "api $(curl -sS -m 5 --noproxy '*' --http1.1 -o /dev/null -w '%{http_code}' \
        --cacert /var/run/secrets/kubernetes.io/serviceaccount/ca.crt https://kubernetes.default/api 2>&1)"
    """
    heard = pods.from_clients(
        lambda pod: dict(line.split(" ", 1) for line in pod.inside(script).stdout.splitlines() if " " in line)
    )
    names = {pod.name for pod in pods.servers.values()}
    wrong = [
        f"a pod on {worker}: http://web/hostname said {said.get('web')!r}, none of {sorted(names)}"
        for worker, said in heard.items()
        if said.get("web") not in names
    ]
    insist(
        wrong
        + [
            f"a pod on {worker}: https://kubernetes.default/api without a token said {said.get('api')!r}"
            for worker, said in heard.items()
            if said.get("api") not in ("401", "403")
        ]
    )


# -- the servers themselves ------------------------------------------------------------------------


def test_coredns_has_a_replica_on_each_of_two_workers(lab_dns: Cluster) -> None:
    placed(lab_dns, replicas(lab_dns))


def test_coredns_may_lose_only_one_replica_at_will(lab_dns: Cluster) -> None:
    if replicas(lab_dns) < 2:
        pytest.skip("one worker carries one replica, and a budget would forbid to drain it")
    budget = lab_dns.api().get("/apis/policy/v1/namespaces/kube-system/poddisruptionbudgets/coredns")
    status = budget["status"]
    assert budget["spec"].get("minAvailable") == 1, f"coredns' budget is {budget['spec']}"
    assert status.get("expectedPods") == replicas(lab_dns), f"coredns' budget guards the wrong pods: {status}"


def test_the_service_of_dns_has_the_planned_address_and_both_transports(lab_dns: Cluster) -> None:
    """The guide: `deploy.sh -i 10.0.0.2 > coredns.yaml`."""
    spec = lab_dns.api().get(f"{SYSTEM}/services/kube-dns")["spec"]
    planned = str(lab_dns.topology.networks.dns)
    assert spec["clusterIP"] == planned, f"Service kube-dns is {spec['clusterIP']}, not {planned}"
    ports = {(port["protocol"], port["port"]) for port in spec["ports"]}
    assert ports >= {("UDP", 53), ("TCP", 53)}, f"Service kube-dns has only {sorted(ports)}"


def test_the_servers_own_resolv_conf_is_no_loop(lab_dns: Cluster) -> None:
    """A CoreDNS that forwards to itself, or to a stub on loopback, dies of its own questions."""
    listing = "crictl ps -q --state Running --name '^coredns$'"
    pid = "crictl inspect -o go-template --template '{{.info.pid}}'"
    script = f"for id in $({listing}); do cat /proc/$({pid} $id)/root/etc/resolv.conf; done"
    heard = on_each(lab_dns.of(Role.WORKER), lambda machine: machine.check("sh", "-c", script))
    networks = lab_dns.topology.networks
    insist(
        [
            f"{worker}: CoreDNS has {line!r} in its resolv.conf, which leads back to itself"
            for worker, text in heard.items()
            for line in text.splitlines()
            if line.startswith(("nameserver 127.", "nameserver ::1", f"nameserver {networks.dns}"))
        ],
        "resolvConf in the kubelet's configuration must name a file without the stub",
    )
    assert any(heard.values()), "no CoreDNS runs on any worker"


def test_the_guides_look_at_coredns_shows_it_running(lab_dns: Cluster) -> None:
    """`kubectl get pods -n kube-system`; in the guide it ended at ContainerCreating."""
    lines = lab_dns.kubectl("get", "pods", "-n", "kube-system").splitlines()
    rows = [line.split() for line in lines if line.startswith("coredns-")]
    bad = [row for row in rows if row[1:3] != ["1/1", "Running"]]
    insist([f"`kubectl get pods -n kube-system`: {' '.join(row)}" for row in bad])
    assert rows, "`kubectl get pods -n kube-system` shows nothing of CoreDNS"


def test_cluster_info_names_coredns(lab_dns: Cluster) -> None:
    """The guide: `CoreDNS is running at https://192.168.100.100:6443/api/v1/…`."""
    said = lab_dns.kubectl("cluster-info")
    url = f"{lab_dns.topology.api_url}{SYSTEM}/services/kube-dns:dns/proxy"
    assert f"CoreDNS is running at {url}" in said, f"`kubectl cluster-info` said: {said}"


# -- with either server gone -----------------------------------------------------------------------


@pytest.mark.disruptive
def test_names_are_answered_while_each_coredns_pod_is_replaced_in_turn(
    lab_dns: Cluster, pods: PodSet, record_property: Callable[[str, object], None]
) -> None:
    """Case D3: fresh sockets never go without an answer for long; a kept port is measured and told."""
    count = replicas(lab_dns)
    if count < 2:
        pytest.skip("one worker carries one CoreDNS, and without it nobody answers")
    here = support_pods.find(lab_dns, pods.namespace)
    stop = f"/run/thwlab-e2e-{uuid.uuid4().hex[:8]}"
    machines = [pod.machine for pod in here.clients.values()]
    name = in_services(lab_dns, here, "web")
    dns, right = str(lab_dns.topology.networks.dns), here.ip("web")
    with ThreadPoolExecutor(1) as pool:
        probers = pool.submit(here.from_clients, lambda pod: listen(pod, dns, name, right, stop))
        try:
            for pod in placed(lab_dns, count):
                replace(lab_dns, pod, count)
        finally:
            on_each(machines, lambda machine: machine.run("touch", stop))
            heard = probers.result()
            on_each(machines, lambda machine: machine.run("rm", "-f", stop))
    for worker, kinds in heard.items():
        for kind, each in kinds.items():
            record_property(f"dns-{kind}-{worker}", f"{each.share}, longest {each.longest_silence:.1f} s")
    insist(
        [
            f"a pod on {worker} got no right answer from {dns} for {fresh.longest_silence:.1f} s, "
            f"more than {LIMIT:.0f} s ({fresh.share} answered)"
            for worker, kinds in heard.items()
            if (fresh := kinds["fresh"]).longest_silence > LIMIT
        ],
        "readiness, lameduck and endpoints of CoreDNS: `kubectl -n kube-system get endpointslices -w`",
    )
    placed(lab_dns, count)


def replicas(cluster: Cluster) -> int:
    """How many CoreDNS pods the plan's workers can carry apart."""
    return min(2, len(cluster.topology.of(Role.WORKER)))


def placed(cluster: Cluster, count: int) -> list[dict[str, Any]]:
    """The CoreDNS pods, which must be ready, as many as planned, each on a worker of its own."""
    wanted = cluster.api().get(DEPLOYMENT)["spec"]["replicas"]
    found = cluster.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
    ready = {pod["metadata"]["name"]: pod["spec"]["nodeName"] for pod in found if is_ready(pod)}
    apart = len(set(ready.values()))
    assert wanted == count, f"Deployment coredns wants {wanted} replicas, the plan {count}"
    assert (len(found), len(ready), apart) == (count, count, count), (
        f"CoreDNS: {len(found)} pods, ready are {ready}; there must be {count}, each on a worker of its own"
    )
    return found


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether it serves and is not about to go."""
    conditions = pod["status"].get("conditions", ())
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def replace(cluster: Cluster, pod: dict[str, Any], count: int) -> None:
    """Delete the pod, and return when it is gone and as many as before are ready again."""
    name = pod["metadata"]["name"]
    cluster.api().delete(f"{SYSTEM}/pods/{name}")

    def check() -> None:
        found = cluster.api().items(f"{SYSTEM}/pods", labelSelector=SELECTOR)
        ready = [each["metadata"]["name"] for each in found if is_ready(each)]
        if len(found) != count or len(ready) != count or name in ready:
            raise NotYet(f"CoreDNS: {len(found)} pods, ready are {ready}")

    wait_until(f"a successor of {name}", check, timeout=60)
